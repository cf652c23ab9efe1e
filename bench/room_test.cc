#include "bench/room.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kGb = 1'000'000'000;

Contender Of(Section section, const std::string& name,
             const std::string& what) {
  Row row;
  row.section = section;
  row.contender = name;
  row.what = what;
  return {{row}, nullptr, nullptr};
}

TEST(RoomTest, TooLittleDiskIsRefusedAndSaysHowMuchIsNeeded) {
  const absl::Status status =
      CheckRoom({5 * kGb, kGb}, {4 * kGb, 9 * kGb}, "somewhere");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("somewhere"), HasSubstr("disk"),
                    HasSubstr("5.0 GB"), HasSubstr("4.0 GB")));
}

TEST(RoomTest, TooLittleMemoryIsRefusedAndSaysHowMuchIsNeeded) {
  const absl::Status status = CheckRoom({kGb, 3 * kGb}, {kGb, 2 * kGb}, ".");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("memory"), HasSubstr("3.0 GB"), HasSubstr("2.0 GB")));
}

TEST(RoomTest, EnoughIsEnough) {
  EXPECT_TRUE(CheckRoom({kGb, kGb}, {kGb, kGb}, ".").ok());
}

// Source, what is loaded, the page cache of one warm file, twice the same name.
TEST(RoomTest, WhatLiesSideBySideIsCounted) {
  const std::vector<Contender> contenders = {
      Of(Section::kSave, "penstock .pt", "durable"),
      Of(Section::kLoadWarm, "penstock .pt", "new memory"),
      Of(Section::kLoadWarm, "penstock .pt", "mapped, verified")};
  const int64_t rest = RoomFor({}, 0, Peers::kNone).memory_bytes;
  const Room room = RoomFor(contenders, kGb, Peers::kNone);
  EXPECT_EQ(room.memory_bytes, rest + 3 * kGb);
  EXPECT_EQ(RoomFor(contenders, kGb, Peers::kSome).memory_bytes,
            rest + 6 * kGb);
  EXPECT_GE(room.disk_bytes, 4 * kGb);
}

TEST(RoomTest, WhereNothingIsSavedTheSourceDoesNotStay) {
  const std::vector<Contender> contenders = {
      Of(Section::kLoadWarm, "penstock raw .pstk", "new memory")};
  const int64_t rest = RoomFor({}, 0, Peers::kNone).memory_bytes;
  EXPECT_EQ(RoomFor(contenders, 8 * kGb, Peers::kNone).memory_bytes,
            rest + 16 * kGb);
}

}  // namespace
}  // namespace penstock::bench
