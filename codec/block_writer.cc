#include "codec/block_writer.h"

#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Append takes so many at a time.
constexpr int64_t kAppendBytes = 4 << 20;

int64_t AlignDown(int64_t value) { return value - value % kBufferAlignment; }

// The last `size` of the bytes of all parts, which are more, to `out`.
void CopyEnd(absl::Span<const absl::Span<const uint8_t>> parts, int64_t size,
             uint8_t* out) {
  for (size_t i = parts.size(); size > 0;) {
    const absl::Span<const uint8_t> part = parts[--i];
    const int64_t taken = std::min(size, static_cast<int64_t>(part.size()));
    size -= taken;
    if (taken > 0) std::memcpy(out + size, part.end() - taken, taken);
  }
}

}  // namespace

BlockWriter::BlockWriter(WritableFile& file) : file_(file) {}

uint8_t* BlockWriter::Prepare(int64_t offset, int64_t size_bytes,
                              Block& block) {
  const int64_t lead = offset % kBufferAlignment;
  block.bytes.Reserve(lead + size_bytes);
  return block.bytes.data() + lead;
}

void BlockWriter::Place(absl::Span<const absl::Span<const uint8_t>> parts,
                        Block& block) {
  block.offset = next_;
  block.size_bytes = 0;
  for (const auto& part : parts) {
    block.size_bytes += static_cast<int64_t>(part.size());
  }
  next_ += block.size_bytes;
  if (file_.sequential()) return;
  uint8_t* const begin = Prepare(block.offset, block.size_bytes, block);
  const int64_t num_kept = static_cast<int64_t>(kept_.size());
  if (num_kept > 0) std::memcpy(begin - num_kept, kept_.data(), num_kept);
  kept_.resize(next_ % kBufferAlignment);
  // A run may be too short to reach the next multiple: then it is all kept.
  const int64_t added =
      std::min(block.size_bytes, static_cast<int64_t>(kept_.size()));
  CopyEnd(parts, added, kept_.data() + kept_.size() - added);
}

absl::Status BlockWriter::Write(
    absl::Span<const absl::Span<const uint8_t>> parts, Block& block) {
  if (file_.sequential()) return WriteInOrder(parts, block.offset);
  const int64_t lead = block.offset % kBufferAlignment;
  uint8_t* out = block.bytes.data() + lead;
  if (parts.size() != 1 || parts[0].data() != out) {
    for (const auto& part : parts) {
      if (!part.empty()) std::memcpy(out, part.data(), part.size());
      out += part.size();
    }
  }
  const int64_t size = AlignDown(lead + block.size_bytes);
  if (size == 0) return absl::OkStatus();
  return file_.Write(block.offset - lead,
                     absl::MakeConstSpan(block.bytes.data(), size));
}

absl::Status BlockWriter::WriteInOrder(
    absl::Span<const absl::Span<const uint8_t>> parts, int64_t offset) {
  for (const auto& part : parts) {
    if (part.empty()) continue;
    PENSTOCK_RETURN_IF_ERROR(file_.Write(offset, part));
    offset += static_cast<int64_t>(part.size());
  }
  return absl::OkStatus();
}

absl::Status BlockWriter::Append(absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const absl::Span<const uint8_t> part =
        bytes.first(std::min(kAppendBytes, static_cast<int64_t>(bytes.size())));
    Place(absl::MakeConstSpan(&part, 1), appended_);
    PENSTOCK_RETURN_IF_ERROR(Write(absl::MakeConstSpan(&part, 1), appended_));
    bytes.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status BlockWriter::Finish() {
  const int64_t num_kept = static_cast<int64_t>(kept_.size());
  if (num_kept == 0) return absl::OkStatus();
  const int64_t size = file_.direct() ? kBufferAlignment : num_kept;
  appended_.bytes.Reserve(size);
  std::memcpy(appended_.bytes.data(), kept_.data(), num_kept);
  std::memset(appended_.bytes.data() + num_kept, 0, size - num_kept);
  PENSTOCK_RETURN_IF_ERROR(file_.Write(
      next_ - num_kept, absl::MakeConstSpan(appended_.bytes.data(), size)));
  return size == num_kept ? absl::OkStatus() : file_.Truncate(next_);
}

}  // namespace penstock
