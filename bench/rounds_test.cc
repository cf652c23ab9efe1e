#include "bench/rounds.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A clock that moves only when a contender runs.
struct World {
  double now = 100;
  std::vector<std::string> ran;

  RoundsOptions Options(int rounds) {
    RoundsOptions options;
    options.rounds = rounds;
    options.seed = 1;
    options.now = [this] { return now; };
    return options;
  }
  Contender Taking(const std::string& name, double seconds) {
    Row row;
    row.contender = name;
    return {{row}, nullptr, [this, name, seconds]() -> absl::StatusOr<Sample> {
              ran.push_back(name);
              now += seconds;
              return Sample{{seconds}, seconds * 2, 10, 20};
            }};
  }
  Contender Failing(const std::string& name, absl::Status status) {
    Contender contender = Taking(name, 1);
    contender.run = [this, name, status]() -> absl::StatusOr<Sample> {
      ran.push_back(name);
      return status;
    };
    return contender;
  }
};

TEST(RoundsTest, EveryOrderIsAPermutationAndRoundsDiffer) {
  std::set<std::vector<int>> orders;
  for (int round = 0; round < 20; ++round) {
    std::vector<int> order = OrderOf(round, 9, 5);
    EXPECT_EQ(order, OrderOf(round, 9, 5));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  }
  EXPECT_GE(orders.size(), 19u);
  EXPECT_NE(OrderOf(0, 9, 5), OrderOf(0, 9, 6));
}

// What is first in a round must not always be the same: order has effects.
TEST(RoundsTest, EachContenderComesFirstNowAndThen) {
  std::vector<int> firsts(4);
  for (int round = 0; round < 400; ++round) ++firsts[OrderOf(round, 4, 0)[0]];
  for (const int count : firsts) EXPECT_GT(count, 60);
}

TEST(RoundsTest, AllRunOnceARoundBeforeAnyRunsTwice) {
  World world;
  const auto rounds = RunRounds(
      {world.Taking("a", 1), world.Taking("b", 2), world.Taking("c", 3)},
      world.Options(3));
  ASSERT_TRUE(rounds.ok()) << rounds.status();
  ASSERT_EQ(world.ran.size(), 9u);
  for (int round = 0; round < 3; ++round) {
    const std::set<std::string> seen(world.ran.begin() + round * 3,
                                     world.ran.begin() + round * 3 + 3);
    EXPECT_EQ(seen.size(), 3u);
  }
  ASSERT_EQ(rounds->rows.size(), 3u);
  EXPECT_EQ(rounds->rows[1].contender, "b");
  EXPECT_THAT(rounds->rows[1].seconds, ElementsAre(2, 2, 2));
  EXPECT_THAT(rounds->rows[1].cpu_seconds, ElementsAre(4, 4, 4));
  EXPECT_EQ(rounds->rows[1].peak_bytes, 10);
  EXPECT_EQ(rounds->rows[1].file_bytes, 20);
  EXPECT_EQ(rounds->num_checks, 9);
}

TEST(RoundsTest, WhatCannotRunHereLeavesWithANote) {
  World world;
  const auto rounds =
      RunRounds({world.Failing("odd", absl::UnimplementedError("no O_DIRECT")),
                 world.Taking("b", 1)},
                world.Options(2));
  ASSERT_TRUE(rounds.ok()) << rounds.status();
  EXPECT_EQ(rounds->rows.size(), 1u);
  EXPECT_THAT(rounds->notes, ElementsAre(testing::AllOf(
                                 HasSubstr("odd"), HasSubstr("no O_DIRECT"))));
  EXPECT_EQ(std::count(world.ran.begin(), world.ran.end(), "odd"), 1);
}

TEST(RoundsTest, WrongBytesEndTheRunAndAreNamed) {
  World world;
  const auto rounds =
      RunRounds({world.Taking("good", 1),
                 world.Failing("bad", absl::DataLossError("byte 7 differs"))},
                world.Options(2));
  EXPECT_TRUE(absl::IsDataLoss(rounds.status()));
  EXPECT_THAT(std::string(rounds.status().message()),
              testing::AllOf(HasSubstr("round 1"), HasSubstr("bad"),
                             HasSubstr("byte 7 differs")));
}

