#include "bench/child_process.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

TEST(ChildProcessTest, TheTimeIsOfTheWholeProcess) {
  const auto usage = RunChild({"sleep", "0.05"});
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_GE(usage->seconds, 0.05);
  EXPECT_LT(usage->cpu_seconds, usage->seconds);
}

// Its own peak, though it starts from a process that has 256 MiB.
TEST(ChildProcessTest, ThePeakIsTheChildsOwn) {
  const std::string large(256 << 20, 'x');
  const auto usage = RunChild({"sleep", "0.05"});
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_LT(usage->peak_bytes, 64 << 20);
  EXPECT_EQ(large.back(), 'x');
}

TEST(ChildProcessTest, WhatItSaidIsInTheErrorAndNowhereElse) {
  testing::internal::CaptureStderr();
  const absl::Status failed =
      RunChild({"sh", "-c", "echo disk is full >&2; exit 4"}).status();
  ASSERT_TRUE(RunChild({"sh", "-c", "echo all is well >&2"}).ok());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(std::string(failed.message()),
              testing::HasSubstr("exit code 4: disk is full"));
}

TEST(ChildProcessTest, AFailureIsAnErrorThatNamesTheProgram) {
  const absl::Status failed = RunChild({"false"}).status();
  EXPECT_TRUE(absl::IsInternal(failed));
  EXPECT_THAT(std::string(failed.message()),
              testing::HasSubstr("false failed with exit code 1"));
  EXPECT_TRUE(absl::IsNotFound(RunChild({"no-such-program"}).status()));
  EXPECT_THAT(
      std::string(RunChild({"sh", "-c", "kill -9 $$"}).status().message()),
      testing::HasSubstr("signal 9"));
}

}  // namespace
}  // namespace penstock::bench
