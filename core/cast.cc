#include "core/cast.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "core/status_macros.h"

namespace penstock {
namespace {

// Everything below is straight-line, without branches that a vector cannot
// take: the compiler turns each loop into SIMD (with -fno-trapping-math, else
// the float additions move into branches), for AVX2 from the same source, so
// that no second implementation has to be kept equal. Not by F16C: it keeps the
// payload of NaN, and counts nothing.
#if defined(__x86_64__) && defined(__GNUC__)
#define PENSTOCK_CAST_AVX2 1
#endif

constexpr uint32_t kInfF32 = 0x7f800000;
constexpr uint32_t kNanF32 = 0x7fc00000;
constexpr uint16_t kInfF16 = 0x7c00;
constexpr uint16_t kNanF16 = 0x7e00;
constexpr uint16_t kInfBF16 = 0x7f80;
constexpr uint16_t kNanBF16 = 0x7fc0;
constexpr uint64_t kInfF64 = 0x7ff0000000000000;

[[gnu::always_inline]] inline uint32_t BitsOf(float value) {
  return std::bit_cast<uint32_t>(value);
}
[[gnu::always_inline]] inline float FloatOf(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

// Widening is exact.
[[gnu::always_inline]] inline uint32_t WidenBF16(uint16_t x) {
  const uint32_t magnitude = static_cast<uint32_t>(x & 0x7fff) << 16;
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16;
  return sign | (magnitude > kInfF32 ? kNanF32 : magnitude);
}

[[gnu::always_inline]] inline uint32_t WidenF16(uint16_t x) {
  constexpr uint32_t kRebias = (127 - 15) << 23;
  // 2^-14: a subnormal is a fraction without its leading one, which this brings
  // in and takes away.
  constexpr uint32_t kLeast = 113 << 23;
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16;
  const uint32_t magnitude = x & 0x7fff;
  const uint32_t normal = (magnitude << 13) + kRebias;
  const uint32_t subnormal =
      BitsOf(FloatOf((magnitude << 13) + kLeast) - FloatOf(kLeast));
  uint32_t result = magnitude < 0x0400 ? subnormal : normal;
  result = magnitude == kInfF16 ? kInfF32 : result;
  result = magnitude > kInfF16 ? kNanF32 : result;
  return sign | result;
}

[[gnu::always_inline]] inline uint16_t NarrowToBF16(uint32_t x) {
  const uint32_t magnitude = x & 0x7fffffff;
  const uint32_t rounded = (magnitude + 0x7fff + ((magnitude >> 16) & 1)) >> 16;
  const uint32_t result = magnitude > kInfF32 ? kNanBF16 : rounded;
  return static_cast<uint16_t>(result | ((x >> 16) & 0x8000));
}

[[gnu::always_inline]] inline uint16_t NarrowToF16(uint32_t x) {
  constexpr uint32_t kTooLarge = 0x47800000;  // 2^16
  constexpr uint32_t kLeastNormal = 113 << 23;
  // 0.5: its last bit is worth 2^-24, the step of f16's subnormals, so that the
  // addition rounds to it.
  constexpr uint32_t kHalf = 126 << 23;
  const uint32_t magnitude = x & 0x7fffffff;
  const uint32_t subnormal =
      BitsOf(FloatOf(magnitude) + FloatOf(kHalf)) - kHalf;
  const uint32_t rebiased = magnitude - ((127 - 15) << 23);
  const uint32_t normal = (rebiased + 0x0fff + ((magnitude >> 13) & 1)) >> 13;
  uint32_t result = magnitude < kLeastNormal ? subnormal : normal;
  result = magnitude >= kTooLarge ? kInfF16 : result;
  result = magnitude > kInfF32 ? kNanF16 : result;
  return static_cast<uint16_t>(result | ((x >> 16) & 0x8000));
}

[[gnu::always_inline]] inline uint32_t NarrowToF32(uint64_t x) {
  const uint32_t sign = static_cast<uint32_t>(x >> 32) & 0x80000000;
  const uint32_t rounded = BitsOf(static_cast<float>(std::bit_cast<double>(x)));
  return (x & ~(uint64_t{1} << 63)) > kInfF64 ? sign | kNanF32 : rounded;
}

// Rounded to odd: towards zero, the last bit set where something was lost. A
// second rounding to a shorter format then gives what one would have (S. Boldo,
// G. Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
[[gnu::always_inline]] inline uint32_t NarrowToOddF32(uint64_t x) {
  const double exact = std::bit_cast<double>(x & ~(uint64_t{1} << 63));
  const uint32_t sign = static_cast<uint32_t>(x >> 32) & 0x80000000;
  const float near = static_cast<float>(exact);
  const double back = near;
  uint32_t bits = BitsOf(near);
  bits -= back > exact ? 1 : 0;
  bits |= back != exact ? 1 : 0;
  return sign | bits;
}

[[gnu::always_inline]] inline uint16_t BF16ToF16(uint16_t x) {
  return NarrowToF16(WidenBF16(x));
}
[[gnu::always_inline]] inline uint16_t F16ToBF16(uint16_t x) {
  return NarrowToBF16(WidenF16(x));
}
[[gnu::always_inline]] inline uint16_t F64ToF16(uint64_t x) {
  return NarrowToF16(NarrowToOddF32(x));
}
[[gnu::always_inline]] inline uint16_t F64ToBF16(uint64_t x) {
  return NarrowToBF16(NarrowToOddF32(x));
}

template <typename T>
[[gnu::always_inline]] inline bool IsFinite(T bits, T infinity) {
  constexpr T kMagnitude = static_cast<T>(~T{0}) >> 1;
  return (bits & kMagnitude) < infinity;
}

template <typename In, In kInfIn, typename Out, Out kInfOut,
          Out (*kConvert)(In)>
[[gnu::always_inline]] inline int64_t ConvertAny(const uint8_t* __restrict in,
                                                 uint8_t* __restrict out,
                                                 int64_t num_elements) {
  // Short enough for the count to stay in 32 bits, as wide as most lanes.
  constexpr int64_t kBlock = 1 << 20;
  int64_t num_overflows = 0;
  for (int64_t begin = 0; begin < num_elements; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, num_elements);
    uint32_t in_block = 0;
    for (int64_t i = begin; i < end; ++i) {
      In from;
      std::memcpy(&from, in + i * sizeof(In), sizeof(In));
      const Out to = kConvert(from);
      std::memcpy(out + i * sizeof(Out), &to, sizeof(Out));
      in_block += static_cast<uint32_t>(IsFinite<In>(from, kInfIn)) &
                  static_cast<uint32_t>(!IsFinite<Out>(to, kInfOut));
    }
    num_overflows += in_block;
  }
  return num_overflows;
}

template <typename In, In kInfIn, typename Out, Out kInfOut,
          Out (*kConvert)(In)>
int64_t ConvertPlain(const uint8_t* __restrict in, uint8_t* __restrict out,
                     int64_t num_elements) {
  return ConvertAny<In, kInfIn, Out, kInfOut, kConvert>(in, out, num_elements);
}

#ifdef PENSTOCK_CAST_AVX2
template <typename In, In kInfIn, typename Out, Out kInfOut,
          Out (*kConvert)(In)>
[[gnu::target("avx2")]] int64_t ConvertAvx2(const uint8_t* __restrict in,
                                            uint8_t* __restrict out,
                                            int64_t num_elements) {
  return ConvertAny<In, kInfIn, Out, kInfOut, kConvert>(in, out, num_elements);
}
#endif

using Function = int64_t (*)(const uint8_t* __restrict in,
                             uint8_t* __restrict out, int64_t num_elements);

template <typename In, In kInfIn, typename Out, Out kInfOut,
          Out (*kConvert)(In)>
Function Best() {
#ifdef PENSTOCK_CAST_AVX2
  // Not by ifunc, which runs before a sanitizer is up.
  if (__builtin_cpu_supports("avx2")) {
    return ConvertAvx2<In, kInfIn, Out, kInfOut, kConvert>;
  }
#endif
  return ConvertPlain<In, kInfIn, Out, kInfOut, kConvert>;
}

// Null where the two are one, or there is no cast.
Function FunctionFor(DType from, DType to) {
  switch (from) {
    case DType::kFloat64:
      if (to == DType::kFloat32) {
        return Best<uint64_t, kInfF64, uint32_t, kInfF32, NarrowToF32>();
      }
      if (to == DType::kFloat16) {
        return Best<uint64_t, kInfF64, uint16_t, kInfF16, F64ToF16>();
      }
      if (to == DType::kBFloat16) {
        return Best<uint64_t, kInfF64, uint16_t, kInfBF16, F64ToBF16>();
      }
      return nullptr;
    case DType::kFloat32:
      if (to == DType::kFloat16) {
        return Best<uint32_t, kInfF32, uint16_t, kInfF16, NarrowToF16>();
      }
      if (to == DType::kBFloat16) {
        return Best<uint32_t, kInfF32, uint16_t, kInfBF16, NarrowToBF16>();
      }
      return nullptr;
    case DType::kFloat16:
      if (to == DType::kFloat32) {
        return Best<uint16_t, kInfF16, uint32_t, kInfF32, WidenF16>();
      }
      if (to == DType::kBFloat16) {
        return Best<uint16_t, kInfF16, uint16_t, kInfBF16, F16ToBF16>();
      }
      return nullptr;
    case DType::kBFloat16:
      if (to == DType::kFloat32) {
        return Best<uint16_t, kInfBF16, uint32_t, kInfF32, WidenBF16>();
      }
      if (to == DType::kFloat16) {
        return Best<uint16_t, kInfBF16, uint16_t, kInfF16, BF16ToF16>();
      }
      return nullptr;
    default:
      return nullptr;
  }
}

bool IsTarget(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 ||
         dtype == DType::kBFloat16;
}

}  // namespace

bool CanCast(DType from, DType to) {
  return (from == to && IsTarget(to)) || FunctionFor(from, to) != nullptr;
}

int64_t Cast(DType from, DType to, absl::Span<const uint8_t> in,
             absl::Span<uint8_t> out) {
  PENSTOCK_CHECK(CanCast(from, to));
  const size_t num_elements = in.size() / InfoOf(from).size_bytes;
  PENSTOCK_CHECK(in.size() == num_elements * InfoOf(from).size_bytes &&
                 out.size() == num_elements * InfoOf(to).size_bytes);
  if (from == to) {
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
    return 0;
  }
  return FunctionFor(from, to)(in.data(), out.data(),
                               static_cast<int64_t>(num_elements));
}

}  // namespace penstock
