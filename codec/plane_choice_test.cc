#include "codec/plane_choice.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

constexpr PlaneMode kRaw = PlaneMode::kRaw;
constexpr PlaneMode kLiteral = PlaneMode::kLiteral;
constexpr PlaneMode kLz = PlaneMode::kLz;

template <typename T>
std::vector<uint8_t> BytesOf(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> Normal(int64_t n, float sigma) {
  std::mt19937 random(1);
  // In double: floats from it would not fill the mantissa.
  std::normal_distribution<double> normal(0, sigma);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(normal(random));
  return values;
}

std::vector<uint16_t> ToBf16(const std::vector<float>& values) {
  std::vector<uint16_t> result;
  for (const float value : values) {
    result.push_back(
        static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return result;
}

std::vector<PlaneMode> ModesOf(const PlaneChoice& choice) {
  return {choice.modes.begin(), choice.modes.begin() + choice.width};
}

TEST(PlaneChoiceTest, WeightsAreCodedInTheExponentAlone) {
  const std::vector<float> weights = Normal(100'000, 0.02f);
  const PlaneChoice fp32 = ChoosePlanes(BytesOf(weights), DType::kFloat32);
  EXPECT_EQ(fp32.transform, Transform::kSignMove);
  EXPECT_THAT(ModesOf(fp32), ElementsAre(kRaw, kRaw, kRaw, kLiteral));
  const PlaneChoice bf16 =
      ChoosePlanes(BytesOf(ToBf16(weights)), DType::kBFloat16);
  EXPECT_EQ(bf16.transform, Transform::kSignMove);
  EXPECT_THAT(ModesOf(bf16), ElementsAre(kRaw, kLiteral));
  EXPECT_EQ(ChoosePlanes(BytesOf(weights), DType::kComplex64).transform,
            Transform::kSignMove);
}

TEST(PlaneChoiceTest, AConstantSignStays) {
  std::vector<float> squares = Normal(100'000, 1e-4f);
  for (float& value : squares) value *= value;
  const PlaneChoice choice = ChoosePlanes(BytesOf(squares), DType::kFloat32);
  EXPECT_EQ(choice.transform, Transform::kNone);
  EXPECT_THAT(ModesOf(choice), ElementsAre(kRaw, kRaw, kRaw, kLiteral));
  for (float& value : squares) value = -value;
  EXPECT_EQ(ChoosePlanes(BytesOf(squares), DType::kFloat32).transform,
            Transform::kNone);
}

TEST(PlaneChoiceTest, UpcastWeightsLeaveEmptyPlanes) {
  std::vector<uint32_t> wide;
  for (const uint16_t value : ToBf16(Normal(100'000, 0.02f))) {
    wide.push_back(static_cast<uint32_t>(value) << 16);
  }
  EXPECT_THAT(ModesOf(ChoosePlanes(BytesOf(wide), DType::kFloat32)),
              ElementsAre(kLz, kLz, kRaw, kLiteral));
}

// A tenth of the rows is zero: the mantissa has runs, which set F finds.
TEST(PlaneChoiceTest, ZeroRowsAreSeenInTheMantissa) {
  std::vector<uint16_t> weights = ToBf16(Normal(1 << 19, 0.02f));
  for (int64_t row = 0; row < 128; row += 10) {
    std::fill_n(weights.begin() + row * 4096, 4096, uint16_t{0});
  }
  EXPECT_THAT(ModesOf(ChoosePlanes(BytesOf(weights), DType::kBFloat16)),
              ElementsAre(kLiteral, kLiteral));
}

TEST(PlaneChoiceTest, CountersBecomeDifferencesAndNoiseDoesNot) {
  std::vector<int64_t> counter(50'000);
  for (size_t i = 0; i < counter.size(); ++i) {
    counter[i] = 1'000'000'000 + static_cast<int64_t>(i) * 977;
  }
  const PlaneChoice delta = ChoosePlanes(BytesOf(counter), DType::kInt64);
  EXPECT_EQ(delta.transform, Transform::kDelta);
  EXPECT_THAT(ModesOf(delta), ::testing::Each(kLz));
  std::mt19937_64 random(2);
  for (int64_t& value : counter) value = static_cast<int64_t>(random());
  const PlaneChoice noise = ChoosePlanes(BytesOf(counter), DType::kInt64);
  EXPECT_EQ(noise.transform, Transform::kNone);
  EXPECT_THAT(ModesOf(noise), ::testing::Each(kRaw));
}

TEST(PlaneChoiceTest, MasksAreAlwaysLz) {
  std::mt19937 random(3);
  std::vector<uint8_t> mask(10'000);
  for (uint8_t& byte : mask) byte = random() & 1;
  EXPECT_THAT(ModesOf(ChoosePlanes(mask, DType::kBool)), ElementsAre(kLz));
  EXPECT_THAT(ModesOf(ChoosePlanes(mask, DType::kUInt8)),
              ElementsAre(kLiteral));
}

TEST(PlaneChoiceTest, NoiseIsRawInEveryDType) {
  std::mt19937 random(4);
  std::vector<uint8_t> noise(1 << 20);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = static_cast<DType>(code);
    if (dtype == DType::kBool || dtype == DType::kInt1 ||
        dtype == DType::kUInt1) {
      continue;
    }
    EXPECT_THAT(ModesOf(ChoosePlanes(noise, dtype)), ::testing::Each(kRaw))
        << InfoOf(dtype).name;
  }
}

TEST(PlaneChoiceTest, FewerBytesThanAnElementAreRaw) {
  EXPECT_THAT(ModesOf(ChoosePlanes({}, DType::kFloat32)),
              ::testing::Each(kRaw));
  const std::vector<uint8_t> three = {0, 0, 0};
  EXPECT_THAT(ModesOf(ChoosePlanes(three, DType::kFloat32)),
              ::testing::Each(kRaw));
}

}  // namespace
}  // namespace penstock
