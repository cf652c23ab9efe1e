#include "core/checksum.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

std::vector<uint8_t> Counting(int64_t size) {
  std::vector<uint8_t> bytes(size);
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

// From xxHash's own one-shot code, which shares nothing with the dispatcher.
TEST(HashTest, MatchesKnownValuesInCanonicalOrder) {
  EXPECT_EQ(HashOf({}).ToHex(), "99aa06d3014798d86001c324468d497f");
  const std::string digits = "123456789";
  EXPECT_EQ(HashOf(Bytes(digits)).ToHex(), "33119477ede5dcd5e9716427681d5860");
  EXPECT_EQ(HashOf(Bytes(digits), 1).ToHex(),
            "e3ede0d7b3c8aeaef35243003decde66");
  EXPECT_EQ(HashOf(Counting(1000)).ToHex(), "076f7e02b7120d2ad33dd80b46f60e50");
  EXPECT_EQ(HashOf(Counting(1000), 0x0123456789abcdef).ToHex(),
            "9c0c1f79ceab4b5ecda1ff2a35958dd2");
}

TEST(HashTest, SeesEveryBitAndTheSeed) {
  std::vector<uint8_t> bytes = Counting(300);
  const Hash128 hash = HashOf(bytes, 7);
  EXPECT_FALSE(hash == HashOf(bytes, 8));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= 1 << (bit % 8);
    EXPECT_FALSE(hash == HashOf(bytes, 7)) << bit;
    bytes[bit / 8] ^= 1 << (bit % 8);
  }
  EXPECT_EQ(hash, HashOf(bytes, 7));
}

TEST(HasherTest, PiecesGiveTheHashOfTheWhole) {
  for (const int64_t size : {0, 1, 16, 17, 128, 240, 241, 1024, 5000, 100000}) {
    for (const int64_t piece : {1, 3, 255, 256, 1024, 99999}) {
      SCOPED_TRACE(testing::Message() << size << " in pieces of " << piece);
      const std::vector<uint8_t> bytes = Counting(size);
      const auto span = absl::MakeConstSpan(bytes);
      Hasher hasher(42);
      for (int64_t at = 0; at < size; at += piece) {
        hasher.Update(span.subspan(at, piece));
      }
      hasher.Update({});
      EXPECT_EQ(hasher.Digest(), HashOf(span, 42));
    }
  }
}

TEST(HasherTest, GoesOnAfterADigestAndAMove) {
  const std::vector<uint8_t> bytes = Counting(2000);
  const auto span = absl::MakeConstSpan(bytes);
  Hasher first(3);
  first.Update(span.subspan(0, 700));
  EXPECT_EQ(first.Digest(), HashOf(span.subspan(0, 700), 3));
  Hasher second = std::move(first);
  second.Update(span.subspan(700));
  EXPECT_EQ(second.Digest(), HashOf(span, 3));
}

TEST(Crc32Test, MatchesTheCheckValueOfTheStandard) {
  EXPECT_EQ(Crc32(Bytes("123456789")), 0xcbf43926u);
  EXPECT_EQ(Crc32({}), 0u);
  EXPECT_EQ(Crc32({}, 0xcbf43926u), 0xcbf43926u);
}

TEST(Crc32Test, GoesOnAndCombinesAtEveryCut) {
  const std::vector<uint8_t> bytes = Counting(1500);
  const auto span = absl::MakeConstSpan(bytes);
  const uint32_t whole = Crc32(span);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const uint32_t a = Crc32(span.subspan(0, cut));
    EXPECT_EQ(Crc32(span.subspan(cut), a), whole) << cut;
    EXPECT_EQ(CombineCrc32(a, Crc32(span.subspan(cut)), span.size() - cut),
              whole)
        << cut;
  }
}

// Appending 2^n zeros n times over, against one jump of more than 2^32.
TEST(Crc32Test, CombinesOverMoreThan4GiB) {
  const std::vector<uint8_t> zeros(1 << 20);
  uint32_t run_crc = Crc32(zeros);
  int64_t run_bytes = 1 << 20;
  while (run_bytes < int64_t{1} << 33) {
    run_crc = CombineCrc32(run_crc, run_crc, run_bytes);
    run_bytes *= 2;
  }
  const uint32_t a = Crc32(Bytes("123456789"));
  const uint32_t at_once = CombineCrc32(a, run_crc, run_bytes);
  const uint32_t half_crc = [&] {
    uint32_t crc = Crc32(zeros);
    for (int64_t n = 1 << 20; n < run_bytes / 2; n *= 2) {
      crc = CombineCrc32(crc, crc, n);
    }
    return crc;
  }();
  const uint32_t in_halves = CombineCrc32(
      CombineCrc32(a, half_crc, run_bytes / 2), half_crc, run_bytes / 2);
  EXPECT_EQ(at_once, in_halves);
  EXPECT_NE(at_once, CombineCrc32(a, run_crc, run_bytes - 1));
}

}  // namespace
}  // namespace penstock
