#include "api/element_compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/cast.h"

namespace penstock {
namespace {

// Elements decoded at a time: two sides, two numbers each, stay in L1.
constexpr int64_t kBlock = 512;

using Numbers = std::array<double, 2 * kBlock>;  // complex: real, imaginary...

template <typename T>
void Widen(const uint8_t* in, int64_t count, Numbers& out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

void WidenHalf(DType dtype, const uint8_t* in, int64_t count, Numbers& out) {
  std::array<uint8_t, 2 * kBlock * sizeof(float)> floats;
  Cast(dtype, DType::kFloat32, {in, static_cast<size_t>(2 * count)},
       absl::MakeSpan(floats).subspan(0, 4 * count));
  Widen<float>(floats.data(), count, out);
}

// A float of 8 bits, by the OCP's layout ("fn": no infinities) or that of
// Graphcore and AMD ("fnuz": none either, and -0 is the only NaN).
struct Float8 {
  int mantissa_bits;
  int bias;
  enum { kInfinities, kFinite, kNoNegativeZero } kind;
};

double DecodeFloat8(const Float8& format, uint8_t bits) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const int mantissa_ones = (1 << format.mantissa_bits) - 1;
  const int exponent_ones = 0x7f >> format.mantissa_bits;
  const int mantissa = bits & mantissa_ones;
  const int exponent = (bits & 0x7f) >> format.mantissa_bits;
  const double sign = (bits & 0x80) != 0 ? -1 : 1;
  if (format.kind == Float8::kNoNegativeZero && bits == 0x80) return kNaN;
  if (format.kind == Float8::kFinite && (bits & 0x7f) == 0x7f) return kNaN;
  if (format.kind == Float8::kInfinities && exponent == exponent_ones) {
    return mantissa != 0 ? kNaN
                         : sign * std::numeric_limits<double>::infinity();
  }
  const int whole = exponent == 0 ? mantissa : mantissa + mantissa_ones + 1;
  return sign * std::ldexp(whole, std::max(exponent, 1) - format.bias -
                                      format.mantissa_bits);
}

void WidenFloat8(DType dtype, const uint8_t* in, int64_t count, Numbers& out) {
  const Float8 format =
      dtype == DType::kFloat8E4M3FN ? Float8{3, 7, Float8::kFinite}
      : dtype == DType::kFloat8E5M2 ? Float8{2, 15, Float8::kInfinities}
      : dtype == DType::kFloat8E4M3FNUZ
          ? Float8{3, 8, Float8::kNoNegativeZero}
          : Float8{2, 16, Float8::kNoNegativeZero};
  for (int64_t i = 0; i < count; ++i) out[i] = DecodeFloat8(format, in[i]);
}

// Powers of two from 2^-127 on; the last is NaN.
void WidenScale(const uint8_t* in, int64_t count, Numbers& out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = in[i] == 0xff ? std::numeric_limits<double>::quiet_NaN()
                           : std::ldexp(1.0, in[i] - 127);
  }
}

int PartsOf(DType dtype) {
  return dtype == DType::kComplex32 || dtype == DType::kComplex64 ||
                 dtype == DType::kComplex128
             ? 2
             : 1;
}

// `count` elements as numbers; false where the dtype has none.
bool Decode(DType dtype, const uint8_t* in, int64_t count, Numbers& out) {
  if (dtype >= DType::kInt1 && dtype <= DType::kInt7) dtype = DType::kInt8;
  if (dtype >= DType::kUInt1 && dtype <= DType::kUInt7) dtype = DType::kUInt8;
  switch (dtype) {
    case DType::kBool:
    case DType::kUInt8:
    case DType::kQUInt8:
      Widen<uint8_t>(in, count, out);
      return true;
    case DType::kInt8:
    case DType::kQInt8:
      Widen<int8_t>(in, count, out);
      return true;
    case DType::kUInt16:
      Widen<uint16_t>(in, count, out);
      return true;
    case DType::kInt16:
      Widen<int16_t>(in, count, out);
      return true;
    case DType::kUInt32:
      Widen<uint32_t>(in, count, out);
      return true;
    case DType::kInt32:
    case DType::kQInt32:
      Widen<int32_t>(in, count, out);
      return true;
    case DType::kUInt64:
      Widen<uint64_t>(in, count, out);
      return true;
    case DType::kInt64:
      Widen<int64_t>(in, count, out);
      return true;
    case DType::kFloat16:
    case DType::kBFloat16:
      WidenHalf(dtype, in, count, out);
      return true;
    case DType::kComplex32:
      WidenHalf(DType::kFloat16, in, 2 * count, out);
      return true;
    case DType::kFloat32:
      Widen<float>(in, count, out);
      return true;
    case DType::kComplex64:
      Widen<float>(in, 2 * count, out);
      return true;
    case DType::kFloat64:
      Widen<double>(in, count, out);
      return true;
    case DType::kComplex128:
      Widen<double>(in, 2 * count, out);
      return true;
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2FNUZ:
      WidenFloat8(dtype, in, count, out);
      return true;
    case DType::kFloat8E8M0FNU:
      WidenScale(in, count, out);
      return true;
    default:
      return false;
  }
}

// One element of both sides.
struct Both {
  double a[2] = {0, 0};  // real and imaginary
  double b[2] = {0, 0};

