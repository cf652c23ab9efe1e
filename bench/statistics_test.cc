#include "bench/statistics.h"

#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

TEST(StatisticsTest, TheMedianIsTheMiddleOneInAnyOrder) {
  const Spread spread = SpreadOf({5, 1, 9, 2, 7});
  EXPECT_EQ(spread.median, 5);
  EXPECT_EQ(spread.best, 1);
  EXPECT_EQ(spread.worst, 9);
}

TEST(StatisticsTest, TheMedianOfAnEvenNumberLiesBetweenTheMiddleTwo) {
  EXPECT_EQ(SpreadOf({4, 1, 2, 100}).median, 3);
}

TEST(StatisticsTest, OneAndNoneAreNoSpecialCases) {
  EXPECT_EQ(SpreadOf({3}).median, 3);
  EXPECT_EQ(SpreadOf({3}).worst, 3);
  EXPECT_EQ(SpreadOf({}).median, 0);
}

}  // namespace
}  // namespace penstock::bench
