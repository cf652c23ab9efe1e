#include "bench/corpus.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/status_macros.h"

// Only + - * / and table look-ups, no <cmath> and no <random> distributions:
// those differ between libraries, and ratios would with them.

namespace penstock {
namespace {

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) { Next(); }
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// The seed of part `part` of what `seed` makes.
uint64_t SeedOf(uint64_t seed, uint64_t part) {
  return Random(Random(seed).Next() + part * 0xD1342543DE82EF95).Next();
}

double Exp(double x) {
  // exp(x / 1024) by its series, then squared ten times.
  const double y = x / 1024;
  double power = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4)));
  for (int i = 0; i < 10; ++i) power *= power;
  return power;
}

// The normal distribution function for 0 <= z <= 5, by its series.
double NormalCdf(double z) {
  double term = z;
  double sum = z;
  for (int k = 1; k < 80; ++k) {
    term *= -z * z / (2 * k);
    sum += term / (2 * k + 1);
  }
  return 0.5 + sum * 0.3989422804014327;  // 1 / sqrt(2 pi)
}

// A distribution as its quantiles, joined by lines. Entries 0 and kCells are
// the ends of the tails.
constexpr int kCellBits = 11;
constexpr int kCells = 1 << kCellBits;
using Quantiles = std::array<double, kCells + 1>;

Quantiles MakeNormal() {
  Quantiles quantiles{};
  for (int i = kCells / 2 + 1; i <= kCells; ++i) {
    double low = 0;
    double high = 4.5;
    for (int step = 0; i < kCells && step < 40; ++step) {
      const double middle = (low + high) / 2;
      (NormalCdf(middle) * kCells < i ? low : high) = middle;
    }
    quantiles[i] = high;
    quantiles[kCells - i] = -high;
  }
  return quantiles;
}

Quantiles MakeLognormal(const Quantiles& normal, double sigma) {
  Quantiles quantiles{};
  for (int i = 0; i <= kCells; ++i) quantiles[i] = Exp(sigma * normal[i]);
  return quantiles;
}

// Made once, at the first use.
const Quantiles& Normal() {
  static const Quantiles quantiles = MakeNormal();
  return quantiles;
}
const Quantiles& Lognormal1() {
  static const Quantiles quantiles = MakeLognormal(Normal(), 1);
  return quantiles;
}
const Quantiles& Lognormal14() {
  static const Quantiles quantiles = MakeLognormal(Normal(), 1.4);
  return quantiles;
}

// The value for 11 bits of cell and 32 bits within it.
double Draw(const Quantiles& quantiles, uint64_t bits) {
  const uint64_t cell = bits & (kCells - 1);
  const double within =
      static_cast<double>((bits >> kCellBits) & 0xFFFFFFFF) * 0x1p-32;
  return quantiles[cell] + within * (quantiles[cell + 1] - quantiles[cell]);
}

// A float of few bits, without infinities of its own: larger values become
// `largest`.
struct SmallFloat {
  int exponent_bits;
  int mantissa_bits;
  uint32_t largest;
};
constexpr SmallFloat kHalf = {5, 10, 0x7BFF};
constexpr SmallFloat kE5M2 = {5, 2, 0x7B};
constexpr SmallFloat kE4M3 = {4, 3, 0x7E};

// Rounds to nearest, ties to even; subnormals included.
uint32_t Round(double value, const SmallFloat& format) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  int exponent = static_cast<int>((bits >> 23) & 0xFF) - 127 + bias;
  const uint32_t mantissa = (bits & 0x7FFFFF) | 0x800000;
  int shift = 23 - format.mantissa_bits;
  if (exponent < 1) {
    shift += 1 - exponent;
    exponent = 1;
  }
  uint32_t code = 0;
  if (shift < 25) {
    const uint32_t odd = (mantissa >> shift) & 1;
    code = (mantissa + (1u << (shift - 1)) - 1 + odd) >> shift;
    code += static_cast<uint32_t>(exponent - 1) << format.mantissa_bits;
  }
  const uint32_t sign =
      bits >> 31 << (format.exponent_bits + format.mantissa_bits);
  return sign | std::min(code, format.largest);
}

uint16_t ToBFloat16(double value) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// Calls make(i) for each whole element of `out` and stores what it returns.
template <typename Word, typename Make>
void FillWith(absl::Span<uint8_t> out, Make make) {
  const size_t n = out.size() / sizeof(Word);
  for (size_t i = 0; i < n; ++i) {
    const Word word = make(i);
    std::memcpy(out.data() + i * sizeof(Word), &word, sizeof(Word));
  }
  std::fill(out.begin() + n * sizeof(Word), out.end(), uint8_t{0});
}

