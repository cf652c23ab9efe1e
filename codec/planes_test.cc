#include "codec/planes.h"

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

std::vector<uint8_t> RandomBytes(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

struct Case {
  int width;
  Transform transform;
};
constexpr Case kCases[] = {
    {1, Transform::kNone},     {2, Transform::kNone},
    {4, Transform::kNone},     {8, Transform::kNone},
    {2, Transform::kSignMove}, {4, Transform::kSignMove},
    {4, Transform::kDelta},    {8, Transform::kDelta},
};
// Around the vector lengths and the piece of 1024 elements.
constexpr int64_t kSizes[] = {0,    1,    2,    3,    7,    8,     9,    15,
                              16,   17,   31,   33,   63,   64,    65,   127,
                              1023, 4096, 8191, 8192, 8193, 65536, 99999};

// One element, by the book.
uint64_t Transformed(uint64_t x, uint64_t before, int width, Transform t) {
  if (t == Transform::kDelta) return x - before;
  if (t == Transform::kNone) return x;
  const int bits = width * 8;
  const uint64_t sign = x >> (bits - 1);
  const uint64_t exponent = (x >> (bits - 9)) & 0xFF;
  const uint64_t mantissa = x & ((uint64_t{1} << (bits - 9)) - 1);
  return exponent << (bits - 8) | sign << (bits - 9) | mantissa;
}

std::vector<uint8_t> SplitByTheBook(const std::vector<uint8_t>& raw, int width,
                                    Transform transform) {
  const int64_t n = static_cast<int64_t>(raw.size()) / width;
  std::vector<uint8_t> planes(raw);
  uint64_t before = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint64_t x = 0;
    std::memcpy(&x, raw.data() + i * width, width);
    const uint64_t y = Transformed(x, before, width, transform);
    for (int b = 0; b < width; ++b) {
      planes[b * n + i] = static_cast<uint8_t>(y >> (8 * b));
    }
    before = x;
  }
  return planes;
}

TEST(PlanesTest, SplitEqualsTheDefinitionAndMergeUndoesIt) {
  for (const Case& c : kCases) {
    for (const int64_t size : kSizes) {
      SCOPED_TRACE(testing::Message()
                   << "width " << c.width << " transform "
                   << static_cast<int>(c.transform) << " size " << size);
      const std::vector<uint8_t> raw = RandomBytes(size, 7);
      std::vector<uint8_t> planes(size);
      SplitPlanes(raw, c.width, c.transform, planes.data());
      ASSERT_EQ(planes, SplitByTheBook(raw, c.width, c.transform));
      std::vector<uint8_t> back(size);
      MergePlanes(planes.data(), c.width, c.transform, absl::MakeSpan(back));
      ASSERT_EQ(back, raw);
    }
  }
}

TEST(PlanesTest, UnalignedPlacesGiveTheSameBytes) {
  for (const Case& c : kCases) {
    const std::vector<uint8_t> raw = RandomBytes(10'001, 8);
    for (int shift = 1; shift < 5; ++shift) {
      const auto view = absl::MakeConstSpan(raw).subspan(shift);
      std::vector<uint8_t> planes(raw.size());
      SplitPlanes(view, c.width, c.transform, planes.data() + shift);
      const std::vector<uint8_t> copy(view.begin(), view.end());
      const std::vector<uint8_t> expected =
          SplitByTheBook(copy, c.width, c.transform);
      ASSERT_TRUE(
          std::equal(expected.begin(), expected.end(), planes.begin() + shift));
      std::vector<uint8_t> back(raw.size());
      MergePlanes(planes.data() + shift, c.width, c.transform,
                  absl::MakeSpan(back).subspan(shift));
      ASSERT_TRUE(std::equal(view.begin(), view.end(), back.begin() + shift));
    }
  }
}

TEST(PlanesTest, RangesGiveTheSameBytesAsTheWhole) {
  for (const Case& c : kCases) {
    const int64_t n = 5000;
    const std::vector<uint8_t> raw = RandomBytes(n * c.width, 9);
    const std::vector<uint8_t> expected =
        SplitByTheBook(raw, c.width, c.transform);
    std::vector<uint8_t> planes(raw.size());
    std::vector<uint8_t> back(raw.size());
    for (const ElementRange range :
         {ElementRange{0, 1}, ElementRange{1, 1500}, ElementRange{1500, 1500},
          ElementRange{1500, n}}) {
      std::array<uint8_t*, kMaxPlanes> to{};
      std::array<const uint8_t*, kMaxPlanes> from{};
      for (int i = 0; i < c.width; ++i) {
        to[i] = planes.data() + i * n + range.begin;
        from[i] = to[i];
      }
      SplitElements(raw.data(), range, c.width, c.transform, to);
      MergeElements(from, range, c.width, c.transform, back.data());
    }
    EXPECT_EQ(planes, expected);
    EXPECT_EQ(back, raw);
  }
}

// -1.0 as bfloat16 is BF80: sign 1, exponent 7F, mantissa 0.
TEST(PlanesTest, SignMovePutsTheExponentIntoTheTopByte) {
  const std::vector<uint8_t> raw = {0x80, 0xBF};
  uint8_t planes[2];
  SplitPlanes(raw, 2, Transform::kSignMove, planes);
  EXPECT_THAT(planes, ElementsAre(0x80, 0x7F));
}

TEST(PlanesTest, DeltaOfACounterIsConstant) {
  const std::vector<uint8_t> raw = {5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0};
  uint8_t planes[12];
  SplitPlanes(raw, 4, Transform::kDelta, planes);
  EXPECT_THAT(planes, ElementsAre(5, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(PlanesTest, TransformsFitOnlyTheirWidths) {
  for (const int width : {1, 2, 4, 8}) {
    EXPECT_TRUE(TransformFits(Transform::kNone, width));
    EXPECT_EQ(TransformFits(Transform::kSignMove, width),
              width == 2 || width == 4);
    EXPECT_EQ(TransformFits(Transform::kDelta, width),
              width == 4 || width == 8);
    EXPECT_FALSE(TransformFits(static_cast<Transform>(3), width));
  }
}

}  // namespace
}  // namespace penstock
