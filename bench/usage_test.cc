#include "bench/usage.h"

#include <cstdlib>
#include <cstring>
#include <memory>

#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

void Touch(size_t bytes) {
  const auto memory = std::make_unique<char[]>(bytes);
  volatile char* page = memory.get();
  for (size_t i = 0; i < bytes; i += 4096) page[i] = 1;
}

TEST(UsageTest, WhatWasFreedBeforeTheEndIsInThePeak) {
  const UsageMeter meter;
  Touch(64 << 20);
  const Usage usage = meter.Stop();
  EXPECT_GE(usage.peak_bytes, 60 << 20);
  // A sanitizer's shadow of the memory counts, too.
  if (getenv("PENSTOCK_SANITIZED") == nullptr) {
    EXPECT_LE(usage.peak_bytes, 80 << 20);
  }
  EXPECT_GT(usage.seconds, 0);
}

TEST(UsageTest, ThePeakOfBeforeIsNotInIt) {
  const UsageMeter before;
  Touch(64 << 20);
  if (before.Stop().peak_bytes == 0) GTEST_SKIP() << "no peak here";
  const UsageMeter meter;
  Touch(8 << 20);
  const Usage usage = meter.Stop();
  EXPECT_LE(usage.peak_bytes, 32 << 20);
}

TEST(UsageTest, CpuTimeIsOfTheWorkAlone) {
  const UsageMeter meter;
  volatile uint64_t sum = 0;
  const double end = Now() + 0.05;
  while (Now() < end) sum = sum + 1;
  const Usage usage = meter.Stop();
  EXPECT_GT(usage.cpu_seconds, 0.001);
  EXPECT_GE(usage.seconds, 0.05);
}

TEST(UsageTest, WhatIsNotInTheFileIsZero) {
  EXPECT_EQ(StatusBytes("/proc/self/status", "VmNothing"), 0);
  EXPECT_EQ(StatusBytes("/no/such/file", "VmHWM"), 0);
  EXPECT_GT(StatusBytes("/proc/self/status", "VmRSS"), 0);
}

}  // namespace
}  // namespace penstock::bench
