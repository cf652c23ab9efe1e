#include "codec/chunk_cache.h"

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace penstock {
namespace {

absl::Status FillWith(absl::Span<uint8_t> out, uint8_t value) {
  for (uint8_t& byte : out) byte = value;
  return absl::OkStatus();
}

TEST(ChunkCacheTest, DecodesOnceForManyThreads) {
  ChunkCache cache(2);
  std::vector<std::thread> threads;
  std::atomic<int> num_right = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto bytes = cache.Get(3, 100, [](absl::Span<uint8_t> out) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return FillWith(out, 9);
      });
      if (bytes.ok() && (*bytes)->data()[99] == 9) ++num_right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_right, 8);
  EXPECT_EQ(cache.num_decoded(), 1);
}

TEST(ChunkCacheTest, ForgetsWhatWasUsedLongestAgo) {
  ChunkCache cache(2);
  const auto get = [&](int64_t number) {
    const auto bytes = cache.Get(number, 1, [&](absl::Span<uint8_t> out) {
      return FillWith(out, static_cast<uint8_t>(number));
    });
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ((*bytes)->data()[0], number);
  };
  for (const int64_t number : {1, 2, 1, 3, 1}) get(number);
  EXPECT_EQ(cache.num_decoded(), 3);
  get(2);
  EXPECT_EQ(cache.num_decoded(), 4);
}

TEST(ChunkCacheTest, KeepsNoFailure) {
  ChunkCache cache(2);
  EXPECT_EQ(
      cache
          .Get(1, 1,
               [](absl::Span<uint8_t>) { return absl::DataLossError("x"); })
          .status()
          .code(),
      absl::StatusCode::kDataLoss);
  EXPECT_THROW((void)cache.Get(1, 1,
                               [](absl::Span<uint8_t>) -> absl::Status {
                                 throw std::bad_alloc();
                               }),
               std::bad_alloc);
  EXPECT_TRUE(
      cache.Get(1, 1, [](absl::Span<uint8_t> out) { return FillWith(out, 1); })
          .ok());
}

}  // namespace
}  // namespace penstock
