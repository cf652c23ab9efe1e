#define ZSTD_STATIC_LINKING_ONLY

#include "codec/compressor.h"

#include <zstd.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr PlaneMode kModes[] = {PlaneMode::kRaw, PlaneMode::kLiteral,
                                PlaneMode::kLz};
constexpr int64_t kSizes[] = {0,       1,       2,       255,
                              256,     65'791,  65'792,  131'071,
                              131'072, 131'073, 262'144, 1 << 20};

// Runs, a skewed alphabet and noise.
std::vector<uint8_t> MixedBytes(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(size);
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t r = random();
    bytes[i] = (i >> 12) % 3 == 0   ? 7
               : (i >> 12) % 3 == 1 ? static_cast<uint8_t>(r & (r >> 8) & 0x1F)
                                    : static_cast<uint8_t>(r);
  }
  return bytes;
}

std::vector<uint8_t> Compress(PlaneMode mode, const std::vector<uint8_t>& raw,
                              Compressor& compressor) {
  std::vector<uint8_t> frame(MaxFrameBytes(raw.size()));
  const auto size = compressor.CompressFrame(mode, raw, absl::MakeSpan(frame));
  EXPECT_TRUE(size.ok()) << size.status();
  frame.resize(size.value_or(0));
  return frame;
}

std::vector<uint8_t> Compress(PlaneMode mode, const std::vector<uint8_t>& raw) {
  Compressor compressor;
  return Compress(mode, raw, compressor);
}

TEST(CompressorTest, RoundTripsEveryModeAndSize) {
  Compressor compressor;
  Decompressor decompressor;
  for (const PlaneMode mode : kModes) {
    for (const int64_t size : kSizes) {
      SCOPED_TRACE(testing::Message()
                   << "mode " << static_cast<int>(mode) << " size " << size);
      const std::vector<uint8_t> raw = MixedBytes(size, 1);
      const std::vector<uint8_t> frame = Compress(mode, raw, compressor);
      std::vector<uint8_t> back(size);
      ASSERT_TRUE(
          decompressor.DecompressFrame(frame, absl::MakeSpan(back)).ok());
      ASSERT_EQ(back, raw);
    }
  }
}

// Promised to whoever reads with the ordinary zstd: no window to allocate.
TEST(CompressorTest, FramesAreSingleSegmentsWithContentSize) {
  Compressor compressor;
  for (const PlaneMode mode : kModes) {
    for (const int64_t size : kSizes) {
      const std::vector<uint8_t> frame =
          Compress(mode, MixedBytes(size, 2), compressor);
      ZSTD_frameHeader header;
      ASSERT_EQ(ZSTD_getFrameHeader(&header, frame.data(), frame.size()), 0u);
      EXPECT_EQ(header.frameContentSize, static_cast<uint64_t>(size));
      EXPECT_EQ(header.windowSize, static_cast<uint64_t>(size));
      EXPECT_EQ(header.checksumFlag, 0u);
      EXPECT_EQ(header.dictID, 0u);
    }
  }
}

TEST(CompressorTest, LiteralModeCodesWhatHasNoMatches) {
  std::mt19937 random(3);
  std::vector<uint8_t> raw(1 << 17);
  for (uint8_t& byte : raw) byte = static_cast<uint8_t>(random() & 0x0F);
  EXPECT_LT(Compress(PlaneMode::kLiteral, raw).size(), raw.size() * 51 / 100);
}

