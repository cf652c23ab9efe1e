// A reusable buffer, aligned for O_DIRECT and SIMD.

#ifndef PENSTOCK_CORE_ALIGNED_BUFFER_H_
#define PENSTOCK_CORE_ALIGNED_BUFFER_H_

#include <cstdint>
#include <memory>

namespace penstock {

inline constexpr int64_t kBufferAlignment = 4096;

// From here on memory asks for huge pages: filling it is up to 4 times faster.
inline constexpr int64_t kHugePageThreshold = int64_t{4} << 20;

// Buffers from kKeptFrom on that were given back are kept for the next who
// asks, the latest of them, up to so many bytes in the process: touching memory
// for the first time is often slower than the disk (performance.md 0, fact 7).
inline constexpr int64_t kKeptFrom = int64_t{1} << 20;
inline constexpr int64_t kMostKeptBytes = int64_t{96} << 20;

// Bytes aligned to kBufferAlignment. Move-only, one owner.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // Makes room for `size_bytes`; what was in it is lost where it has to grow.
  // Throws std::bad_alloc, which the pipeline turns into a Status.
  void Reserve(int64_t size_bytes);

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  int64_t capacity() const {
    return data_ == nullptr ? 0 : data_.get_deleter().capacity;
  }

 private:
  struct Free {
    Free() : capacity(0) {}
    explicit Free(int64_t bytes) : capacity(bytes) {}
    void operator()(uint8_t* data) const;
    int64_t capacity;
  };
  std::unique_ptr<uint8_t[], Free> data_;
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_ALIGNED_BUFFER_H_
