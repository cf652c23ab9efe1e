#include "core/cast.h"

#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "core/cast_testing.h"
#include "core/dtype.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr DType kSources[] = {DType::kFloat64, DType::kFloat32, DType::kFloat16,
                              DType::kBFloat16};
constexpr DType kTargets[] = {DType::kFloat32, DType::kFloat16,
                              DType::kBFloat16};

// Casts all of them at once and compares each, and the count of overflows.
void ExpectCasts(DType from, DType to, const std::vector<uint64_t>& numbers) {
  if (from == to) return;
  const int in_bytes = InfoOf(from).size_bytes;
  const int out_bytes = InfoOf(to).size_bytes;
  std::vector<uint8_t> in(numbers.size() * in_bytes);
  std::vector<uint8_t> out(numbers.size() * out_bytes);
  for (size_t i = 0; i < numbers.size(); ++i) {
    StoreBits(numbers[i], from, &in[i * in_bytes]);
  }
  const int64_t overflows =
      Cast(from, to, absl::MakeConstSpan(in), absl::MakeSpan(out));
  const FloatLayout source = LayoutOf(from);
  const FloatLayout target = LayoutOf(to);
  int64_t expected_overflows = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const uint64_t expected = CastBits(numbers[i], source, target);
    ASSERT_EQ(LoadBits(to, &out[i * out_bytes]), expected)
        << std::hex << numbers[i] << " from " << InfoOf(from).name << " to "
        << InfoOf(to).name;
    expected_overflows +=
        (numbers[i] & (source.sign() - 1)) < source.infinity() &&
        (expected & (target.sign() - 1)) == target.infinity();
  }
  EXPECT_EQ(overflows, expected_overflows)
      << InfoOf(from).name << " to " << InfoOf(to).name;
}

// What rounding can get wrong: each number of `narrow`, what lies halfway to
// the next one, and the neighbours of both in `wide`.
std::vector<uint64_t> Boundaries(DType wide, FloatLayout narrow, uint64_t first,
                                 uint64_t last) {
  const FloatLayout layout = LayoutOf(wide);
  // With one bit more, twice the bits of a number is that number.
  const FloatLayout finer = {narrow.exponent_bits, narrow.mantissa_bits + 1};
  std::vector<uint64_t> result;
  for (uint64_t twice = 2 * first; twice < 2 * last; ++twice) {
    const uint64_t bits = CastBits(twice, finer, layout);
    for (const uint64_t near : {bits - 1, bits, bits + 1}) {
      if (near > layout.infinity()) continue;  // below 0
      result.push_back(near);
      result.push_back(near | layout.sign());
    }
  }
  return result;
}

TEST(CastTest, KnowsWhichCastsThereAre) {
  for (int from = 0; from < kNumDTypes; ++from) {
    for (int to = 0; to < kNumDTypes; ++to) {
      const bool expected = from >= static_cast<int>(DType::kFloat16) &&
                            from <= static_cast<int>(DType::kFloat64) &&
                            to >= static_cast<int>(DType::kFloat16) &&
                            to <= static_cast<int>(DType::kFloat32);
      EXPECT_EQ(CanCast(static_cast<DType>(from), static_cast<DType>(to)),
                expected)
          << from << " " << to;
    }
  }
}

TEST(CastTest, IsExactForAll16BitNumbers) {
  std::vector<uint64_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  for (const DType from : {DType::kFloat16, DType::kBFloat16}) {
    for (const DType to : kTargets) ExpectCasts(from, to, all);
  }
}

TEST(CastTest, RoundsOnceAroundEveryBoundaryOf16BitNumbers) {
  for (const DType from : {DType::kFloat64, DType::kFloat32}) {
    for (const DType to : {DType::kFloat16, DType::kBFloat16}) {
      const FloatLayout narrow = LayoutOf(to);
      ExpectCasts(from, to, Boundaries(from, narrow, 0, narrow.infinity()));
    }
  }
}

// Among them 2^-150 to 2^-126, where results are subnormal, and the largest.
TEST(CastTest, RoundsDoublesToFloatsAroundBoundaries) {
  const FloatLayout narrow = LayoutOf(DType::kFloat32);
  constexpr uint64_t kRun = 20000;
  std::vector<uint64_t> firsts = {0, (uint64_t{1} << 23) - kRun / 2,
                                  narrow.infinity() - kRun};
  std::mt19937_64 random(20260101);
  for (int i = 0; i < 200; ++i) {
    firsts.push_back(random() % (narrow.infinity() - kRun));
  }
  for (size_t i = 0; i < firsts.size(); ++i) {
    const uint64_t run = i < 3 ? kRun : 500;
    ExpectCasts(
        DType::kFloat64, DType::kFloat32,
        Boundaries(DType::kFloat64, narrow, firsts[i], firsts[i] + run));
  }
}

