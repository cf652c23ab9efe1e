#include "compat/layout_sink.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "codec/copy.h"
#include "core/bytes.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 62;

// Glue that lies beside no chunk goes out in pieces of this.
constexpr int64_t kGlueStep = 1 << 20;

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
  auto sink = std::unique_ptr<LayoutSink>(new LayoutSink(file));
  PENSTOCK_RETURN_IF_ERROR(
      sink->SetLayout(std::move(layout), std::move(warnings)));
  return sink;
}

absl::Status LayoutSink::SetLayout(FileLayout layout,
                                   std::vector<std::string> warnings) {
  layout_ = std::move(layout);
  warnings_ = std::move(warnings);
  const size_t num_storages = layout_.storages.size();
  PENSTOCK_CHECK(layout_.glue_bytes.size() == num_storages + 1);
  bool fits = true;
  const auto add = [&](int64_t bytes) {
    PENSTOCK_CHECK(bytes >= 0);
    fits = fits && bytes <= kMaxFileBytes - file_bytes_;
    file_bytes_ += fits ? bytes : 0;
  };
  for (size_t i = 0; i <= num_storages; ++i) {
    add(layout_.glue_bytes[i]);
    if (i == num_storages) break;
    offsets_.push_back(file_bytes_);
    add(layout_.storages[i]->size_bytes());
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        "the file would have more than 2^62 bytes");
  }
  plan_ = PlanOfFile(layout_.storages, offsets_);
  for (const Chunk& chunk : plan_.chunks) {
    block_bytes_ =
        std::max(block_bytes_,
                 BlockWriter::BlockBytes(GlueBefore(chunk) + chunk.size_bytes));
  }
  if (!layout_.wants_crcs) return absl::OkStatus();
  piece_crcs_.resize(plan_.pieces.size());
  starts_.resize(num_storages);
  first_pieces_.assign(num_storages + 1,
                       static_cast<int64_t>(plan_.pieces.size()));
  for (size_t i = plan_.pieces.size(); i-- > 0;) {
    first_pieces_[plan_.pieces[i].storage] = static_cast<int64_t>(i);
  }
  for (size_t i = num_storages; i-- > 0;) {  // empty ones have none
    first_pieces_[i] = std::min(first_pieces_[i], first_pieces_[i + 1]);
  }
  return absl::OkStatus();
}

int64_t LayoutSink::FileOffset(const Chunk& chunk) const {
  const Piece& first = plan_.pieces[chunk.first_piece];
  return offsets_[first.storage] + first.begin;
}

// Glue that goes into the chunk's block, in front of its first byte.
int64_t LayoutSink::GlueBefore(const Chunk& chunk) const {
  int64_t end = 0;  // of the chunk before
  if (chunk.first_piece > 0) {
    const Piece& last = plan_.pieces[chunk.first_piece - 1];
    end = offsets_[last.storage] + last.begin + last.size;
  }
  const int64_t glue = FileOffset(chunk) - end;
  return glue < kMaxInnerGap ? glue : 0;
}

int64_t LayoutSink::SlotBytes() const {
  return BlockWriter::BlockBytes(kMaxInnerGap + kRunBytes) + kMaxInnerGap;
}

uint8_t* LayoutSink::Target(const Plan&, const Chunk& chunk, Slot& slot) {
  const int64_t glue = GlueBefore(chunk);
  // At once as large as it will ever be: growing it would cost new pages.
  slot.block.bytes.Reserve(block_bytes_);
  return BlockWriter::Prepare(FileOffset(chunk) - glue, glue + chunk.size_bytes,
                              slot.block) +
         glue;
}