  bool is_nan_a() const { return std::isnan(a[0]) || std::isnan(a[1]); }
  bool is_nan_b() const { return std::isnan(b[0]) || std::isnan(b[1]); }
  bool is_equal() const { return a[0] == b[0] && a[1] == b[1]; }
  bool is_finite_a() const {
    return std::isfinite(a[0]) && std::isfinite(a[1]);
  }
  bool is_finite() const {
    return is_finite_a() && std::isfinite(b[0]) && std::isfinite(b[1]);
  }
};

// |a - b| of 64-bit integers, which float64 does not hold.
double IntegerDistance(DType dtype, const uint8_t* a, const uint8_t* b) {
  uint64_t x;
  uint64_t y;
  std::memcpy(&x, a, sizeof x);
  std::memcpy(&y, b, sizeof y);
  const bool below = dtype == DType::kInt64
                         ? static_cast<int64_t>(x) < static_cast<int64_t>(y)
                         : x < y;
  return static_cast<double>(below ? y - x : x - y);
}

void AddSquares(const Both& both, long double& sum) {
  sum += static_cast<long double>(both.a[0]) * both.a[0] +
         static_cast<long double>(both.a[1]) * both.a[1];
}

void AddChanged(const Both& both, double distance,
                const std::optional<Tolerance>& tolerance, ElementSums& sums) {
  ElementStats& stats = sums.stats;
  ++stats.num_changed;
  if (!both.is_finite()) {
    ++stats.num_not_finite;
    const bool has_nan = both.is_nan_a() || both.is_nan_b();
    const bool both_nan = both.is_nan_a() && both.is_nan_b();
    if (!has_nan && !both.is_equal()) {
      stats.max_abs = std::numeric_limits<double>::infinity();
    }
    const bool is_close = tolerance && (both_nan || both.is_equal());
    if (!is_close) ++stats.num_beyond;
    return;
  }
  AddSquares(both, sums.a_squares);
  sums.difference_squares += static_cast<long double>(distance) * distance;
  stats.max_abs = std::max(stats.max_abs, distance);
  const bool is_close =
      tolerance &&
      distance <=
          tolerance->atol + tolerance->rtol * std::hypot(both.b[0], both.b[1]);
  if (!is_close) ++stats.num_beyond;
}

// Elements without numbers, `size` bytes each.
void CompareBits(absl::Span<const uint8_t> a, absl::Span<const uint8_t> b,
                 int size, ElementStats& stats) {
  stats.has_numbers = false;
  stats.max_abs = std::numeric_limits<double>::quiet_NaN();
  for (size_t at = 0; at < a.size(); at += size) {
    ++stats.num_elements;
    const bool is_same = std::memcmp(&a[at], &b[at], size) == 0;
    stats.num_changed += !is_same;
    stats.num_beyond += !is_same;
  }
}

// `count` elements, at most kBlock, of dtypes with numbers.
void CompareBlock(const ElementBytes& a, const ElementBytes& b, int64_t first,
                  int64_t count, const std::optional<Tolerance>& tolerance,
                  ElementSums& sums) {
  const int size_a = InfoOf(a.dtype).size_bytes;
  const int size_b = InfoOf(b.dtype).size_bytes;
  const uint8_t* const bytes_a = a.bytes.data() + first * size_a;
  const uint8_t* const bytes_b = b.bytes.data() + first * size_b;
  const bool one_dtype = a.dtype == b.dtype;
  const bool is_wide =
      one_dtype && (a.dtype == DType::kInt64 || a.dtype == DType::kUInt64);
  const int parts_a = PartsOf(a.dtype);
  const int parts_b = PartsOf(b.dtype);
  Numbers numbers_a;
  Numbers numbers_b;
  Decode(a.dtype, bytes_a, count, numbers_a);
  Decode(b.dtype, bytes_b, count, numbers_b);
  for (int64_t i = 0; i < count; ++i) {
    Both both;
    for (int k = 0; k < parts_a; ++k) both.a[k] = numbers_a[parts_a * i + k];
    for (int k = 0; k < parts_b; ++k) both.b[k] = numbers_b[parts_b * i + k];
    const uint8_t* const one_a = bytes_a + i * size_a;
    const uint8_t* const one_b = bytes_b + i * size_b;
    const bool is_same =
        one_dtype ? std::memcmp(one_a, one_b, size_a) == 0
                  : both.is_equal() || (both.is_nan_a() && both.is_nan_b());
    if (is_same) {
      if (both.is_finite_a()) AddSquares(both, sums.a_squares);
      continue;
    }
    const double distance =
        is_wide ? IntegerDistance(a.dtype, one_a, one_b)
                : std::hypot(both.a[0] - both.b[0], both.a[1] - both.b[1]);
    AddChanged(both, distance, tolerance, sums);
  }
  sums.stats.num_elements += count;
}

}  // namespace