// One weight in units of its row's standard deviation.
double DrawWeight(const Quantiles& normal, uint64_t bits) {
  const double z = Draw(normal, bits);
  constexpr uint64_t kOneInFifty = (uint64_t{1} << 21) / 50;
  return (bits >> 43) < kOneInFifty ? 3 * z : z;
}

// Calls to_word(weight, z), where `weight` is z times the row's deviation.
template <typename Word, typename ToWord>
void FillRows(uint64_t seed, int64_t row_elements, absl::Span<uint8_t> out,
              ToWord to_word) {
  const Quantiles& normal = Normal();
  const double uniform =
      static_cast<double>(Random(seed).Next() >> 11) * 0x1p-53;
  const double layer = 0.01 * Exp(uniform * 1.6094379124341003);  // ln 5
  const size_t row_bytes = static_cast<size_t>(row_elements) * sizeof(Word);
  for (size_t row = 0; row * row_bytes < out.size(); ++row) {
    Random random(SeedOf(seed, row));
    const double sigma = layer * Exp(0.15 * Draw(normal, random.Next()));
    FillWith<Word>(out.subspan(row * row_bytes, row_bytes), [&](size_t) {
      const double z = DrawWeight(normal, random.Next());
      return to_word(z * sigma, z);
    });
  }
}

}  // namespace

void FillWeights(DType dtype, uint64_t seed, int64_t row_elements,
                 absl::Span<uint8_t> out) {
  PENSTOCK_CHECK(row_elements > 0);
  const auto fill = [&](auto zero, auto to_word) {
    FillRows<decltype(zero)>(seed, row_elements, out, to_word);
  };
  switch (dtype) {
    case DType::kBFloat16:
      return fill(uint16_t{}, [](double x, double) { return ToBFloat16(x); });
    case DType::kFloat16:
      return fill(uint16_t{}, [](double x, double) {
        return static_cast<uint16_t>(Round(x, kHalf));
      });
    case DType::kFloat32:
      return fill(float{},
                  [](double x, double) { return static_cast<float>(x); });
    case DType::kFloat64:
      return fill(double{}, [](double x, double) { return x; });
    case DType::kFloat8E5M2:
      return fill(uint8_t{}, [](double x, double) {
        return static_cast<uint8_t>(Round(x, kE5M2));
      });
    case DType::kFloat8E4M3FN:
      return fill(uint8_t{}, [](double, double z) {
        return static_cast<uint8_t>(Round(z * (448.0 / 5), kE4M3));
      });
    case DType::kInt8:
      return fill(int8_t{}, [](double, double z) {
        return static_cast<int8_t>(std::clamp(z * (127.0 / 5), -127.0, 127.0));
      });
    default:
      PENSTOCK_CHECK(false && "no weights of this dtype");
  }
}

void FillUpcastWeights(uint64_t seed, int64_t row_elements,
                       absl::Span<uint8_t> out) {
  FillRows<uint32_t>(seed, row_elements, out, [](double x, double) {
    return static_cast<uint32_t>(ToBFloat16(x)) << 16;
  });
}

void FillAdamMean(uint64_t seed, absl::Span<uint8_t> out) {
  Random random(seed);
  const Quantiles& normal = Normal();
  const Quantiles& lognormal = Lognormal1();
  FillWith<float>(out, [&](size_t) {
    const double scale = Draw(lognormal, random.Next());
    return static_cast<float>(1e-4 * scale * Draw(normal, random.Next()));
  });
}

void FillAdamSquare(uint64_t seed, absl::Span<uint8_t> out) {
  Random random(seed);
  const Quantiles& lognormal = Lognormal14();
  FillWith<float>(out, [&](size_t) {
    return static_cast<float>(1e-8 * Draw(lognormal, random.Next()));
  });
}

void FillCounters(uint64_t seed, absl::Span<uint8_t> out) {
  Random random(seed);
  uint64_t counter = random.Next() % 1'000'000'000;
  FillWith<uint64_t>(out,
                     [&](size_t) { return counter += random.Next() % 2000; });
}

void FillBytes(uint64_t seed, absl::Span<uint8_t> out) {
  Random random(seed);
  FillWith<uint64_t>(out, [&](size_t) { return random.Next(); });
  const size_t whole = out.size() / 8 * 8;
  const uint64_t rest = random.Next();
  if (whole < out.size()) {
    std::memcpy(out.data() + whole, &rest, out.size() - whole);
  }
}

void ClearRows(int64_t row_bytes, absl::Span<uint8_t> bytes) {
  PENSTOCK_CHECK(row_bytes > 0);
  const size_t step = static_cast<size_t>(row_bytes) * 10;
  for (size_t begin = 0; begin < bytes.size(); begin += step) {
    const absl::Span<uint8_t> row = bytes.subspan(begin, row_bytes);
    std::fill(row.begin(), row.end(), uint8_t{0});
  }
}

}  // namespace penstock
