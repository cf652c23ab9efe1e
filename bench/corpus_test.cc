#include "bench/corpus.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/checksum.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::vector<uint8_t> Weights(DType dtype, uint64_t seed, int64_t size,
                             int64_t row_elements = 4096) {
  std::vector<uint8_t> bytes(size);
  FillWeights(dtype, seed, row_elements, absl::MakeSpan(bytes));
  return bytes;
}

double EntropyOf(const std::vector<int>& symbols) {
  std::vector<double> counts(256);
  for (const int symbol : symbols) ++counts[symbol];
  double bits = 0;
  for (const double count : counts) {
    if (count > 0) bits -= count * std::log2(count / symbols.size());
  }
  return bits / symbols.size();
}

// What every ratio that we publish hangs on. 2.57 to 2.6 bits is what trained
// weights have (codec.md 2.1).
TEST(CorpusTest, ExponentsOfWeightsHaveTheEntropyOfRealOnes) {
  for (int layer = 0; layer < 32; ++layer) {
    const std::vector<uint8_t> bytes =
        Weights(DType::kBFloat16, layer, 256 << 10);
    std::vector<int> exponents;
    for (size_t i = 0; i < bytes.size(); i += 2) {
      uint16_t word;
      std::memcpy(&word, bytes.data() + i, 2);
      exponents.push_back((word >> 7) & 0xFF);
    }
    EXPECT_GT(EntropyOf(exponents), 2.50);
    EXPECT_LT(EntropyOf(exponents), 2.68);
  }
}

TEST(CorpusTest, WeightsHaveTheStatedDeviation) {
  for (int seed = 0; seed < 20; ++seed) {
    const std::vector<uint8_t> bytes = Weights(DType::kFloat32, seed, 1 << 20);
    double sum = 0;
    double squares = 0;
    const size_t n = bytes.size() / 4;
    for (size_t i = 0; i < n; ++i) {
      float value;
      std::memcpy(&value, bytes.data() + i * 4, 4);
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const double deviation = std::sqrt(squares / n);
    EXPECT_LT(std::abs(sum / n), 0.02 * deviation);
    EXPECT_GT(deviation, 0.01);  // the tail and the rows add a little
    EXPECT_LT(deviation, 0.065);
  }
}

// A reader of BENCHMARKS.md on another machine measures the same bytes.
TEST(CorpusTest, BytesAreTheSameEverywhere) {
  EXPECT_EQ(HashOf(Weights(DType::kBFloat16, 1, 1 << 20)).ToHex(),
            "c84333c000940ebc7eff8322faafd050");
  EXPECT_EQ(HashOf(Weights(DType::kFloat8E4M3FN, 1, 1 << 20)).ToHex(),
            "5ba45189dbcca88ed30343fc41c87cae");
}

TEST(CorpusTest, RowsDoNotDependOnOneAnother) {
  const std::vector<uint8_t> whole = Weights(DType::kFloat16, 3, 8192 * 3 + 1);
  const std::vector<uint8_t> part = Weights(DType::kFloat16, 3, 8192 * 2);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
  EXPECT_NE(Weights(DType::kFloat16, 4, 8192 * 2), part);
}

TEST(CorpusTest, AdamSquaresAreNeverNegative) {
  std::vector<uint8_t> bytes(1 << 20);
  FillAdamSquare(1, absl::MakeSpan(bytes));
  for (size_t i = 3; i < bytes.size(); i += 4) ASSERT_LT(bytes[i], 0x80);
}

TEST(CorpusTest, FillsOddSizesToTheLastByte) {
  for (const size_t size : {0, 1, 3, 7, 9, 4097}) {
    std::vector<uint8_t> bytes(size, 0xA5);
    FillUpcastWeights(1, 100, absl::MakeSpan(bytes));
    FillAdamMean(1, absl::MakeSpan(bytes));
    FillCounters(1, absl::MakeSpan(bytes));
    FillBytes(1, absl::MakeSpan(bytes));
    ClearRows(5, absl::MakeSpan(bytes));
    if (size > 0) {
      EXPECT_EQ(bytes[0], 0);
    }
  }
}

}  // namespace
}  // namespace penstock
