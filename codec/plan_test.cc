#include "codec/plan.h"

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace penstock {
namespace {

std::vector<std::shared_ptr<const Storage>> StoragesOf(
    const std::vector<int64_t>& sizes) {
  std::vector<std::shared_ptr<const Storage>> storages;
  for (const int64_t size : sizes) {
    storages.push_back(
        Storage::InFile(size, static_cast<int64_t>(storages.size())));
  }
  return storages;
}

// Walks the plan and the storages side by side: every byte once, in order, at
// aligned places, within the size of a chunk.
void ExpectEveryByteOnceInOrder(const Plan& plan) {
  int64_t storage = 0;
  int64_t begin = 0;
  int64_t total = 0;
  int64_t next_piece = 0;
  for (size_t i = 0; i < plan.chunks.size(); ++i) {
    const Chunk& chunk = plan.chunks[i];
    EXPECT_EQ(chunk.number, static_cast<int64_t>(i));
    EXPECT_EQ(chunk.first_piece, next_piece);
    next_piece += chunk.num_pieces;
    EXPECT_LE(chunk.size_bytes, kChunkBytes);
    int64_t end = 0;
    for (const Piece& piece : plan.pieces_of(chunk)) {
      while (begin == plan.storages[storage]->size_bytes()) {
        ++storage;
        begin = 0;
      }
      ASSERT_EQ(piece.storage, storage);
      ASSERT_EQ(piece.begin, begin);
      ASSERT_GT(piece.size, 0);
      EXPECT_EQ(piece.offset % kPieceAlignment, 0);
      EXPECT_GE(piece.offset, end);
      EXPECT_LT(piece.offset, end + kPieceAlignment);
      begin += piece.size;
      end = piece.offset + piece.size;
      total += piece.size;
    }
    EXPECT_EQ(end, chunk.size_bytes);
  }
  EXPECT_EQ(next_piece, static_cast<int64_t>(plan.pieces.size()));
  EXPECT_EQ(total, plan.total_bytes);
  int64_t sum = 0;
  for (const auto& each : plan.storages) sum += each->size_bytes();
  EXPECT_EQ(sum, plan.total_bytes);
}

std::vector<int64_t> ChunkSizes(const Plan& plan) {
  std::vector<int64_t> sizes;
  for (const Chunk& chunk : plan.chunks) sizes.push_back(chunk.size_bytes);
  return sizes;
}

TEST(PlanTest, NoStorageNeedsNoChunk) {
  EXPECT_TRUE(PlanInOrder({}).chunks.empty());
  const Plan plan = PlanInOrder(StoragesOf({0, 0}));
  EXPECT_TRUE(plan.chunks.empty());
  EXPECT_TRUE(plan.pieces.empty());
  EXPECT_EQ(plan.storages.size(), 2u);
}

TEST(PlanTest, NeighboursShareAChunkAtAlignedPlaces) {
  const Plan plan = PlanInOrder(StoragesOf({1, 0, 64, 100}));
  ASSERT_EQ(ChunkSizes(plan), std::vector<int64_t>{128 + 100});
  ASSERT_EQ(plan.pieces.size(), 3u);
  EXPECT_EQ(plan.pieces[0].offset, 0);
  EXPECT_EQ(plan.pieces[1].offset, 64);
  EXPECT_EQ(plan.pieces[1].storage, 2);
  EXPECT_EQ(plan.pieces[2].offset, 128);
}

TEST(PlanTest, NextStorageFitsWholeOrStartsAChunk) {
  EXPECT_EQ(ChunkSizes(PlanInOrder(StoragesOf({64, kChunkBytes - 64}))),
            std::vector<int64_t>{kChunkBytes});
  EXPECT_EQ(ChunkSizes(PlanInOrder(StoragesOf({65, kChunkBytes - 64}))),
            (std::vector<int64_t>{65, kChunkBytes - 64}));
  EXPECT_EQ(ChunkSizes(PlanInOrder(StoragesOf({kChunkBytes, 1}))),
            (std::vector<int64_t>{kChunkBytes, 1}));
}

TEST(PlanTest, LargeStorageSharesNoChunk) {
  const Plan plan = PlanInOrder(StoragesOf({10, 2 * kChunkBytes + 5, 10}));
  EXPECT_EQ(ChunkSizes(plan),
            (std::vector<int64_t>{10, kChunkBytes, kChunkBytes, 5, 10}));
  for (const Chunk& chunk : plan.chunks) EXPECT_EQ(chunk.num_pieces, 1);
}

TEST(PlanTest, EveryByteOnceInOrderWhateverTheSizes) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    std::vector<int64_t> sizes(random() % 40);
    for (int64_t& size : sizes) size = random() % (1 << (random() % 23));
    ExpectEveryByteOnceInOrder(PlanInOrder(StoragesOf(sizes)));
  }
}

