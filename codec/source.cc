#include "codec/source.h"

#include <cstring>

#include "absl/strings/str_format.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Bytes [begin, begin + size) of a storage that must be in memory.
absl::StatusOr<absl::Span<const uint8_t>> BytesOf(const Storage& storage,
                                                  int64_t begin, int64_t size) {
  if (storage.in_file()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "storage %d of a file cannot be taken from memory: it was not read",
        storage.file_number()));
  }
  if (!RangeFits(begin, size, storage.size_bytes())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bytes [%d, +%d) lie outside a storage of %d bytes",
                        begin, size, storage.size_bytes()));
  }
  return storage.bytes().subspan(begin, size);
}

}  // namespace

void Source::Start(const Plan&, const RunLimits&) {}

absl::Status Source::Begin(const Plan&, const Chunk&, Slot&) {
  return absl::OkStatus();
}

bool Source::LendPieces(const Plan&, const Chunk&, Slot&) { return false; }

absl::Status Source::Finish() { return absl::OkStatus(); }

absl::StatusOr<absl::Span<const uint8_t>> MemorySource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  if (pieces.size() == 1 && pieces[0].size == chunk.size_bytes) {
    return BytesOf(*plan.storages[pieces[0].storage], pieces[0].begin,
                   pieces[0].size);
  }
  if (target == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    target = slot.raw.data();
  }
  int64_t end = 0;
  for (const Piece& piece : pieces) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const absl::Span<const uint8_t> bytes,
        BytesOf(*plan.storages[piece.storage], piece.begin, piece.size));
    std::memset(target + end, 0, piece.offset - end);
    std::memcpy(target + piece.offset, bytes.data(), bytes.size());
    end = piece.offset + piece.size;
  }
  return absl::MakeConstSpan(target, chunk.size_bytes);
}

bool MemorySource::LendPieces(const Plan& plan, const Chunk& chunk,
                              Slot& slot) {
  slot.pieces.clear();
  for (const Piece& piece : plan.pieces_of(chunk)) {
    const absl::StatusOr<absl::Span<const uint8_t>> bytes =
        BytesOf(*plan.storages[piece.storage], piece.begin, piece.size);
    if (!bytes.ok()) return false;  // Bytes says why
    slot.pieces.push_back(*bytes);
  }
  return true;
}

absl::Status MemorySource::Sample(const Storage& storage, int64_t begin,
                                  absl::Span<uint8_t> out) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const absl::Span<const uint8_t> bytes,
      BytesOf(storage, begin, static_cast<int64_t>(out.size())));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size());
  return absl::OkStatus();
}

}  // namespace penstock
