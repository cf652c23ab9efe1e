#include "codec/plane_choice.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace penstock {
namespace {

// 64 windows of 32 elements: of zero rows that take a tenth of a chunk, 16 of
// 128 miss all in one chunk of five, these in one of a thousand.
constexpr int64_t kNumWindows = 64;
constexpr int64_t kWindowElements = 32;
constexpr int64_t kSampleElements = kNumWindows * kWindowElements;

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
Bits Log2(uint32_t n) {
  const int exponent = 31 - std::countl_zero(n);
  const uint32_t mantissa = n << (31 - exponent);  // top bit set
  const uint32_t index = (mantissa >> 23) & 0xFF;
  const int64_t rest = mantissa & 0x7FFFFF;
  const Bits low = kLog2Table[index];
  return exponent * kOneBit + low +
         ((kLog2Table[index + 1] - low) * rest >> 23);
}

struct PlaneStatistics {
  Bits entropy = 0;  // per byte, corrected for the sample's size
  int num_values = 0;
  int64_t runs_ppm = 0;
};

// Equal neighbours within windows.
int64_t CountRepeats(absl::Span<const uint8_t> plane) {
  int64_t repeats = 0;
  const int64_t size = static_cast<int64_t>(plane.size());
  for (int64_t begin = 0; begin < size; begin += kWindowElements) {
    const int64_t end = std::min(begin + kWindowElements, size);
    for (int64_t i = begin + 1; i < end; ++i) {
      repeats += plane[i] == plane[i - 1] ? 1 : 0;
    }
  }
  return repeats;
}

PlaneStatistics StatisticsOf(absl::Span<const uint8_t> plane) {
  // Four tables, because equal neighbours would wait for each other in one.
  uint16_t counts[4][256] = {};
  static_assert(kSampleElements <= 0xFFFF);
  const int64_t n = static_cast<int64_t>(plane.size());
  for (int64_t i = 0; i < n; ++i) ++counts[i & 3][plane[i]];

  PlaneStatistics result;
  Bits sum = 0;  // of c log2 c
  int64_t squares = 0;
  for (int value = 0; value < 256; ++value) {
    const uint32_t c = counts[0][value] + counts[1][value] + counts[2][value] +
                       counts[3][value];
    if (c == 0) continue;
    ++result.num_values;
    sum += c * Log2(c);
    squares += static_cast<int64_t>(c) * c;
  }
  // Miller and Madow: a sample looks more ordered than what it is taken from,
  // by (values - 1) / (2 n ln 2). 47274 is kOneBit / (2 ln 2).
  result.entropy = Log2(static_cast<uint32_t>(n)) - sum / n +
                   (result.num_values - 1) * 47274 / n;
  const int64_t num_windows = (n + kWindowElements - 1) / kWindowElements;
  const int64_t pairs = std::max<int64_t>(1, n - num_windows);
  result.runs_ppm =
      CountRepeats(plane) * 1'000'000 / pairs - squares * 1'000'000 / (n * n);
  return result;
}

PlaneMode ModeFor(const PlaneStatistics& statistics) {
  if (statistics.num_values <= 1 || statistics.entropy < kLzBelow) {
    return PlaneMode::kLz;
  }
  if (statistics.entropy > kRawAbove && statistics.runs_ppm < kRawRunsBelow) {
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
    const PlaneStatistics statistics =
        StatisticsOf(absl::MakeConstSpan(planes + i * n, n));
    judgement.entropy += statistics.entropy;
    judgement.modes[i] = ModeFor(statistics);
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
  if (n <= kSampleElements) {
    std::copy(raw.begin(), raw.begin() + n * width, sample);
    return n * width;
  }
  const int64_t window_bytes = kWindowElements * width;
  for (int64_t i = 0; i < kNumWindows; ++i) {
    const int64_t begin = (n - kWindowElements) * i / (kNumWindows - 1);
    std::memcpy(sample + i * window_bytes, raw.data() + begin * width,
                window_bytes);
  }
  return kNumWindows * window_bytes;
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