// Where each storage begins when `gaps[i]` bytes lie before it.
std::vector<int64_t> Offsets(const std::vector<int64_t>& sizes,
                             const std::vector<int64_t>& gaps) {
  std::vector<int64_t> offsets;
  int64_t end = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    offsets.push_back(end + gaps[i]);
    end = offsets[i] + sizes[i];
  }
  return offsets;
}

TEST(PlanTest, RunsOfAFileAreFullWhateverTheStoragesHave) {
  const std::vector<int64_t> sizes(40, 3 * kChunkBytes / 2 + 2);
  const Plan plan = PlanOfFile(StoragesOf(sizes),
                               Offsets(sizes, std::vector<int64_t>(40, 100)));
  for (size_t i = 0; i + 1 < plan.chunks.size(); ++i) {
    EXPECT_GT(plan.chunks[i].size_bytes, kRunBytes - kChunkBytes);
    EXPECT_LE(plan.chunks[i].size_bytes, kRunBytes);
  }
}

TEST(PlanTest, AWideGapEndsARun) {
  const std::vector<int64_t> sizes = {10, 20, 30};
  const std::vector<int64_t> gaps = {5, kMaxInnerGap - 1, kMaxInnerGap};
  const Plan plan = PlanOfFile(StoragesOf(sizes), Offsets(sizes, gaps));
  EXPECT_EQ(ChunkSizes(plan),
            (std::vector<int64_t>{10 + kMaxInnerGap - 1 + 20, 30}));
}

// Every byte at its place, in order, and pieces begin at whole chunks.
TEST(PlanTest, RunsOfAFileHaveEveryByteAtItsPlace) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::vector<int64_t> sizes(random() % 40);
    std::vector<int64_t> gaps;
    for (int64_t& size : sizes) {
      size = random() % (1 << (random() % 25));
      gaps.push_back(random() % (1 << (random() % 19)));
    }
    const std::vector<int64_t> offsets = Offsets(sizes, gaps);
    const Plan plan = PlanOfFile(StoragesOf(sizes), offsets);
    size_t storage = 0;
    int64_t begin = 0;
    int64_t total = 0;
    for (const Chunk& chunk : plan.chunks) {
      EXPECT_LE(chunk.size_bytes, kRunBytes);
      ASSERT_GT(chunk.num_pieces, 0);
      const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
      const int64_t at = offsets[pieces[0].storage] + pieces[0].begin;
      EXPECT_EQ(pieces[0].offset, 0);
      for (const Piece& piece : pieces) {
        while (begin == sizes[storage]) {
          ++storage;
          begin = 0;
        }
        ASSERT_EQ(piece.storage, static_cast<int64_t>(storage));
        ASSERT_EQ(piece.begin, begin);
        EXPECT_EQ(piece.begin % kChunkBytes, 0);
        ASSERT_GT(piece.size, 0);
        EXPECT_EQ(at + piece.offset, offsets[piece.storage] + piece.begin);
        begin += piece.size;
        total += piece.size;
      }
      EXPECT_EQ(pieces.back().offset + pieces.back().size, chunk.size_bytes);
    }
    int64_t sum = 0;
    for (const int64_t size : sizes) sum += size;
    EXPECT_EQ(total, sum);
    EXPECT_EQ(plan.total_bytes, sum);
  }
}

TEST(PlanTest, ARangeIsCutWhereTheChunksOfAFileBegin) {
  const std::shared_ptr<const Storage> storage =
      Storage::InFile(4 * kChunkBytes, 0);
  const Plan plan = PlanRange(storage, kChunkBytes - 3, 3 * kChunkBytes + 5);
  ASSERT_EQ(plan.chunks.size(), 4u);
  EXPECT_EQ(plan.total_bytes, 2 * kChunkBytes + 8);
  const int64_t begins[] = {kChunkBytes - 3, kChunkBytes, 2 * kChunkBytes,
                            3 * kChunkBytes};
  const int64_t sizes[] = {3, kChunkBytes, kChunkBytes, 5};
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(plan.chunks[i].num_pieces, 1);
    EXPECT_EQ(plan.pieces[i].begin, begins[i]);
    EXPECT_EQ(plan.pieces[i].size, sizes[i]);
    EXPECT_EQ(plan.pieces[i].offset, 0);
  }
  EXPECT_TRUE(PlanRange(storage, 7, 7).chunks.empty());
}

}  // namespace
}  // namespace penstock
