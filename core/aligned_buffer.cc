#include "core/aligned_buffer.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "core/checked.h"
#include "core/mutex.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
// Of kept buffers, so that one fits the next who asks for nearly as much.
constexpr int64_t kKeptStep = int64_t{64} << 10;

#if defined(__SANITIZE_ADDRESS__)
// Kept memory would hide who uses it after it was given back.
constexpr int64_t kMostKept = 0;
#else
constexpr int64_t kMostKept = kMostKeptBytes;
#endif

std::align_val_t AlignmentOf(int64_t size_bytes) {
  // Where there are huge pages the buffer begins with one.
  return std::align_val_t{size_bytes < kHugePageThreshold
                              ? static_cast<size_t>(kBufferAlignment)
                              : kHugePageBytes};
}

uint8_t* New(int64_t size_bytes) {
  uint8_t* const data = static_cast<uint8_t*>(
      ::operator new(size_bytes, AlignmentOf(size_bytes)));
  // Advice only: without huge pages the buffer is slower to fill, not wrong.
  if (size_bytes >= kHugePageThreshold) {
    (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  }
  return data;
}

void Delete(uint8_t* data, int64_t size_bytes) {
  ::operator delete(data, AlignmentOf(size_bytes));
}

// The buffers that nobody uses. Thread-safe.
class Kept {
 public:
  // One of at least `size_bytes`, not much larger; null: none. Sets its size.
  uint8_t* Take(int64_t& size_bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    for (size_t i = buffers_.size(); i-- > 0;) {
      const Buffer found = buffers_[i];
      if (found.size_bytes < size_bytes || found.size_bytes / 2 > size_bytes) {
        continue;
      }
      buffers_.erase(buffers_.begin() + static_cast<std::ptrdiff_t>(i));
      bytes_ -= found.size_bytes;
      size_bytes = found.size_bytes;
      return found.data;
    }
    return nullptr;
  }

  void Give(uint8_t* data, int64_t size_bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (size_bytes > kMostKept) return Delete(data, size_bytes);
    MutexLock lock(mutex_);
    buffers_.push_back({data, size_bytes});
    bytes_ += size_bytes;
    while (bytes_ > kMostKept) {
      const Buffer oldest = buffers_.front();
      buffers_.erase(buffers_.begin());
      bytes_ -= oldest.size_bytes;
      Delete(oldest.data, oldest.size_bytes);
    }
  }

 private:
  struct Buffer {
    uint8_t* data;
    int64_t size_bytes;
  };
  Mutex mutex_;
  std::vector<Buffer> buffers_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

Kept& KeptBuffers() {
  static Kept* const kept = new Kept;  // never destroyed: no order problem
  return *kept;
}

}  // namespace

void AlignedBuffer::Free::operator()(uint8_t* data) const {
  if (capacity < kKeptFrom) {
    Delete(data, capacity);
  } else {
    KeptBuffers().Give(data, capacity);
  }
}

void AlignedBuffer::Reserve(int64_t size_bytes) {
  PENSTOCK_CHECK(size_bytes >= 0 && size_bytes <= INT64_MAX / 2);
  if (size_bytes <= capacity()) return;
  // Gone before the new one comes, so that the two never count together.
  data_.reset();
  uint8_t* data = nullptr;
  int64_t capacity = AlignUp(size_bytes, kBufferAlignment);
  if (capacity >= kKeptFrom) {
    capacity = AlignUp(capacity, kKeptStep);
    data = KeptBuffers().Take(capacity);
  }
  if (data == nullptr) data = New(capacity);
  data_ = std::unique_ptr<uint8_t[], Free>(data, Free(capacity));
}

}  // namespace penstock
