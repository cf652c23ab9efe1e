#include "codec/plane_choice.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace penstock {
namespace {

// Windows of 32 elements, or of 16 where those are wide. Many short windows: of
// zero rows that take a tenth of a chunk, 16 windows miss all in one chunk of
// five, 64 in one of a thousand.
constexpr int64_t kNumWindows = 64;
constexpr int64_t WindowElements(int width) { return width < 4 ? 32 : 16; }
constexpr int64_t kSampleElements = kNumWindows * WindowElements(1);

// Bits, with 16 binary digits behind the point.
using Bits = int64_t;
constexpr Bits kOneBit = 1 << 16;
constexpr Bits kLzBelow = kOneBit * 9 / 10;
constexpr Bits kRawAbove = kOneBit * 79 / 10;
constexpr Bits kDeltaGain = kOneBit / 2;
// Of neighbours that are equal, beyond what chance gives, per million.
constexpr int64_t kRawRunsBelow = 10'000;

// log2(1 + i / 256), by repeated squaring.
constexpr std::array<Bits, 257> MakeLog2Table() {
  std::array<Bits, 257> table{};
  for (uint64_t i = 0; i < 256; ++i) {
    uint64_t x = (256 + i) << 22;  // 1.0 is 1 << 30
    Bits bits = 0;
    for (int digit = 0; digit < 16; ++digit) {
      x = (x * x) >> 30;
      bits *= 2;
      if (x >> 31 != 0) {
        bits += 1;
        x >>= 1;
      }
    }
    table[i] = bits;
  }
  table[256] = kOneBit;
  return table;
}
constexpr std::array<Bits, 257> kLog2Table = MakeLog2Table();

// log2(n) for n > 0. The table's neighbours are joined by a line.
constexpr Bits Log2(uint32_t n) {
  const int exponent = 31 - std::countl_zero(n);
  const uint32_t mantissa = n << (31 - exponent);  // top bit set
  const uint32_t index = (mantissa >> 23) & 0xFF;
  const int64_t rest = mantissa & 0x7FFFFF;
  const Bits low = kLog2Table[index];
  return exponent * kOneBit + low +
         ((kLog2Table[index + 1] - low) * rest >> 23);
}

// n log2(n), for every count that a sample can have; nothing for n = 0.
constexpr std::array<int32_t, kSampleElements + 1> MakeNLog2Table() {
  std::array<int32_t, kSampleElements + 1> table{};
  for (uint32_t n = 1; n <= kSampleElements; ++n) {
    table[n] = static_cast<int32_t>(n * Log2(n));
  }
  return table;
}
constexpr auto kNLog2Table = MakeNLog2Table();

// How often the bytes of a plane occur in the sample.
struct Histogram {
  Bits entropy = 0;  // per byte, corrected for the sample's size
  int num_values = 0;
  int64_t repeats_ppm = 0;  // neighbours that would be equal by chance
};

Histogram HistogramOf(const uint8_t* plane, int64_t n) {
  // Four tables, because equal neighbours would wait for each other in one.
  uint16_t counts[4][256] = {};
  static_assert(kSampleElements <= 0xFFFF);
  const int64_t fours = n / 4 * 4;
  for (int64_t i = 0; i < fours; i += 4) {
    for (int table = 0; table < 4; ++table) ++counts[table][plane[i + table]];
  }
  for (int64_t i = fours; i < n; ++i) ++counts[0][plane[i]];

  Histogram result;
  Bits sum = 0;  // of c log2(c)
  int64_t squares = 0;
  for (int value = 0; value < 256; ++value) {
    const int32_t c = counts[0][value] + counts[1][value] + counts[2][value] +
                      counts[3][value];
    result.num_values += c != 0 ? 1 : 0;
    sum += kNLog2Table[c];
    squares += c * c;
  }
  // Miller and Madow: a sample looks more ordered than what it is taken from,
  // by (values - 1) / (2 n ln 2). 47274 is kOneBit / (2 ln 2).
  result.entropy = (kNLog2Table[n] - sum + (result.num_values - 1) * 47274) / n;
  result.repeats_ppm = squares * 1'000'000 / (n * n);
  return result;
}

// Equal neighbours per million, within windows: all, less those across seams.
int64_t RepeatsPpm(const uint8_t* plane, int64_t n, int64_t window) {
  int32_t repeats = 0;
  for (int64_t i = 1; i < n; ++i) repeats += plane[i] == plane[i - 1] ? 1 : 0;
  for (int64_t i = window; i < n; i += window) {
    repeats -= plane[i] == plane[i - 1] ? 1 : 0;
  }
  const int64_t num_windows = (n + window - 1) / window;
  const int64_t pairs = std::max<int64_t>(1, n - num_windows);
  return repeats * int64_t{1'000'000} / pairs;
}

PlaneMode ModeFor(const Histogram& histogram, const uint8_t* plane, int64_t n,
                  int64_t window) {
  if (histogram.num_values <= 1 || histogram.entropy < kLzBelow) {
    return PlaneMode::kLz;
  }
  if (histogram.entropy > kRawAbove &&
      RepeatsPpm(plane, n, window) - histogram.repeats_ppm < kRawRunsBelow) {
    return PlaneMode::kRaw;
  }
  return PlaneMode::kLiteral;
}

// The planes of a sample under one transform.
struct Judgement {
  Bits entropy = 0;  // of an element, in whole planes
  std::array<PlaneMode, kMaxPlanes> modes{};
};

Judgement Judge(absl::Span<const uint8_t> sample, int width,
                Transform transform) {
  uint8_t planes[kSampleElements * kMaxPlanes];
  SplitPlanes(sample, width, transform, planes);
  const int64_t n = static_cast<int64_t>(sample.size()) / width;
  Judgement judgement;
  for (int i = 0; i < width; ++i) {
    const Histogram histogram = HistogramOf(planes + i * n, n);
    judgement.entropy += histogram.entropy;
    judgement.modes[i] =
        ModeFor(histogram, planes + i * n, n, WindowElements(width));
  }
  return judgement;
}

bool IsMask(DType dtype) {
  return dtype == DType::kBool || dtype == DType::kUInt1 ||
         dtype == DType::kInt1;
}

bool MayMoveSign(DType dtype) {
  return dtype == DType::kBFloat16 || dtype == DType::kFloat32 ||
         dtype == DType::kComplex64;
}

bool MayBeCounted(DType dtype) {
  return dtype == DType::kInt32 || dtype == DType::kUInt32 ||
         dtype == DType::kInt64 || dtype == DType::kUInt64 ||
         dtype == DType::kQInt32;
}

// Weights have both signs; second moments and norms have one, which then costs
// nothing where it is and a coded plane once it is moved.
bool HasBothSigns(absl::Span<const uint8_t> sample, int width) {
  uint8_t any = 0;
  uint8_t all = 0xFF;
  for (size_t top = width - 1; top < sample.size(); top += width) {
    any |= sample[top];
    all &= sample[top];
  }
  return ((any ^ all) & 0x80) != 0;
}

// Whole elements of `raw` into `sample`; returns their bytes.
int64_t TakeSample(absl::Span<const uint8_t> raw, int width, uint8_t* sample) {
  const int64_t n = static_cast<int64_t>(raw.size()) / width;
  const int64_t window = WindowElements(width);
  if (n <= kNumWindows * window) {
    std::copy(raw.begin(), raw.begin() + n * width, sample);
    return n * width;
  }
  for (int64_t i = 0; i < kNumWindows; ++i) {
    const int64_t begin = (n - window) * i / (kNumWindows - 1);
    std::memcpy(sample + i * window * width, raw.data() + begin * width,
                window * width);
  }
  return kNumWindows * window * width;
}

}  // namespace

PlaneChoice ChoosePlanes(absl::Span<const uint8_t> raw, DType dtype) {
  PlaneChoice choice;
  choice.width = InfoOf(dtype).word_bytes;
  if (IsMask(dtype)) {
    choice.modes.fill(PlaneMode::kLz);
    return choice;
  }
  uint8_t buffer[kSampleElements * kMaxPlanes];
  const absl::Span<const uint8_t> sample(buffer,
                                         TakeSample(raw, choice.width, buffer));
  if (sample.empty()) return choice;
  if (MayMoveSign(dtype) && HasBothSigns(sample, choice.width)) {
    choice.transform = Transform::kSignMove;
  }
  Judgement judgement = Judge(sample, choice.width, choice.transform);
  if (MayBeCounted(dtype)) {
    const Judgement delta = Judge(sample, choice.width, Transform::kDelta);
    if (delta.entropy < judgement.entropy - kDeltaGain) {
      choice.transform = Transform::kDelta;
      judgement = delta;
    }
  }
  choice.modes = judgement.modes;
  return choice;
}

}  // namespace penstock
