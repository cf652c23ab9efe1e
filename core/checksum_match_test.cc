#include "core/checksum_match.h"

#include "core/checksum.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

Hash128 HashEndingIn(uint8_t last) {
  Hash128 hash;
  hash.bytes[15] = last;
  return hash;
}

// In a build for fuzzing this fails: nothing of it may get into another one.
TEST(ChecksumMatchTest, EveryDifferenceIsSeen) {
  EXPECT_TRUE(ChecksumsMatch(7u, 7u));
  EXPECT_TRUE(ChecksumsMatch(HashEndingIn(1), HashEndingIn(1)));
  for (int bit = 0; bit < 32; ++bit) {
    EXPECT_FALSE(ChecksumsMatch(7u, 7u ^ 1u << bit));
  }
  EXPECT_FALSE(ChecksumsMatch(HashEndingIn(1), HashEndingIn(2)));
  EXPECT_FALSE(kTakesAnyChecksum);
}

}  // namespace
}  // namespace penstock
