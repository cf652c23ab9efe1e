#include "compat/layout_sink.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/string_view.h"
#include "codec/pipeline.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 62;

// A slot's chunk is in flight; no pump has more slots.
constexpr int64_t kMaxInFlight = 2 * kMaxThreads + 2;

// Glue that lies beside no chunk goes out in pieces of this.
constexpr int64_t kGlueStep = 1 << 20;

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

}  // namespace

std::function<absl::Status(int64_t, int64_t, std::string&)> GlueFrom(
    std::string glue) {
  return
      [glue = std::move(glue)](int64_t begin, int64_t size, std::string& out) {
        out.append(glue, begin, size);
        return absl::OkStatus();
      };
}

absl::StatusOr<std::unique_ptr<LayoutSink>> LayoutSink::Create(
    WritableFile& file, FileLayout layout, std::vector<std::string> warnings) {
  PENSTOCK_CHECK(layout.glue_bytes.size() == layout.storages.size() + 1);
  int64_t file_bytes = 0;
  const auto add = [&file_bytes](int64_t bytes) {
    PENSTOCK_CHECK(bytes >= 0);
    if (bytes > kMaxFileBytes - file_bytes) return false;
    file_bytes += bytes;
    return true;
  };
  bool fits = true;
  for (int64_t bytes : layout.glue_bytes) fits = fits && add(bytes);
  for (const auto& storage : layout.storages) {
    fits = fits && add(storage->size_bytes());
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        "the file would have more than 2^62 bytes");
  }
  auto sink = std::unique_ptr<LayoutSink>(
      new LayoutSink(file, std::move(layout), std::move(warnings)));
  sink->file_bytes_ = file_bytes;
  sink->plan_ = PlanInOrder(sink->layout_.storages);
  sink->MeasureChunks();
  sink->writer_ = std::make_unique<BlockWriter>(
      file, BlockWriter::BlocksNeeded(kMaxInFlight, sink->largest_record_));
  return sink;
}

// Glue from before storage `storage` to before storage `end`.
int64_t LayoutSink::GlueBefore(int64_t storage, int64_t end) const {
  int64_t bytes = 0;
  for (; storage < end; ++storage) bytes += layout_.glue_bytes[storage];
  return bytes;
}

void LayoutSink::MeasureChunks() {
  int64_t next = 0;  // the first storage whose glue no chunk has
  for (const Chunk& chunk : plan_.chunks) {
    int64_t glue = 0;
    int64_t payload = 0;
    for (const Piece& piece : plan_.pieces_of(chunk)) {
      payload += piece.size;
      if (piece.storage < next) continue;
      const int64_t bytes = GlueBefore(next, piece.storage + 1);
      // The head goes out before the first chunk.
      (next == 0 ? head_bytes_ : glue) += bytes;
      next = piece.storage + 1;
    }
    largest_glue_ = std::max(largest_glue_, glue);
    largest_record_ = std::max(largest_record_, glue + payload);
  }
}

int64_t LayoutSink::SlotBytes() const {
  const int64_t blocks = BlockWriter::BlocksNeeded(2, largest_record_) -
                         BlockWriter::BlocksNeeded(1, largest_record_);
  return largest_glue_ + blocks * kBlockBytes;
}

absl::Status LayoutSink::AppendGlue(int64_t size_bytes) {
  std::string glue;
  while (size_bytes > 0) {
    const int64_t step = std::min(size_bytes, kGlueStep);
    glue.clear();
    PENSTOCK_RETURN_IF_ERROR(layout_.glue(glue_written_, step, glue));
    PENSTOCK_RETURN_IF_ERROR(writer_->Append(BytesOf(glue)));
    glue_written_ += step;
    size_bytes -= step;
  }
  return absl::OkStatus();
}

absl::Status LayoutSink::Encode(const Plan& plan, const Chunk& chunk,
                                absl::Span<const uint8_t> bytes, Slot& slot) {
  slot.parts.clear();
  for (const Piece& piece : plan.pieces_of(chunk)) {
    slot.parts.push_back(bytes.subspan(piece.offset, piece.size));
  }
  return absl::OkStatus();
}

absl::Status LayoutSink::Place(const Plan& plan, const Chunk& chunk,
                               Slot& slot) {
  PENSTOCK_CHECK(plan.pieces.size() == plan_.pieces.size());
  if (!head_written_) {
    PENSTOCK_RETURN_IF_ERROR(AppendGlue(head_bytes_));
    next_storage_ = plan.pieces_of(chunk)[0].storage + 1;
    head_written_ = true;
  }
  slot.glue.clear();
  cuts_.clear();
  int64_t record_bytes = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    record_bytes += piece.size;
    if (piece.storage >= next_storage_) {
      const int64_t bytes = GlueBefore(next_storage_, piece.storage + 1);
      PENSTOCK_RETURN_IF_ERROR(layout_.glue(glue_written_, bytes, slot.glue));
      glue_written_ += bytes;
      next_storage_ = piece.storage + 1;
    }
    cuts_.push_back(static_cast<int64_t>(slot.glue.size()));
  }
  // Glue and payload in turn, now that the glue does not move any more.
  const absl::Span<const uint8_t> glue = BytesOf(slot.glue);
  payloads_.clear();
  payloads_.swap(slot.parts);
  int64_t begin = 0;
  for (size_t i = 0; i < payloads_.size(); ++i) {
    slot.parts.push_back(glue.subspan(begin, cuts_[i] - begin));
    slot.parts.push_back(payloads_[i]);
    begin = cuts_[i];
  }
  slot.reservation =
      writer_->Reserve(record_bytes + static_cast<int64_t>(slot.glue.size()));
  return absl::OkStatus();
}

absl::Status LayoutSink::Write(const Plan&, const Chunk&, Slot& slot) {
  return writer_->Fill(slot.reservation, slot.parts);
}

absl::Status LayoutSink::Finish(const Plan&) {
  if (!head_written_) PENSTOCK_RETURN_IF_ERROR(AppendGlue(head_bytes_));
  const int64_t num_gaps = static_cast<int64_t>(layout_.glue_bytes.size());
  PENSTOCK_RETURN_IF_ERROR(AppendGlue(GlueBefore(next_storage_, num_gaps)));
  PENSTOCK_CHECK(writer_->size_bytes() == FinalSize());
  return writer_->Finish();
}

}  // namespace penstock
