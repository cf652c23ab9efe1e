#include "codec/chunk_codec.h"

#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

using Bytes = std::vector<uint8_t>;

constexpr int64_t kManySizes[] = {0,  1,  2,  3,  5,   7,   8,   15,  16,
                                  63, 64, 65, 96, 255, 256, 257, 999, 9'003};
// One scratch set used over and over, as a slot's is.
struct Codec {
  Compressor compressor;
  Decompressor decompressor;
  AlignedBuffer planes;
  AlignedBuffer record;

  Bytes Encode(const Bytes& raw, DType dtype, ChunkCoding& coding) {
    const auto size =
        EncodeChunk(raw, dtype, compressor, planes, record, coding);
    EXPECT_TRUE(size.ok()) << size.status();
    return Bytes(record.data(), record.data() + size.value_or(0));
  }
  absl::Status Decode(const Bytes& stored, const ChunkCoding& coding,
                      Bytes& raw) {
    return DecodeChunk(stored, coding, decompressor, planes,
                       absl::MakeSpan(raw));
  }
};

enum class Kind {
  kWeights,
  kZeros,
  kNoise,
  kConstant,
  kCounter,
  kNans,
  kAlternatingSign,
  kOutliers,
  kZeroRows,
};
constexpr Kind kKinds[] = {
    Kind::kWeights,         Kind::kZeros,    Kind::kNoise,
    Kind::kConstant,        Kind::kCounter,  Kind::kNans,
    Kind::kAlternatingSign, Kind::kOutliers, Kind::kZeroRows};

// Four bytes of it per float, so that bytes of any dtype look like something.
uint32_t WordOf(Kind kind, int64_t i, std::mt19937& random) {
  const uint32_t noise = random();
  // Exponents around 2^-6 with a spread, both signs.
  const uint32_t weight =
      (noise & 0x807FFFFF) | (121 - std::min(7, __builtin_ctz(noise | 0x80)))
                                 << 23;
  switch (kind) {
    case Kind::kWeights:
      return weight;
    case Kind::kZeros:
      return 0;
    case Kind::kNoise:
      return noise;
    case Kind::kConstant:
      return 0x3F8CCCCD;
    case Kind::kCounter:
      return static_cast<uint32_t>(1000 + 3 * i);
    case Kind::kNans:
      return 0x7F800001 | (noise & 0x807FFFFF);
    case Kind::kAlternatingSign:
      return (weight & 0x7FFFFFFF) | static_cast<uint32_t>(i & 1) << 31;
    case Kind::kOutliers:
      return i % 512 == 7 ? noise | 0x7F000000 : weight;
    case Kind::kZeroRows:
      return i / 1024 % 10 == 0 ? 0 : weight;
  }
  return 0;
}

Bytes MakeBytes(Kind kind, int64_t size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  Bytes bytes(size + 3);
  for (int64_t i = 0; i * 4 < size; ++i) {
    const uint32_t word = WordOf(kind, i, random);
    std::memcpy(bytes.data() + i * 4, &word,
                std::min<int64_t>(4, size + 3 - i * 4));
  }
  bytes.resize(size);
  return bytes;
}

// Of what our header promises about frames, checked with libzstd itself: each
// plane is one frame, raw ones first, and decoding all of them in one go gives
// the planes in that order.
void ExpectPlainZstdDecodes(const Bytes& stored, const ChunkCoding& coding,
                            const Bytes& raw) {
  Bytes planes(raw.size());
  SplitPlanes(raw, coding.num_planes, coding.transform, planes.data());
  const size_t n = raw.size() / coding.num_planes;
  Bytes expected;
  for (const bool first : {true, false}) {
    for (int i = 0; i < coding.num_planes; ++i) {
      if ((coding.modes[i] == PlaneMode::kRaw) != first) continue;
      const bool last = i + 1 == coding.num_planes;
      expected.insert(expected.end(), planes.begin() + i * n,
                      last ? planes.end() : planes.begin() + (i + 1) * n);
    }
  }
  Bytes decoded(raw.size());
  ASSERT_EQ(ZSTD_decompress(decoded.data(), decoded.size(), stored.data(),
                            stored.size()),
            raw.size());
  ASSERT_EQ(decoded, expected);
}

void ExpectRoundTrip(Codec& codec, const Bytes& raw, DType dtype) {
  ChunkCoding coding;
  const Bytes stored = codec.Encode(raw, dtype, coding);
  ASSERT_LE(static_cast<int64_t>(stored.size()), RawFrameBytes(raw.size()));
  Bytes back(raw.size(), 0xA5);
  const absl::Status status = codec.Decode(stored, coding, back);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(back, raw);
  ExpectPlainZstdDecodes(stored, coding, raw);
}

TEST(ChunkCodecTest, RoundTripsEveryDTypeSizeAndKind) {
  Codec codec;
  for (const Kind kind : kKinds) {
    const Bytes longest = MakeBytes(kind, 9'003);
    for (int code = 0; code < kNumDTypes; ++code) {
      for (const int64_t size : kManySizes) {
        SCOPED_TRACE(testing::Message()
                     << "kind " << static_cast<int>(kind) << " dtype " << code
                     << " size " << size);
        const Bytes raw(longest.begin(), longest.begin() + size);
        ExpectRoundTrip(codec, raw, static_cast<DType>(code));
      }
    }
  }
}

// Sizes at which planes fill blocks of a frame exactly, and just do not.
TEST(ChunkCodecTest, RoundTripsWholeChunksOfEveryWordSize) {
  Codec codec;
  for (const Kind kind : {Kind::kWeights, Kind::kZeroRows, Kind::kCounter}) {
    const Bytes longest = MakeBytes(kind, 8 * kRawBlockBytes + 13);
    for (const DType dtype : {DType::kUInt8, DType::kBFloat16, DType::kFloat32,
                              DType::kFloat64, DType::kInt64}) {
      for (const int64_t size : {kRawBlockBytes - 1, 8 * kRawBlockBytes - 1,
                                 8 * kRawBlockBytes, 8 * kRawBlockBytes + 13}) {
        SCOPED_TRACE(testing::Message()
                     << "kind " << static_cast<int>(kind) << " dtype "
                     << static_cast<int>(dtype) << " size " << size);
        const Bytes raw(longest.begin(), longest.begin() + size);
        ExpectRoundTrip(codec, raw, dtype);
      }
    }
  }
}

TEST(ChunkCodecTest, WeightsShrinkAndNoiseIsOneFrameOfRawBlocks) {
  Codec codec;
  ChunkCoding coding;
  const Bytes weights = MakeBytes(Kind::kWeights, 1 << 20);
  EXPECT_LT(codec.Encode(weights, DType::kFloat32, coding).size(),
            weights.size() * 85 / 100);
  EXPECT_EQ(coding.num_planes, 4);
  EXPECT_EQ(coding.transform, Transform::kSignMove);

  const Bytes noise = MakeBytes(Kind::kNoise, 1 << 20);
  const Bytes stored = codec.Encode(noise, DType::kFloat32, coding);
  ChunkCoding expected;
  expected.frame_bytes[0] = RawFrameBytes(noise.size());
  EXPECT_EQ(coding, expected);
  Bytes frame(RawFrameBytes(noise.size()));
  WriteRawFrame(noise, frame.data());
  EXPECT_EQ(stored, frame);
}

// Golden: what a reader written from docs/FORMAT.md has to read.
TEST(ChunkCodecTest, TinyChunkHasExactlyTheseBytes) {
  Codec codec;
  ChunkCoding coding;
  const Bytes raw = {1, 2, 3, 4};
  EXPECT_THAT(codec.Encode(raw, DType::kFloat32, coding),
              testing::ElementsAre(0x28, 0xB5, 0x2F, 0xFD, 0xA0, 4, 0, 0, 0,
                                   0x21, 0, 0, 1, 2, 3, 4));
}

TEST(ChunkCodecTest, UsedScratchGivesTheSameBytesAsFresh) {
  Codec used;
  ChunkCoding coding;
  for (const Kind kind : kKinds) {
    used.Encode(MakeBytes(kind, (1 << 20) + 3, 5), DType::kFloat64, coding);
  }
  for (const Kind kind : kKinds) {
    for (const DType dtype :
         {DType::kBFloat16, DType::kFloat32, DType::kInt64, DType::kInt8}) {
      const Bytes raw = MakeBytes(kind, 300'001);
      Codec fresh;
      ChunkCoding fresh_coding;
      EXPECT_EQ(used.Encode(raw, dtype, coding),
                fresh.Encode(raw, dtype, fresh_coding));
      EXPECT_EQ(coding, fresh_coding);
    }
  }
}

TEST(ChunkCodecTest, MaxRecordBytesHoldsAllFramesAtTheirWorst) {
  for (const int64_t size : {0, 1, 255, 256, 4097, 130'051, 1 << 20}) {
    for (const int width : {1, 2, 4, 8}) {
      const int64_t last = size / width + size % width;
      EXPECT_GE(MaxRecordBytes(size),
                (width - 1) * MaxFrameBytes(size / width) + MaxFrameBytes(last))
          << size << " " << width;
    }
  }
}

TEST(ChunkCodecTest, RefusesAChunkThatIsTooLarge) {
  Codec codec;
  ChunkCoding coding;
  const Bytes raw(kMaxFrameContentBytes + 1);
  EXPECT_EQ(EncodeChunk(raw, DType::kUInt8, codec.compressor, codec.planes,
                        codec.record, coding)
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ChunkCodecTest, JudgesASampleByWhetherAPlaneShrinks) {
  EXPECT_TRUE(JudgeSample(MakeBytes(Kind::kWeights, 65536), DType::kFloat32)
                  .worth_coding);
  EXPECT_TRUE(
      JudgeSample(MakeBytes(Kind::kZeros, 512), DType::kFloat16).worth_coding);
  EXPECT_FALSE(JudgeSample(MakeBytes(Kind::kNoise, 65536), DType::kFloat32)
                   .worth_coding);
  EXPECT_FALSE(JudgeSample({}, DType::kFloat32).worth_coding);
}

// A coding and the record that it describes, as they stand in a file.
struct Encoded {
  Bytes raw;
  Bytes stored;
  ChunkCoding coding;
};

Encoded EncodeWeights(Codec& codec, int64_t size = 20'002) {
  Encoded encoded;
  encoded.raw = MakeBytes(Kind::kWeights, size);
  encoded.stored = codec.Encode(encoded.raw, DType::kFloat32, encoded.coding);
  EXPECT_EQ(encoded.coding.num_planes, 4);
  return encoded;
}

TEST(ChunkCodecTest, RefusesCodingsThatCannotBe) {
  Codec codec;
  const Encoded good = EncodeWeights(codec);
  const auto expect_refused = [&](auto change, const std::string& telling) {
    ChunkCoding coding = good.coding;
    change(coding);
    Bytes raw(good.raw.size());
    const absl::Status status = codec.Decode(good.stored, coding, raw);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << telling;
    EXPECT_THAT(std::string(status.message()), HasSubstr(telling));
  };
  for (const int planes : {0, 3, 5, 9, 16, 255}) {
    expect_refused([&](ChunkCoding& c) { c.num_planes = planes; },
                   "byte planes, expected 1, 2, 4 or 8");
  }
  expect_refused([](ChunkCoding& c) { c.transform = Transform{3}; },
                 "no transform 3");
  expect_refused(
      [](ChunkCoding& c) {
        c.num_planes = 8;
        c.transform = Transform::kSignMove;
      },
      "no transform 1 for elements of 8 bytes");
  expect_refused([](ChunkCoding& c) { c.modes[1] = PlaneMode{3}; },
                 "plane 1 has mode 3");
  expect_refused([](ChunkCoding& c) { c.modes[5] = PlaneMode::kLz; },
                 "plane 5 has mode 2");
  expect_refused([](ChunkCoding& c) { c.frame_bytes[7] = 1; },
                 "plane 7 has mode 0 and 1 bytes");
  expect_refused([](ChunkCoding& c) { --c.frame_bytes[3]; }, "its record has");
  expect_refused([](ChunkCoding& c) { c.frame_bytes[0] = 0xFFFFFFFF; },
                 "its record has");
  expect_refused(
      [](ChunkCoding& c) {
        --c.frame_bytes[2];
        ++c.frame_bytes[1];
      },
      "byte plane 1: frame of raw blocks has 5013 bytes");
}

TEST(ChunkCodecTest, RefusesAChunkOfAnotherSize) {
  Codec codec;
  const Encoded good = EncodeWeights(codec);
  for (const int64_t size : {0, 1, 19'998, 20'001, 20'003, 20'006, 40'004}) {
    Bytes raw(size);
    EXPECT_EQ(codec.Decode(good.stored, good.coding, raw).code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(ChunkCodecTest, RefusesEveryTruncation) {
  Codec codec;
  const Encoded good = EncodeWeights(codec, 1000);
  Bytes raw(good.raw.size());
  for (size_t size = 0; size < good.stored.size(); ++size) {
    const Bytes cut(good.stored.begin(), good.stored.begin() + size);
    EXPECT_EQ(codec.Decode(cut, good.coding, raw).code(),
              absl::StatusCode::kDataLoss);
  }
}

// Bytes under a checksum get here only undamaged or from an attacker: no crash,
// no other code than kDataLoss. Run under ASan, no stray access.
TEST(ChunkCodecTest, DamageIsDataLossOrOtherBytesButNeverACrash) {
  Codec codec;
  std::mt19937 random(6);
  for (int round = 0; round < 3000; ++round) {
    SCOPED_TRACE(round);
    const Kind kind = kKinds[round % 9];
    const DType dtype = static_cast<DType>(random() % kNumDTypes);
    Encoded damaged;
    damaged.raw = MakeBytes(kind, random() % 3000, round);
    damaged.stored = codec.Encode(damaged.raw, dtype, damaged.coding);
    for (int i = random() % 4; i >= 0; --i) {
      damaged.stored[random() % damaged.stored.size()] =
          static_cast<uint8_t>(random());
    }
    if (random() % 2 == 0) {
      ChunkCoding& coding = damaged.coding;
      coding.transform = static_cast<Transform>(random() % 4);
      coding.num_planes = 1 << random() % 4;
      coding.modes[random() % 8] = static_cast<PlaneMode>(random() % 4);
      const int from = random() % 8;
      const uint32_t moved = random() % (coding.frame_bytes[from] + 1);
      coding.frame_bytes[from] -= moved;
      coding.frame_bytes[random() % 8] += moved;
    }
    Bytes raw(random() % 4 == 0 ? random() % 5000 : damaged.raw.size());
    const absl::Status status =
        codec.Decode(damaged.stored, damaged.coding, raw);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kDataLoss)
        << status;
  }
}

}  // namespace
}  // namespace penstock
