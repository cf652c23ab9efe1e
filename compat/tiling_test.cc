#include "compat/tiling.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using Dims = std::vector<int64_t>;
using Boxes = std::vector<Box>;

// Every way of cutting [4, 3] into three boxes with one point moved: judged by
// counting elements.
bool TilesByCounting(const Dims& shape, const std::vector<Box>& boxes) {
  std::vector<int> counts(shape[0] * shape[1]);
  for (const Box& box : boxes) {
    for (int64_t i = 0; i < box.size[0]; ++i) {
      for (int64_t j = 0; j < box.size[1]; ++j) {
        ++counts[(box.begin[0] + i) * shape[1] + box.begin[1] + j];
      }
    }
  }
  for (const int count : counts) {
    if (count != 1) return false;
  }
  return true;
}

TEST(TilingTest, AgreesWithCountingElements) {
  const Dims shape = {3, 3};
  std::vector<Box> all;
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t n = 1; i + n <= 3; ++n) {
        for (int64_t m = 1; j + m <= 3; ++m) all.push_back({{i, j}, {n, m}});
      }
    }
  }
  int num_tilings = 0;
  for (const Box& a : all) {
    for (const Box& b : all) {
      for (const Box& c : all) {
        for (const std::vector<Box>& boxes :
             {std::vector<Box>{a}, std::vector<Box>{a, b},
              std::vector<Box>{a, b, c}}) {
          const bool tiles = TilesByCounting(shape, boxes);
          num_tilings += tiles ? 1 : 0;
          EXPECT_EQ(CheckTiling(shape, boxes).ok(), tiles);
        }
      }
    }
  }
  EXPECT_GT(num_tilings, 10);
}

TEST(TilingTest, SaysWhetherChunksAreMissingOrOverlap) {
  const Dims shape = {4, 4};
  const absl::Status missing = CheckTiling(shape, Boxes{{{0, 0}, {2, 4}}});
  EXPECT_EQ(missing.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(missing.message(), "8 elements of 16"));
  const absl::Status overlap =
      CheckTiling(shape, Boxes{{{0, 0}, {4, 4}}, {{1, 1}, {2, 2}}});
  EXPECT_EQ(overlap.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(overlap.message(), "overlap")) << overlap;
  // As many as there are, but one twice and one not at all.
  EXPECT_EQ(
      CheckTiling(shape, Boxes{{{0, 0}, {2, 4}}, {{0, 0}, {2, 4}}}).code(),
      absl::StatusCode::kDataLoss);
  EXPECT_EQ(CheckTiling(Dims(21, 2), Boxes{}).code(),
            absl::StatusCode::kUnimplemented);
}

TEST(TilingTest, JoinsWhatNoBoxDivides) {
  Dims shape = {6, 4, 5};
  std::vector<Box> boxes = {{{0, 0, 0}, {2, 4, 5}}, {{2, 0, 0}, {4, 4, 5}}};
  JoinDimensions(shape, absl::MakeSpan(boxes));
  EXPECT_EQ(shape, (Dims{120}));
  EXPECT_EQ(boxes[1].begin, (Dims{40}));
  EXPECT_EQ(boxes[1].size, (Dims{80}));

  shape = {6, 4, 5};
  boxes = {{{0, 0, 0}, {6, 1, 5}}, {{0, 1, 0}, {6, 3, 5}}};
  JoinDimensions(shape, absl::MakeSpan(boxes));
  EXPECT_EQ(shape, (Dims{6, 20}));
  EXPECT_EQ(boxes[1].begin, (Dims{0, 5}));

  shape = {};
  boxes = {{{}, {}}};
  JoinDimensions(shape, absl::MakeSpan(boxes));
  EXPECT_EQ(shape, (Dims{1}));
  EXPECT_TRUE(CheckTiling(shape, boxes).ok());
}

// Against walking all elements.
TEST(TilingTest, CountsTheElementsOfABoxBeforeAnyOther) {
  const Dims shape = {3, 4, 5};
  const Box box = {{1, 1, 2}, {2, 2, 3}};
  int64_t before = 0;
  for (int64_t index = 0; index < 60; ++index) {
    EXPECT_EQ(ElementsBefore(shape, box, index), before) << index;
    const int64_t at[] = {index / 20, index / 5 % 4, index % 5};
    bool inside = true;
    for (int d = 0; d < 3; ++d) {
      inside =
          inside && at[d] >= box.begin[d] && at[d] < box.begin[d] + box.size[d];
    }
    before += inside ? 1 : 0;
  }
  EXPECT_EQ(ElementsBefore(shape, box, 60), 12);
}

}  // namespace
}  // namespace penstock