TEST(RoundsTest, StopsWhenTold) {
  World world;
  RoundsOptions options = world.Options(5);
  options.keep_going = [](int round, const std::string&) { return round < 2; };
  EXPECT_TRUE(
      absl::IsCancelled(RunRounds({world.Taking("a", 1)}, options).status()));
  EXPECT_EQ(world.ran.size(), 2u);
}

TEST(RoundsTest, TheFirstRoundTellsWhetherAllWillEndInTime) {
  World world;
  RoundsOptions options = world.Options(7);
  options.deadline_seconds = world.now + 70;
  EXPECT_EQ(RunRounds({world.Taking("a", 10)}, options)->rows.size(), 1u);
  options.deadline_seconds = world.now + 35;
  world.ran.clear();
  const auto late = RunRounds({world.Taking("a", 10)}, options);
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_DOUBLE_EQ(late->excess, 2.8);  // 70 s in 25
  EXPECT_TRUE(late->rows.empty());
  EXPECT_EQ(world.ran.size(), 1u);
}

// Two of four took 10 s each, which leaves too little for the other rounds.
TEST(RoundsTest, ARoundThatIsTooSlowIsNotRunToItsEnd) {
  World world;
  RoundsOptions options = world.Options(7);
  options.deadline_seconds = world.now + 100;
  const auto late = RunRounds({world.Taking("a", 10), world.Taking("b", 10),
                               world.Taking("c", 10), world.Taking("d", 10)},
                              options);
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_EQ(world.ran.size(), 2u);
  EXPECT_DOUBLE_EQ(late->excess, 3.5);  // 7 rounds of 40 s in 80
}

struct Halved {
  std::vector<int64_t> sizes;
  absl::StatusOr<Rounds> rounds;
};

// A machine that takes 1 s a megabyte and round.
Halved RunOnSlowMachine(int64_t size, double limit_seconds) {
  World world;
  Halved halved;
  halved.rounds = RunHalving(
      size, 2, world.now + limit_seconds,
      [&](int64_t size_bytes, double deadline_seconds) {
        halved.sizes.push_back(size_bytes);
        RoundsOptions options = world.Options(7);
        options.deadline_seconds = deadline_seconds;
        return RunRounds({world.Taking("a", static_cast<double>(size_bytes))},
                         options);
      },
      [](int64_t) {});
  return halved;
}

TEST(RoundsTest, TheSizeIsHalvedUntilItFitsNeverTheRounds) {
  const Halved halved = RunOnSlowMachine(64, 200);
  ASSERT_TRUE(halved.rounds.ok()) << halved.rounds.status();
  // 136 s are left, and 7 x 64 s are 3.3 times too long: two halves at once.
  EXPECT_THAT(halved.sizes, ElementsAre(64, 16));
  EXPECT_EQ(halved.rounds->rows[0].seconds.size(), 7u);
}

TEST(RoundsTest, TheLeastSizeRunsWhateverItTakes) {
  const Halved halved = RunOnSlowMachine(64, 10);
  ASSERT_TRUE(halved.rounds.ok()) << halved.rounds.status();
  EXPECT_THAT(halved.sizes, ElementsAre(64, 2));
  EXPECT_EQ(halved.rounds->rows[0].seconds.size(), 7u);
}

TEST(RoundsTest, OtherErrorsAreNotTriedAgain) {
  int calls = 0;
  const auto rounds = RunHalving(
      64, 2, 1,
      [&calls](int64_t, double) -> absl::StatusOr<Rounds> {
        ++calls;
        return absl::DataLossError("wrong");
      },
      [](int64_t) { FAIL(); });
  EXPECT_TRUE(absl::IsDataLoss(rounds.status()));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace penstock::bench
