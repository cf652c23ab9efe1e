#include "core/page_populator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kMiB = 1 << 20;

class NewMemory {
 public:
  explicit NewMemory(int64_t size_bytes)
      : size_bytes_(size_bytes),
        data_(static_cast<uint8_t*>(mmap(nullptr, size_bytes,
                                         PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    EXPECT_NE(data_, MAP_FAILED);
  }
  ~NewMemory() { munmap(data_, size_bytes_); }

  absl::Span<uint8_t> bytes() { return absl::MakeSpan(data_, size_bytes_); }
  int64_t NumPages() const {
    std::vector<unsigned char> resident(size_bytes_ / 4096);
    EXPECT_EQ(mincore(data_, size_bytes_, resident.data()), 0);
    return std::count_if(resident.begin(), resident.end(),
                         [](unsigned char in) { return (in & 1) != 0; });
  }

 private:
  const int64_t size_bytes_;
  uint8_t* const data_;
};

// Chunks by several threads, at addresses that are no pages' beginnings.
TEST(PagePopulatorTest, GetsAllPagesAndChangesNoByte) {
  for (const int num_threads : {1, 2, 8}) {
    NewMemory memory(96 * kMiB);
    const absl::Span<uint8_t> all = memory.bytes().subspan(64);
    PagePopulator populator;
    std::atomic<int64_t> next = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < num_threads; ++i) {
      threads.emplace_back([&] {
        for (int64_t at;
             (at = next.fetch_add(kMiB)) < static_cast<int64_t>(all.size());) {
          const absl::Span<uint8_t> bytes = all.subspan(at, kMiB);
          populator.Populate(all, bytes);
          std::memset(bytes.data(), static_cast<int>(at / kMiB), bytes.size());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(memory.NumPages(), 96 * kMiB / 4096);
    for (size_t i = 0; i < all.size(); i += 1000) {
      ASSERT_EQ(all[i], static_cast<uint8_t>(i / kMiB));
    }
  }
}

TEST(PagePopulatorTest, GetsTheRestWhereSomeIsThere) {
  NewMemory memory(64 * kMiB);
  const absl::Span<uint8_t> all = memory.bytes();
  // Few pages of the first zones, most of the last ones.
  for (int64_t page = 0; page < 64 * kMiB / 4096; ++page) {
    if (page * 7919 % 16384 < page) all[page * 4096] = 1;
  }
  PagePopulator populator;
  for (int64_t at = 0; at < 64 * kMiB; at += 3 * kMiB) {
    populator.Populate(all, all.subspan(at, 3 * kMiB));
  }
  // Those of which there is little are got whole.
  EXPECT_GE(memory.NumPages(), 64 * kMiB / 4096 * 3 / 4);
  for (int64_t page = 0; page < 64 * kMiB / 4096; ++page) {
    ASSERT_EQ(all[page * 4096], page * 7919 % 16384 < page ? 1 : 0);
  }
}

// The pages at its ends may be somebody else's too.
TEST(PagePopulatorTest, GetsThePagesThatSmallMemoryHasForItself) {
  NewMemory memory(2 * kMiB);
  PagePopulator populator;
  const absl::Span<uint8_t> all = memory.bytes().subspan(100, 64 << 10);
  populator.Populate(all, all);
  EXPECT_EQ(memory.NumPages(), (64 << 10) / 4096 - 1);
}

TEST(PagePopulatorTest, LeavesLittleMemoryToFaults) {
  NewMemory memory(2 * kMiB);
  PagePopulator populator;
  const absl::Span<uint8_t> all = memory.bytes().subspan(0, 31 << 10);
  populator.Populate(all, all);
  EXPECT_EQ(memory.NumPages(), 0);
}

}  // namespace
}  // namespace penstock
