#include "bench/row.h"

#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

Row Strategy(Section section, std::vector<double> seconds) {
  Row row;
  row.section = section;
  row.bytes = 100;
  row.seconds = std::move(seconds);
  return row;
}

// Best of each round: 100, 100, 100. Medians: 50 and 25.
TEST(RowTest, TheCeilingIsTheHighestMedianNotTheMaximumOfEachRound) {
  const std::vector<Row> rows = {Strategy(Section::kWrite, {1, 2, 4}),
                                 Strategy(Section::kWrite, {4, 1, 4}),
                                 Strategy(Section::kRead, {0.1, 0.1, 0.1})};
  EXPECT_DOUBLE_EQ(CeilingRate(rows, Section::kWrite), 50);
}

TEST(RowTest, WhatWasNotMeasuredHasNoCeiling) {
  EXPECT_EQ(CeilingRate({}, Section::kWrite), 0);
  EXPECT_EQ(CeilingRate({Strategy(Section::kOpen, {1})},
                        CeilingSectionOf(Section::kOpen)),
            0);
}

TEST(RowTest, EveryThingThatMovesAllBytesHasItsCeiling) {
  EXPECT_EQ(CeilingSectionOf(Section::kSave), Section::kWrite);
  EXPECT_EQ(CeilingSectionOf(Section::kConvert), Section::kWrite);
  EXPECT_EQ(CeilingSectionOf(Section::kLoadCold), Section::kRead);
  EXPECT_EQ(CeilingSectionOf(Section::kLoadWarm), Section::kCopy);
}

}  // namespace
}  // namespace penstock::bench
