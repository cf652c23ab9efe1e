#include "codec/native_layout.h"

#include <memory>
#include <utility>
#include <vector>

#include "codec/native_test_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;

NativeLayout LayOutOrDie(const TestTensors& tensors, NativeCodec codec,
                         int64_t max_frame_bytes = kMaxFramePayload) {
  MemorySource source;
  auto layout = LayOut(*TestCheckpoint(tensors).graph(), {}, codec,
                       max_frame_bytes, source);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return *std::move(layout);
}

std::vector<int64_t> StoragesOf(const NativeLayout& layout, int64_t chunk) {
  std::vector<int64_t> storages;
  for (const Piece& piece :
       layout.file_plan.pieces_of(layout.file_plan.chunks[chunk])) {
    storages.push_back(piece.storage);
  }
  return storages;
}

TEST(NativeLayoutTest, SmallStoragesShareChunksByDType) {
  const NativeLayout layout =
      LayOutOrDie({{DType::kFloat32, TestStorage(100, 0, Fill::kNoise)},
                   {DType::kInt64, TestStorage(16, 1, Fill::kNoise)},
                   {DType::kFloat32, TestStorage(4, 2, Fill::kNoise)},
                   {DType::kInt64, TestStorage(0, 3, Fill::kNoise)},
                   {DType::kInt64, TestStorage(64 << 10, 4, Fill::kNoise)}},
                  NativeCodec::kNone);
  ASSERT_EQ(layout.file_plan.chunks.size(), 3);
  EXPECT_THAT(StoragesOf(layout, 0), ElementsAre(0, 2));
  EXPECT_THAT(StoragesOf(layout, 1), ElementsAre(1));
  EXPECT_THAT(StoragesOf(layout, 2), ElementsAre(4));
  EXPECT_EQ(layout.storages[2].first_chunk, 0);
  EXPECT_EQ(layout.storages[2].offset_in_chunk, 128);
  EXPECT_EQ(layout.file_plan.chunks[0].size_bytes, 132);
  EXPECT_EQ(layout.chunks[1].dtype, DType::kInt64);
}

TEST(NativeLayoutTest, AGroupIsAtMostOneChunk) {
  TestTensors tensors;
  for (int i = 0; i < 40; ++i) {
    tensors.emplace_back(DType::kUInt8, TestStorage(60000, i, Fill::kNoise));
  }
  const NativeLayout layout = LayOutOrDie(tensors, NativeCodec::kNone);
  ASSERT_EQ(layout.file_plan.chunks.size(), 3);
  EXPECT_EQ(StoragesOf(layout, 0).size(), 17);
  for (const Chunk& chunk : layout.file_plan.chunks) {
    EXPECT_LE(chunk.size_bytes, kChunkBytes);
  }
}

TEST(NativeLayoutTest, SmallRawUnitsComeFirstInOneFrame) {
  const NativeLayout layout =
      LayOutOrDie({{DType::kUInt8, TestStorage(4 << 20, 0, Fill::kNoise)},
                   {DType::kUInt8, TestStorage(1 << 17, 1, Fill::kZeros)},
                   {DType::kUInt8, TestStorage(100001, 2, Fill::kNoise)},
                   {DType::kUInt8, TestStorage(5, 3, Fill::kNoise)}},
                  NativeCodec::kZstd);
  ASSERT_EQ(layout.file_plan.chunks.size(), 7);
  EXPECT_THAT(StoragesOf(layout, 0), ElementsAre(2));
  EXPECT_THAT(StoragesOf(layout, 1), ElementsAre(3));
  EXPECT_THAT(StoragesOf(layout, 2), ElementsAre(0));
  EXPECT_THAT(StoragesOf(layout, 6), ElementsAre(1));
  EXPECT_EQ(layout.chunks[0].frame_bytes, 100032 + 5);
  EXPECT_EQ(layout.chunks[0].alignment, 64);
  EXPECT_EQ(layout.chunks[1].frame_bytes, 0);
  EXPECT_EQ(layout.chunks[2].frame_bytes, 4 << 20);
  EXPECT_EQ(layout.chunks[2].alignment, 4096);
  EXPECT_EQ(layout.chunks[3].alignment, 1);
  EXPECT_EQ(layout.chunks[6].coded, 1);
  EXPECT_EQ(layout.chunks[5].coded, 0);
}

TEST(NativeLayoutTest, LargeRawStoragesAreSplitAtWholeChunks) {
  const NativeLayout layout = LayOutOrDie(
      {{DType::kUInt8, TestStorage((9 << 20) + 1, 0, Fill::kNoise)}},
      NativeCodec::kNone, 5 << 20);
  std::vector<int64_t> frames;
  for (const ChunkLayout& chunk : layout.chunks) {
    if (chunk.frame_bytes > 0) frames.push_back(chunk.frame_bytes);
  }
  EXPECT_THAT(frames, ElementsAre(4 << 20, 4 << 20, (1 << 20) + 1));
}

// Small writes leave a disk waiting.
TEST(NativeLayoutTest, RunsWithAPlaceAreFullWhateverTheStoragesHave) {
  TestTensors tensors;
  for (int i = 0; i < 12; ++i) {
    tensors.emplace_back(DType::kUInt8,
                         TestStorage((3 << 19) + i, i, Fill::kNoise));
  }
  tensors.emplace_back(DType::kUInt8, TestStorage(9 << 20, 12, Fill::kNoise));
  const NativeLayout layout = LayOutOrDie(tensors, NativeCodec::kNone);
  ASSERT_GT(layout.runs.size(), 5u);
  for (size_t i = 0; i + 1 < layout.runs.size(); ++i) {
    EXPECT_GE(layout.runs[i].begin, 0);
    EXPECT_GT(layout.plan.chunks[i].size_bytes, kRunBytes - kChunkBytes);
    EXPECT_LE(layout.plan.chunks[i].size_bytes, kRunBytes);
  }
}

TEST(NativeLayoutTest, ScalarsAreWorthCoding) {
  TestTensors tensors;
  for (int i = 0; i < 500; ++i) {
    tensors.emplace_back(DType::kFloat32, TestStorage(4, 0, Fill::kNoise));
  }
  EXPECT_EQ(LayOutOrDie(tensors, NativeCodec::kZstd).chunks[0].coded, 1);
  EXPECT_EQ(LayOutOrDie(tensors, NativeCodec::kNone).chunks[0].coded, 0);
}

}  // namespace
}  // namespace penstock
