// Arithmetic on integers that came from a file: every step says whether it
// fits.

#ifndef PENSTOCK_CORE_CHECKED_H_
#define PENSTOCK_CORE_CHECKED_H_

#include <cstdint>
#include <optional>

namespace penstock {

// a + b, a * b and a - b; nothing where the result does not fit int64_t.
inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}
inline std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}
inline std::optional<int64_t> CheckedSubtract(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// True where [begin, begin + size) lies within [0, limit). Never overflows.
inline bool RangeFits(int64_t begin, int64_t size, int64_t limit) {
  return begin >= 0 && size >= 0 && begin <= limit && size <= limit - begin;
}

// The least multiple of `alignment` (> 0) that is >= value (>= 0). The caller
// has bounded `value`: no overflow below 2^62.
inline int64_t AlignUp(int64_t value, int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace penstock

#endif  // PENSTOCK_CORE_CHECKED_H_
