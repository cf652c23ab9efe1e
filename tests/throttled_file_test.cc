#include "tests/throttled_file.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "absl/types/span.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kSize = 100'000;
constexpr double kRate = 2e6;  // 50 ms for each kSize

TEST(ThrottledFileTest, WritersShareTheRate) {
  MemoryFileSystem base;
  ThrottledFileSystem files(base, kRate);
  const auto file = files.Create("f", {});
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<uint8_t> bytes(kSize, 7);
  const Clock::time_point start = Clock::now();
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&, i] {
      EXPECT_TRUE((*file)->Write(i * kSize, bytes).ok());
      EXPECT_GE(Clock::now() - start, milliseconds(50));
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_GE(Clock::now() - start, milliseconds(200));
  EXPECT_EQ(*base.Get("f"), std::string(4 * kSize, 7));
}

TEST(ThrottledFileTest, IdleTimeIsNotSavedUp) {
  MemoryFileSystem base;
  ThrottledFileSystem files(base, kRate);
  const auto file = files.Create("f", {});
  ASSERT_TRUE(file.ok()) << file.status();
  std::this_thread::sleep_for(milliseconds(100));
  const Clock::time_point start = Clock::now();
  EXPECT_TRUE((*file)->Write(0, std::vector<uint8_t>(kSize)).ok());
  EXPECT_GE(Clock::now() - start, milliseconds(50));
}

}  // namespace
}  // namespace penstock