void ElementSums::Add(const ElementSums& part) {
  stats.num_elements += part.stats.num_elements;
  stats.num_changed += part.stats.num_changed;
  stats.num_beyond += part.stats.num_beyond;
  stats.num_not_finite += part.stats.num_not_finite;
  stats.has_numbers &= part.stats.has_numbers;
  stats.max_abs = stats.has_numbers
                      ? std::max(stats.max_abs, part.stats.max_abs)
                      : std::numeric_limits<double>::quiet_NaN();
  a_squares += part.a_squares;
  difference_squares += part.difference_squares;
}

void ElementSums::Repeat(int64_t times) {
  stats.num_elements *= times;
  stats.num_changed *= times;
  stats.num_beyond *= times;
  stats.num_not_finite *= times;
  a_squares *= times;
  difference_squares *= times;
}

ElementStats ElementSums::Finish() const {
  ElementStats result = stats;
  if (!stats.has_numbers) {
    result.relative_l2 = std::numeric_limits<double>::quiet_NaN();
  } else if (difference_squares > 0) {
    result.relative_l2 =
        a_squares > 0
            ? static_cast<double>(std::sqrt(difference_squares / a_squares))
            : std::numeric_limits<double>::infinity();
  }
  return result;
}

bool HasNumbers(DType dtype) {
  Numbers nothing;
  return Decode(dtype, nullptr, 0, nothing);
}

void CompareElements(const ElementBytes& a, const ElementBytes& b,
                     const std::optional<Tolerance>& tolerance,
                     ElementSums& sums) {
  const int size = InfoOf(a.dtype).size_bytes;
  if (!HasNumbers(a.dtype)) {
    return CompareBits(a.bytes, b.bytes, size, sums.stats);
  }
  const auto count = static_cast<int64_t>(a.bytes.size()) / size;
  for (int64_t first = 0; first < count; first += kBlock) {
    CompareBlock(a, b, first, std::min(kBlock, count - first), tolerance, sums);
  }
}

}  // namespace penstock