TEST(CompressorTest, BytesDoNotDependOnEarlierCalls) {
  Compressor used;
  for (const int64_t size : {1 << 20, 3, 200'000}) {
    Compress(PlaneMode::kLiteral, MixedBytes(size, 4), used);
    Compress(PlaneMode::kLz, MixedBytes(size, 5), used);
  }
  for (const PlaneMode mode : kModes) {
    for (const int64_t size : kSizes) {
      const std::vector<uint8_t> raw = MixedBytes(size, 6);
      const std::vector<uint8_t> first = Compress(mode, raw, used);
      EXPECT_EQ(first, Compress(mode, raw));
      EXPECT_EQ(first, Compress(mode, raw, used));
    }
  }
}

TEST(CompressorTest, RawFrameHasExactlyTheseBytes) {
  const std::vector<uint8_t> raw = {'a', 'b', 'c'};
  EXPECT_THAT(Compress(PlaneMode::kRaw, raw),
              ElementsAre(0x28, 0xB5, 0x2F, 0xFD,  // magic
                          0xA0, 3, 0, 0, 0,        // content size
                          0x19, 0, 0, 'a', 'b', 'c'));
  EXPECT_THAT(Compress(PlaneMode::kRaw, {}),
              ElementsAre(0x28, 0xB5, 0x2F, 0xFD, 0xA0, 0, 0, 0, 0, 1, 0, 0));
}

TEST(CompressorTest, RawFrameOffsetFindsEveryByteOfTheContent) {
  const std::vector<uint8_t> raw = MixedBytes(2 * kRawBlockBytes + 5, 7);
  const std::vector<uint8_t> frame = Compress(PlaneMode::kRaw, raw);
  ASSERT_EQ(static_cast<int64_t>(frame.size()), RawFrameBytes(raw.size()));
  for (int64_t i = 0; i < static_cast<int64_t>(raw.size()); ++i) {
    ASSERT_EQ(frame[RawFrameOffset(i)], raw[i]) << i;
  }
  EXPECT_TRUE(CheckRawFrame(frame, raw.size()).ok());
}

TEST(CompressorTest, CheckRawFrameFindsEveryWrongBitOfAHeader) {
  const std::vector<uint8_t> raw(kRawBlockBytes + 1, 9);
  std::vector<uint8_t> frame = Compress(PlaneMode::kRaw, raw);
  const int64_t second = RawFrameOffset(kRawBlockBytes) - 3;
  for (const int64_t begin : {int64_t{0}, second}) {
    for (int64_t bit = begin * 8; bit < (begin == 0 ? 12 : begin + 3) * 8;
         ++bit) {
      frame[bit / 8] ^= 1 << (bit % 8);
      EXPECT_EQ(CheckRawFrame(frame, raw.size()).code(),
                absl::StatusCode::kDataLoss);
      frame[bit / 8] ^= 1 << (bit % 8);
    }
  }
  EXPECT_FALSE(CheckRawFrame(frame, raw.size() + 1).ok());
  EXPECT_FALSE(CheckRawFrame(frame, -1).ok());
  frame.pop_back();
  EXPECT_FALSE(CheckRawFrame(frame, raw.size()).ok());
}

absl::Status Decode(const std::vector<uint8_t>& frame, size_t out_bytes) {
  Decompressor decompressor;
  std::vector<uint8_t> out(out_bytes);
  return decompressor.DecompressFrame(frame, absl::MakeSpan(out));
}

TEST(DecompressorTest, RefusesWhatIsNotExactlyOneFrameOfThatSize) {
  const std::vector<uint8_t> raw = MixedBytes(10'000, 8);
  const std::vector<uint8_t> frame = Compress(PlaneMode::kLz, raw);
  ASSERT_TRUE(Decode(frame, raw.size()).ok());
  std::vector<uint8_t> twice = frame;
  twice.insert(twice.end(), frame.begin(), frame.end());
  const std::vector<uint8_t> skippable = {0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0};
  std::vector<uint8_t> longer = frame;
  longer.push_back(0);

  for (const auto& [bytes, size, telling] :
       std::vector<std::tuple<std::vector<uint8_t>, size_t, std::string>>{
           {frame, raw.size() - 1, "expected 9999 bytes"},
           {frame, raw.size() + 1, "expected 10001 bytes"},
           {frame, 0, "expected 0 bytes"},
           {twice, raw.size(), "ends after"},
           {longer, raw.size(), "ends after"},
           {skippable, 0, "skippable"},
           {{}, 0, "ends within its header"},
           {{1, 2, 3, 4, 5, 6, 7, 8}, 0, "not a zstd frame"}}) {
    const absl::Status status = Decode(bytes, size);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(telling));
  }
}

TEST(DecompressorTest, RefusesEveryTruncation) {
  for (const PlaneMode mode : kModes) {
    const std::vector<uint8_t> raw = MixedBytes(3000, 9);
    const std::vector<uint8_t> frame = Compress(mode, raw);
    for (size_t size = 0; size < frame.size(); ++size) {
      EXPECT_EQ(
          Decode({frame.begin(), frame.begin() + size}, raw.size()).code(),
          absl::StatusCode::kDataLoss);
    }
  }
}

TEST(DecompressorTest, DecodesAgainAfterADamagedFrame) {
  const std::vector<uint8_t> raw = MixedBytes(50'000, 10);
  const std::vector<uint8_t> frame = Compress(PlaneMode::kLiteral, raw);
  Decompressor decompressor;
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> damaged = frame;
    damaged[random() % damaged.size()] ^= 1 << (random() % 8);
    std::vector<uint8_t> out(raw.size());
    const absl::Status status =
        decompressor.DecompressFrame(damaged, absl::MakeSpan(out));
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kDataLoss);
    ASSERT_TRUE(decompressor.DecompressFrame(frame, absl::MakeSpan(out)).ok());
    ASSERT_EQ(out, raw);
  }
}

// Contexts of the same parameters, measured from outside.
TEST(CompressorTest, ContextsStayWithinTheirPromise) {
  const std::vector<uint8_t> raw = MixedBytes(4 << 20, 12);
  std::vector<uint8_t> frame(MaxFrameBytes(raw.size()));
  int64_t total = 0;
  for (const bool literal : {false, true}) {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 26);
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel,
                           literal ? -128 : 1);
    if (literal) {
      ZSTD_CCtx_setParameter(context, ZSTD_c_minMatch, 7);
      ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, 8);
    }
    const size_t size = ZSTD_compress2(context, frame.data(), frame.size(),
                                       raw.data(), raw.size());
    EXPECT_FALSE(ZSTD_isError(size));
    total += static_cast<int64_t>(ZSTD_sizeof_CCtx(context));
    ZSTD_freeCCtx(context);
  }
  EXPECT_GE(Compressor::MaxContextBytes(), total);
  EXPECT_LE(Compressor::MaxContextBytes(), 4 << 20);
  EXPECT_GT(Decompressor::MaxContextBytes(), 64 << 10);
  EXPECT_LE(Decompressor::MaxContextBytes(), 1 << 20);
}

}  // namespace
}  // namespace penstock