// Ties of the target that a detour over float32 would round twice.
TEST(CastTest, DoesNotRoundDoublesTwice) {
  for (const DType to : {DType::kFloat16, DType::kBFloat16}) {
    const int lost = 52 - LayoutOf(to).mantissa_bits;
    std::vector<uint64_t> numbers;
    for (const uint64_t odd : {0, 1}) {
      // 1 or the next number of the target, and a half step, more or less.
      const uint64_t half =
          0x3ff0000000000000 | (odd << lost) | (uint64_t{1} << (lost - 1));
      for (int bit = 0; bit < 30; ++bit) {
        numbers.push_back(half + (uint64_t{1} << bit));
        numbers.push_back(half - (uint64_t{1} << bit));
      }
    }
    ExpectCasts(DType::kFloat64, to, numbers);
  }
}

TEST(CastTest, IsRightForRandomBits) {
  std::mt19937_64 random(1);
  for (const DType from : kSources) {
    const FloatLayout layout = LayoutOf(from);
    std::vector<uint64_t> numbers(200001);
    const uint64_t all_bits = 2 * layout.sign() - 1;
    for (uint64_t& bits : numbers) bits = random() & all_bits;
    for (const DType to : kTargets) ExpectCasts(from, to, numbers);
  }
}

TEST(CastTest, KeepsTheSignOfNanAndDropsItsPayload) {
  for (const DType from : kSources) {
    const FloatLayout layout = LayoutOf(from);
    std::vector<uint64_t> nans;
    for (uint64_t payload = 1; payload < (uint64_t{1} << layout.mantissa_bits);
         payload *= 2) {
      nans.push_back(layout.infinity() | payload);
      nans.push_back(layout.infinity() | payload | layout.sign());
    }
    for (const DType to : kTargets) ExpectCasts(from, to, nans);
  }
  const uint32_t in[] = {0x7f800001, 0xffffffff};
  uint16_t out[2];
  const auto bytes =
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(in), sizeof(in));
  const auto target =
      absl::MakeSpan(reinterpret_cast<uint8_t*>(out), sizeof(out));
  EXPECT_EQ(Cast(DType::kFloat32, DType::kBFloat16, bytes, target), 0);
  EXPECT_EQ(out[0], 0x7fc0);
  EXPECT_EQ(out[1], 0xffc0);
  EXPECT_EQ(Cast(DType::kFloat32, DType::kFloat16, bytes, target), 0);
  EXPECT_EQ(out[0], 0x7e00);
  EXPECT_EQ(out[1], 0xfe00);
}

// Vectors end somewhere, and buffers begin anywhere.
TEST(CastTest, TakesAnyLengthAndAlignment) {
  std::mt19937_64 random(2);
  for (const DType from : kSources) {
    for (const DType to : kTargets) {
      if (from == to) continue;
      const int in_bytes = InfoOf(from).size_bytes;
      const int out_bytes = InfoOf(to).size_bytes;
      for (int n = 0; n < 70; ++n) {
        const int shift = n % 5;
        std::vector<uint8_t> in(shift + n * in_bytes);
        for (uint8_t& byte : in) byte = static_cast<uint8_t>(random());
        std::vector<uint8_t> out(shift + n * out_bytes + 1, 0xA5);
        Cast(from, to, absl::MakeConstSpan(in).subspan(shift),
             absl::MakeSpan(out).subspan(shift, n * out_bytes));
        for (int i = 0; i < n; ++i) {
          ASSERT_EQ(LoadBits(to, &out[shift + i * out_bytes]),
                    CastBits(LoadBits(from, &in[shift + i * in_bytes]),
                             LayoutOf(from), LayoutOf(to)));
        }
        EXPECT_EQ(out.back(), 0xA5);
        for (int i = 0; i < shift; ++i) EXPECT_EQ(out[i], 0xA5);
      }
    }
  }
}

TEST(CastTest, CopiesBetweenEqualDtypes) {
  const std::vector<uint8_t> in = {1, 0x7f, 2, 0xff};  // a NaN with a payload
  for (const DType dtype : kTargets) {
    std::vector<uint8_t> out(4);
    EXPECT_EQ(Cast(dtype, dtype, absl::MakeConstSpan(in), absl::MakeSpan(out)),
              0);
    EXPECT_EQ(out, in);
  }
}

}  // namespace
}  // namespace penstock