absl::Status LayoutSink::Encode(const Plan& plan, const Chunk& chunk,
                                absl::Span<const uint8_t> bytes, Slot& slot) {
  PENSTOCK_CHECK(plan.pieces.size() == plan_.pieces.size());
  uint8_t* const target = Target(plan, chunk, slot);
  const bool takes_crcs = layout_.wants_crcs && slot.crcs.empty();
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const absl::Span<const uint8_t> payload =
        slot.pieces.empty() ? bytes.subspan(piece.offset, piece.size)
                            : slot.pieces[i];
    uint32_t crc = 0;
    CopyInTiles(payload, target + piece.offset,
                [&](absl::Span<const uint8_t> tile) {
                  if (takes_crcs) crc = Crc32(tile, crc);
                });
    if (layout_.wants_crcs) {
      piece_crcs_[chunk.first_piece + i] = takes_crcs ? crc : slot.crcs[i];
      if (piece.begin == 0 && payload.size() >= sizeof(uint64_t)) {
        std::memcpy(&starts_[piece.storage], payload.data(), sizeof(uint64_t));
      }
    }
  }
  return absl::OkStatus();
}

uint32_t LayoutSink::CrcOf(int64_t storage) const {
  uint32_t crc = 0;
  for (int64_t i = first_pieces_[storage]; i < first_pieces_[storage + 1];
       ++i) {
    crc = CombineCrc32(crc, piece_crcs_[i], plan_.pieces[i].size);
  }
  return crc;
}

// The glue in front of byte `end_offset` of the file, without a chunk.
absl::Status LayoutSink::AppendGlue(int64_t end_offset) {
  std::string glue;
  while (writer_.size_bytes() < end_offset) {
    const int64_t step = std::min(end_offset - writer_.size_bytes(), kGlueStep);
    glue.clear();
    PENSTOCK_RETURN_IF_ERROR(layout_.glue(glue_written_, step, glue));
    glue_written_ += step;
    PENSTOCK_RETURN_IF_ERROR(writer_.Append(ByteSpan(glue)));
  }
  return absl::OkStatus();
}

// The glue in front of each piece of a chunk whose glue begins at `begin`.
absl::Status LayoutSink::PutGlue(const Chunk& chunk, uint8_t* begin) {
  std::string glue;
  uint8_t* out = begin;
  int64_t glue_bytes = GlueBefore(chunk);
  int64_t end = 0;  // of the piece before, in the chunk
  for (const Piece& piece : plan_.pieces_of(chunk)) {
    glue_bytes += piece.offset - end;
    if (glue_bytes > 0) {
      glue.clear();
      PENSTOCK_RETURN_IF_ERROR(layout_.glue(glue_written_, glue_bytes, glue));
      std::memcpy(out, glue.data(), glue_bytes);
      glue_written_ += glue_bytes;
    }
    out += glue_bytes + piece.size;
    end = piece.offset + piece.size;
    glue_bytes = 0;
  }
  return absl::OkStatus();
}

absl::Status LayoutSink::Place(const Plan& plan, const Chunk& chunk,
                               Slot& slot) {
  const int64_t glue = GlueBefore(chunk);
  const int64_t block_offset = FileOffset(chunk) - glue;
  slot.parts.clear();
  if (file_.sequential() && chunk.number > 0) {
    // Nothing may overtake what is on its way into a pipe.
    slot.glue.clear();
    const int64_t size = block_offset - writer_.size_bytes();
    PENSTOCK_RETURN_IF_ERROR(layout_.glue(glue_written_, size, slot.glue));
    glue_written_ += size;
    slot.parts.push_back(ByteSpan(slot.glue));
  } else {
    PENSTOCK_RETURN_IF_ERROR(AppendGlue(block_offset));
  }
  uint8_t* const begin = Target(plan, chunk, slot) - glue;
  PENSTOCK_RETURN_IF_ERROR(PutGlue(chunk, begin));
  slot.parts.push_back(absl::MakeConstSpan(begin, glue + chunk.size_bytes));
  writer_.Place(slot.parts, slot.block);
  return absl::OkStatus();
}

absl::Status LayoutSink::Write(const Plan&, const Chunk&, Slot& slot) {
  return writer_.Write(slot.parts, slot.block);
}

absl::Status LayoutSink::Finish(const Plan&) {
  PENSTOCK_RETURN_IF_ERROR(AppendGlue(FinalSize()));
  return writer_.Finish();
}

}  // namespace penstock
