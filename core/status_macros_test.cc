#include "core/status_macros.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(AnnotateTest, PutsTheContextFirstAndKeepsTheCode) {
  const absl::Status status =
      Annotate(absl::DataLossError("checksum differs"), "tensor \"w\"");
  EXPECT_EQ(status, absl::DataLossError("tensor \"w\": checksum differs"));
}

TEST(AnnotateTest, LeavesOkAlone) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "nothing happened").ok());
}

absl::Status Fail(int* evaluations) {
  ++*evaluations;
  return absl::NotFoundError("gone");
}

absl::Status ReturnEarly(int* evaluations, bool* went_on) {
  PENSTOCK_RETURN_IF_ERROR(absl::OkStatus());
  PENSTOCK_RETURN_IF_ERROR(Fail(evaluations));
  *went_on = true;
  return absl::OkStatus();
}

TEST(ReturnIfErrorTest, ReturnsTheErrorAndEvaluatesOnce) {
  int evaluations = 0;
  bool went_on = false;
  EXPECT_EQ(ReturnEarly(&evaluations, &went_on), absl::NotFoundError("gone"));
  EXPECT_EQ(evaluations, 1);
  EXPECT_FALSE(went_on);
}

absl::StatusOr<std::unique_ptr<int>> Box(int value) {
  if (value < 0) return absl::InvalidArgumentError("negative");
  return std::make_unique<int>(value);
}

absl::StatusOr<int> Sum(int a, int b) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, Box(a));
  std::unique_ptr<int> second;
  PENSTOCK_ASSIGN_OR_RETURN(second, Box(b));
  return *first + *second;
}

TEST(AssignOrReturnTest, MovesTheValueOrReturnsTheError) {
  EXPECT_EQ(Sum(2, 3).value(), 5);
  EXPECT_EQ(Sum(2, -1).status(), absl::InvalidArgumentError("negative"));
}

TEST(CheckDeathTest, NamesTheConditionAndStops) {
  PENSTOCK_CHECK(1 + 1 == 2);
  EXPECT_DEATH(PENSTOCK_CHECK(1 + 1 == 3), "status_macros_test.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace penstock
