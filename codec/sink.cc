#include "codec/sink.h"

#include <algorithm>
#include <cstring>

#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int kThreadsInDirectWrites = 4;

}  // namespace

int ThreadsThatWaitFor(const WritableFile& file) {
  return file.direct() ? kThreadsInDirectWrites : 0;
}

uint8_t* Sink::Target(const Plan&, const Chunk&, Slot&) { return nullptr; }

bool Sink::TakesPieces(const Chunk&) const { return false; }

absl::Status Sink::Place(const Plan&, const Chunk&, Slot&) {
  return absl::OkStatus();
}

absl::Status Sink::Write(const Plan&, const Chunk&, Slot&) {
  return absl::OkStatus();
}

absl::Status Sink::Finish(const Plan&) { return absl::OkStatus(); }

absl::Status NullSink::Encode(const Plan&, const Chunk&,
                              absl::Span<const uint8_t>, Slot&) {
  return absl::OkStatus();
}

uint8_t* MemorySink::Target(const Plan& plan, const Chunk& chunk, Slot&) {
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  if (pieces.size() != 1 || pieces[0].size != chunk.size_bytes) return nullptr;
  const Piece& piece = pieces[0];
  PENSTOCK_CHECK(windows_.size() == plan.storages.size());
  const Window& window = windows_[piece.storage];
  if (window.storage == nullptr || piece.begin < window.begin ||
      piece.begin + piece.size > window.begin + window.storage->size_bytes()) {
    return nullptr;
  }
  return window.storage->mutable_bytes().data() + (piece.begin - window.begin);
}

absl::Status MemorySink::Encode(const Plan& plan, const Chunk& chunk,
                                absl::Span<const uint8_t> bytes, Slot&) {
  PENSTOCK_CHECK(windows_.size() == plan.storages.size());
  for (const Piece& piece : plan.pieces_of(chunk)) {
    const Window& window = windows_[piece.storage];
    if (window.storage == nullptr) continue;
    // What both piece and window hold, in bytes of the plan's storage.
    const int64_t begin = std::max(piece.begin, window.begin);
    const int64_t end = std::min(piece.begin + piece.size,
                                 window.begin + window.storage->size_bytes());
    if (begin >= end) continue;
    const uint8_t* from = bytes.data() + piece.offset + (begin - piece.begin);
    uint8_t* to = window.storage->mutable_bytes().data() + begin - window.begin;
    if (from != to) std::memcpy(to, from, end - begin);
  }
  return absl::OkStatus();
}

}  // namespace penstock
