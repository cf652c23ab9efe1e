#include "core/checked.h"

#include <cstdint>
#include <optional>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(CheckedTest, SaysWhereTheResultDoesNotFit) {
  EXPECT_EQ(CheckedAdd(INT64_MAX - 1, 1), INT64_MAX);
  EXPECT_EQ(CheckedAdd(INT64_MAX, 1), std::nullopt);
  EXPECT_EQ(CheckedSubtract(INT64_MIN + 1, 1), INT64_MIN);
  EXPECT_EQ(CheckedSubtract(INT64_MIN, 1), std::nullopt);
  EXPECT_EQ(CheckedMultiply(int64_t{1} << 31, int64_t{1} << 31),
            int64_t{1} << 62);
  EXPECT_EQ(CheckedMultiply(int64_t{1} << 32, int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(CheckedMultiply(INT64_MIN, -1), std::nullopt);
}

TEST(RangeFitsTest, HoldsAtEveryEdge) {
  EXPECT_TRUE(RangeFits(0, 0, 0));
  EXPECT_TRUE(RangeFits(10, 0, 10));
  EXPECT_TRUE(RangeFits(3, 7, 10));
  EXPECT_FALSE(RangeFits(3, 8, 10));
  EXPECT_FALSE(RangeFits(11, 0, 10));
  EXPECT_FALSE(RangeFits(-1, 1, 10));
  EXPECT_FALSE(RangeFits(0, -1, 10));
  EXPECT_FALSE(RangeFits(INT64_MAX, INT64_MAX, INT64_MAX));
  EXPECT_TRUE(RangeFits(INT64_MAX, 0, INT64_MAX));
}

TEST(AlignUpTest, GivesTheLeastMultiple) {
  EXPECT_EQ(AlignUp(0, 4096), 0);
  EXPECT_EQ(AlignUp(1, 4096), 4096);
  EXPECT_EQ(AlignUp(4096, 4096), 4096);
  EXPECT_EQ(AlignUp(10, 3), 12);
}

}  // namespace
}  // namespace penstock
