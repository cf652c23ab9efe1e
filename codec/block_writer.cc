#include "codec/block_writer.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <utility>

#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

static_assert(kBlockBytes % kBufferAlignment == 0,
              "blocks are written directly");

// Bytes that lie in several parts, taken from the front.
class PartReader {
 public:
  explicit PartReader(absl::Span<const absl::Span<const uint8_t>> parts)
      : parts_(parts) {}

  int64_t left_bytes() const {
    int64_t left = 0;
    for (const auto& part : parts_) left += static_cast<int64_t>(part.size());
    return left - begin_;
  }

  void Take(uint8_t* out, int64_t size) {
    while (size > 0) {
      const absl::Span<const uint8_t> part = parts_.front();
      const int64_t part_size = static_cast<int64_t>(part.size());
      const int64_t taken = std::min(size, part_size - begin_);
      if (taken > 0) std::memcpy(out, part.data() + begin_, taken);
      out += taken;
      size -= taken;
      begin_ += taken;
      if (begin_ == part_size) {
        parts_.remove_prefix(1);
        begin_ = 0;
      }
    }
  }

 private:
  absl::Span<const absl::Span<const uint8_t>> parts_;
  int64_t begin_ = 0;  // of what is left of the first part
};

}  // namespace

struct BlockWriter::Block {
  int64_t number = 0;
  // Who brings it to zero owns the block: his decrement acquires what the
  // others' released, so that he sees their bytes.
  std::atomic<int64_t> missing_bytes{0};
  AlignedBuffer bytes;
};

int64_t BlockWriter::BlocksNeeded(int64_t in_flight, int64_t largest_record) {
  const int64_t spanned =
      AlignUp(largest_record, kBlockBytes) / kBlockBytes + 1;
  return in_flight * spanned + 1;
}

BlockWriter::BlockWriter(WritableFile& file, int64_t max_blocks)
    : file_(file), max_blocks_(max_blocks) {}

BlockWriter::~BlockWriter() = default;

BlockReservation BlockWriter::Reserve(int64_t size_bytes) {
  PENSTOCK_CHECK(size_bytes >= 0);
  BlockReservation reservation;
  reservation.offset = next_;
  reservation.size_bytes = size_bytes;
  // A block is claimed with its first byte.
  const int64_t begin = AlignUp(next_, kBlockBytes) / kBlockBytes;
  next_ += size_bytes;
  const int64_t end = AlignUp(next_, kBlockBytes) / kBlockBytes;
  MutexLock lock(mutex_);
  // After an error blocks may stay incomplete for ever, and none is needed.
  if (!first_error_.ok()) return reservation;
  for (int64_t number = begin; number < end; ++number) Claim(number);
  return reservation;
}

void BlockWriter::Claim(int64_t number) {
  if (free_.empty()) {
    PENSTOCK_CHECK(static_cast<int64_t>(blocks_.size()) < max_blocks_);
    auto block = std::make_unique<Block>();
    block->bytes.Reserve(kBlockBytes);
    blocks_.push_back(std::move(block));
    free_.push_back(blocks_.back().get());
  }
  Block* block = free_.back();
  free_.pop_back();
  block->number = number;
  block->missing_bytes.store(kBlockBytes, std::memory_order_relaxed);
  in_use_[number] = block;
}

absl::StatusOr<BlockWriter::Block*> BlockWriter::Find(int64_t number) {
  MutexLock lock(mutex_);
  if (!first_error_.ok()) return first_error_;
  const auto found = in_use_.find(number);
  PENSTOCK_CHECK(found != in_use_.end());
  return found->second;
}

absl::Status BlockWriter::Fill(
    const BlockReservation& reservation,
    absl::Span<const absl::Span<const uint8_t>> parts) {
  PartReader reader(parts);
  PENSTOCK_CHECK(reader.left_bytes() == reservation.size_bytes);
  int64_t offset = reservation.offset;
  const int64_t end = offset + reservation.size_bytes;
  if (file_.sequential()) {
    PENSTOCK_CHECK(offset == filled_);
    filled_ = end;
  }
  while (offset < end) {
    PENSTOCK_ASSIGN_OR_RETURN(Block* const block, Find(offset / kBlockBytes));
    const int64_t begin = offset % kBlockBytes;
    const int64_t size = std::min(kBlockBytes - begin, end - offset);
    reader.Take(block->bytes.data() + begin, size);
    offset += size;
    const int64_t missing =
        block->missing_bytes.fetch_sub(size, std::memory_order_acq_rel) - size;
    PENSTOCK_CHECK(missing >= 0);
    if (missing == 0) PENSTOCK_RETURN_IF_ERROR(WriteOut(*block));
  }
  return absl::OkStatus();
}

absl::Status BlockWriter::WriteOut(Block& block) {
  PENSTOCK_RETURN_IF_ERROR(
      Note(file_.Write(block.number * kBlockBytes,
                       absl::MakeConstSpan(block.bytes.data(), kBlockBytes))));
  MutexLock lock(mutex_);
  in_use_.erase(block.number);
  free_.push_back(&block);
  return absl::OkStatus();
}

absl::Status BlockWriter::Note(const absl::Status& status) {
  if (status.ok()) return status;
  MutexLock lock(mutex_);
  if (first_error_.ok()) first_error_ = status;
  return status;
}

absl::Status BlockWriter::Append(absl::Span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const int64_t size = std::min(kBlockBytes - next_ % kBlockBytes,
                                  static_cast<int64_t>(bytes.size()));
    const absl::Span<const uint8_t> part = bytes.first(size);
    PENSTOCK_RETURN_IF_ERROR(
        Fill(Reserve(size), absl::MakeConstSpan(&part, 1)));
    bytes.remove_prefix(size);
  }
  return absl::OkStatus();
}

absl::Status BlockWriter::Finish() {
  const int64_t last_size = next_ % kBlockBytes;
  {
    MutexLock lock(mutex_);
    if (!first_error_.ok()) return first_error_;
    PENSTOCK_CHECK(in_use_.size() == (last_size == 0 ? 0 : 1));
  }
  if (last_size == 0) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(Block* const block, Find(next_ / kBlockBytes));
  PENSTOCK_CHECK(block->missing_bytes.load(std::memory_order_acquire) ==
                 kBlockBytes - last_size);
  int64_t size = last_size;
  if (file_.direct()) {
    size = AlignUp(size, kBufferAlignment);
    std::memset(block->bytes.data() + last_size, 0, size - last_size);
  }
  PENSTOCK_RETURN_IF_ERROR(Note(file_.Write(
      next_ - last_size, absl::MakeConstSpan(block->bytes.data(), size))));
  if (size == last_size) return absl::OkStatus();
  return Note(file_.Truncate(next_));
}

}  // namespace penstock
