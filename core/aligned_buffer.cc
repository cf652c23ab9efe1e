#include "core/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {

void AlignedBuffer::Free::operator()(uint8_t* data) const {
  ::operator delete (data, std::align_val_t{kBufferAlignment});
}

void AlignedBuffer::Reserve(int64_t size_bytes) {
  PENSTOCK_CHECK(size_bytes >= 0 && size_bytes <= INT64_MAX / 2);
  if (size_bytes <= capacity_) return;
  const int64_t capacity = AlignUp(size_bytes, kBufferAlignment);
  // Gone before the new one comes, so that the two never count together.
  data_.reset();
  capacity_ = 0;
  data_.reset(static_cast<uint8_t*>(
      ::operator new (capacity, std::align_val_t{kBufferAlignment})));
  capacity_ = capacity;
  // Advice only: without huge pages the buffer is slower to fill, not wrong.
  if (capacity >= kHugePageThreshold) {
    (void)madvise(data_.get(), capacity, MADV_HUGEPAGE);
  }
}

}  // namespace penstock
