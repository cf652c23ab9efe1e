// Casts in integer arithmetic: what core/cast.h is judged by.

#ifndef PENSTOCK_CORE_CAST_TESTING_H_
#define PENSTOCK_CORE_CAST_TESTING_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "core/status_macros.h"

namespace penstock {

// An IEEE 754 binary format: sign, exponent, mantissa.
struct FloatLayout {
  int exponent_bits;
  int mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint64_t infinity() const {
    return ((uint64_t{1} << exponent_bits) - 1) << mantissa_bits;
  }
  uint64_t quiet_nan() const {
    return infinity() | (uint64_t{1} << (mantissa_bits - 1));
  }
  uint64_t sign() const {
    return uint64_t{1} << (exponent_bits + mantissa_bits);
  }
};

inline FloatLayout LayoutOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return {11, 52};
    case DType::kFloat32:
      return {8, 23};
    case DType::kFloat16:
      return {5, 10};
    default:
      PENSTOCK_CHECK(dtype == DType::kBFloat16);
      return {8, 7};
  }
}

// `bits` of one format in another: one rounding, to nearest, ties to even.
inline uint64_t CastBits(uint64_t bits, FloatLayout from, FloatLayout to) {
  const uint64_t sign = (bits & from.sign()) != 0 ? to.sign() : 0;
  const uint64_t magnitude = bits & (from.sign() - 1);
  if (magnitude > from.infinity()) return sign | to.quiet_nan();
  if (magnitude == from.infinity()) return sign | to.infinity();
  if (magnitude == 0) return sign;
  // The number is mantissa * 2^exponent.
  const auto field = static_cast<int>(magnitude >> from.mantissa_bits);
  const uint64_t one = uint64_t{1} << from.mantissa_bits;
  const uint64_t mantissa = (magnitude & (one - 1)) | (field > 0 ? one : 0);
  const int exponent = std::max(field, 1) - from.bias() - from.mantissa_bits;
  // The step of the target there is 2^(scale - to.mantissa_bits).
  const int least = 1 - to.bias();
  const int scale = std::max(
      exponent + static_cast<int>(std::bit_width(mantissa)) - 1, least);
  const int lost_bits = scale - to.mantissa_bits - exponent;
  uint64_t steps = 0;
  if (lost_bits <= 0) {
    steps = mantissa << -lost_bits;
  } else if (lost_bits < 64) {
    steps = mantissa >> lost_bits;
    const uint64_t rest = mantissa - (steps << lost_bits);
    const uint64_t half = uint64_t{1} << (lost_bits - 1);
    if (rest > half || (rest == half && steps % 2 == 1)) ++steps;
  }
  // A carry goes into the exponent, where it belongs.
  const uint64_t result =
      (static_cast<uint64_t>(scale - least) << to.mantissa_bits) + steps;
  return sign | std::min(result, to.infinity());
}

// One number of `dtype`, as bits, in memory and back.
inline void StoreBits(uint64_t bits, DType dtype, uint8_t* out) {
  std::memcpy(out, &bits, InfoOf(dtype).size_bytes);
}
inline uint64_t LoadBits(DType dtype, const uint8_t* in) {
  uint64_t bits = 0;
  std::memcpy(&bits, in, InfoOf(dtype).size_bytes);
  return bits;
}

}  // namespace penstock

#endif  // PENSTOCK_CORE_CAST_TESTING_H_
