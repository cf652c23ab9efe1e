#include "core/aligned_buffer.h"

#include <cstdint>
#include <cstring>
#include <utility>

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

TEST(AlignedBufferTest, StartsEmptyAndMoves) {
  AlignedBuffer first;
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(first.capacity(), 0);
  first.Reserve(1);
  uint8_t* const data = first.data();
  const AlignedBuffer second = std::move(first);
  EXPECT_EQ(second.data(), data);
}

}  // namespace
}  // namespace penstock
