#include "codec/sink.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "core/storage.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// A window of `size` bytes of '.' that starts at byte `begin` of its storage.
MemorySink::Window WindowOf(int64_t begin, int64_t size) {
  MemorySink::Window window;
  window.begin = begin;
  auto storage = Storage::Allocate(size);
  EXPECT_TRUE(storage.ok());
  window.storage = *storage;
  std::fill(window.storage->mutable_bytes().begin(),
            window.storage->mutable_bytes().end(), '.');
  return window;
}

std::string Text(const MemorySink::Window& window) {
  const auto bytes = window.storage->bytes();
  return std::string(bytes.begin(), bytes.end());
}

// One chunk: bytes [10, 16) of a storage of 26.
class OnePieceTest : public testing::Test {
 protected:
  OnePieceTest() {
    plan_.storages = {Storage::InFile(26, 0)};
    Piece piece;
    piece.begin = 10;
    piece.size = 6;
    plan_.Append(absl::MakeConstSpan(&piece, 1));
  }

  const uint8_t* Target(const MemorySink::Window& window) {
    Slot slot;
    return MemorySink({window}).Target(plan_, plan_.chunks[0], slot);
  }
  std::string Encoded(const MemorySink::Window& window) {
    const std::string bytes = "klmnop";
    Slot slot;
    MemorySink sink({window});
    EXPECT_TRUE(sink.Encode(plan_, plan_.chunks[0],
                            absl::MakeConstSpan(
                                reinterpret_cast<const uint8_t*>(bytes.data()),
                                bytes.size()),
                            slot)
                    .ok());
    return Text(window);
  }

  Plan plan_;
};

TEST_F(OnePieceTest, TargetIsThePlaceOfAPieceWhollyInside) {
  for (const int64_t begin : {0, 4, 10}) {
    const MemorySink::Window window = WindowOf(begin, 16 - begin);
    EXPECT_EQ(Target(window), window.storage->bytes().data() + 10 - begin);
  }
  EXPECT_EQ(Target(WindowOf(11, 15)), nullptr);
  EXPECT_EQ(Target(WindowOf(0, 15)), nullptr);
  EXPECT_EQ(Target(WindowOf(0, 0)), nullptr);
  EXPECT_EQ(Target(MemorySink::Window()), nullptr);
}

TEST_F(OnePieceTest, EncodeDropsWhatLiesOutsideOfTheWindow) {
  EXPECT_EQ(Encoded(WindowOf(9, 8)), ".klmnop.");
  EXPECT_EQ(Encoded(WindowOf(10, 6)), "klmnop");
  EXPECT_EQ(Encoded(WindowOf(12, 2)), "mn");
  EXPECT_EQ(Encoded(WindowOf(13, 5)), "nop..");
  EXPECT_EQ(Encoded(WindowOf(8, 5)), "..klm");
  EXPECT_EQ(Encoded(WindowOf(16, 3)), "...");
  EXPECT_EQ(Encoded(WindowOf(7, 3)), "...");
}

TEST_F(OnePieceTest, EncodeLeavesBytesThatLandedAlready) {
  const MemorySink::Window window = WindowOf(10, 6);
  MemorySink sink({window});
  Slot slot;
  uint8_t* const target = sink.Target(plan_, plan_.chunks[0], slot);
  std::fill_n(target, 6, 'x');
  ASSERT_TRUE(
      sink.Encode(plan_, plan_.chunks[0], absl::MakeConstSpan(target, 6), slot)
          .ok());
  EXPECT_EQ(Text(window), "xxxxxx");
}

TEST(MemorySinkTest, PiecesOfASharedChunkGoTheirOwnWays) {
  const std::vector<std::shared_ptr<const Storage>> storages = {
      Storage::InFile(3, 0), Storage::InFile(2, 1), Storage::InFile(4, 2)};
  const Plan plan = PlanInOrder(storages);
  ASSERT_EQ(plan.chunks.size(), 1u);
  std::vector<uint8_t> bytes(plan.chunks[0].size_bytes);
  const std::string texts[] = {"abc", "de", "fghi"};
  for (const Piece& piece : plan.pieces) {
    std::copy(texts[piece.storage].begin(), texts[piece.storage].end(),
              bytes.begin() + piece.offset);
  }
  const std::vector<MemorySink::Window> windows = {
      WindowOf(0, 3), MemorySink::Window(), WindowOf(1, 2)};
  MemorySink sink(windows);
  Slot slot;
  EXPECT_EQ(sink.Target(plan, plan.chunks[0], slot), nullptr);
  ASSERT_TRUE(sink.Encode(plan, plan.chunks[0], bytes, slot).ok());
  EXPECT_EQ(Text(windows[0]), "abc");
  EXPECT_EQ(Text(windows[2]), "gh");
}

}  // namespace
}  // namespace penstock
