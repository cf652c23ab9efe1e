#include "core/aligned_buffer.h"

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(AlignedBufferTest, IsAlignedAndWritableToItsCapacityAtEverySize) {
  for (const int64_t size : {int64_t{1}, int64_t{4095}, int64_t{4097},
                             kHugePageThreshold - 1, kHugePageThreshold + 1}) {
    SCOPED_TRACE(size);
    AlignedBuffer buffer;
    buffer.Reserve(size);
    EXPECT_GE(buffer.capacity(), size);
    EXPECT_EQ(buffer.capacity() % kBufferAlignment, 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kBufferAlignment, 0);
    std::memset(buffer.data(), 0xA5, buffer.capacity());
  }
}

TEST(AlignedBufferTest, KeepsItsBytesWhereItNeedNotGrow) {
  AlignedBuffer buffer;
  buffer.Reserve(10000);
  buffer.data()[9999] = 42;
  const uint8_t* const before = buffer.data();
  buffer.Reserve(0);
  buffer.Reserve(10000);
  EXPECT_EQ(buffer.data(), before);
  EXPECT_EQ(buffer.data()[9999], 42);
}

TEST(AlignedBufferTest, LargeOnesComeBackToTheNextWhoAsks) {
#if !defined(__SANITIZE_ADDRESS__)
  AlignedBuffer other;
  other.Reserve(8 * kHugePageThreshold);
  const uint8_t* first = nullptr;
  {
    AlignedBuffer buffer;
    buffer.Reserve(kHugePageThreshold + 1);
    first = buffer.data();
  }
  AlignedBuffer small;
  small.Reserve(kHugePageThreshold / 4);
  EXPECT_NE(small.data(), first);
  AlignedBuffer again;
  again.Reserve(kHugePageThreshold + 4000);
  EXPECT_EQ(again.data(), first);
  EXPECT_GE(again.capacity(), kHugePageThreshold + 4000);
#endif
}

// What was given back long ago makes room for what is in use now.
TEST(AlignedBufferTest, TheLatestAreKept) {
#if !defined(__SANITIZE_ADDRESS__)
  const auto use = [](int64_t size_bytes) {
    AlignedBuffer buffer;
    buffer.Reserve(size_bytes);
    return buffer.data();
  };
  {
    std::vector<AlignedBuffer> all(kMostKeptBytes / kKeptFrom);
    for (AlignedBuffer& buffer : all) buffer.Reserve(kKeptFrom);
  }
  const uint8_t* const large = use(4 * kHugePageThreshold);
  EXPECT_EQ(use(4 * kHugePageThreshold), large);
  const uint8_t* const small = use(kKeptFrom);
  EXPECT_EQ(use(kKeptFrom), small);
  EXPECT_NE(use(kKeptFrom - 4096), small);
  EXPECT_NE(use(kMostKeptBytes + 1), nullptr);
  EXPECT_EQ(use(4 * kHugePageThreshold), large);
#endif
}

TEST(AlignedBufferTest, MoreThanIsKeptIsGivenToTheSystem) {
  for (int round = 0; round < 3; ++round) {
    std::vector<AlignedBuffer> buffers(30);
    for (AlignedBuffer& buffer : buffers) {
      buffer.Reserve(kHugePageThreshold);
      buffer.data()[kHugePageThreshold - 1] = 1;
    }
  }
}

TEST(AlignedBufferTest, StartsEmptyAndMoves) {
  AlignedBuffer first;
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(first.capacity(), 0);
  first.Reserve(1);
  uint8_t* const data = first.data();
  const AlignedBuffer second = std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.capacity(), 0);
}

}  // namespace
}  // namespace penstock
