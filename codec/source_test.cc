#include "codec/source.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "core/storage.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::shared_ptr<const Storage> StorageOf(absl::string_view text) {
  auto storage = Storage::Allocate(static_cast<int64_t>(text.size()));
  EXPECT_TRUE(storage.ok());
  std::memcpy((*storage)->mutable_bytes().data(), text.data(), text.size());
  return *storage;
}

std::string Text(absl::Span<const uint8_t> bytes) {
  return std::string(bytes.begin(), bytes.end());
}

TEST(MemorySourceTest, LendsASinglePieceEvenWhereThereIsATarget) {
  Plan plan;
  plan.storages = {StorageOf("weights")};
  Piece piece;
  piece.begin = 2;
  piece.size = 3;
  plan.Append(absl::MakeConstSpan(&piece, 1));
  Slot slot;
  std::vector<uint8_t> target(3);
  const auto bytes =
      MemorySource().Bytes(plan, plan.chunks[0], slot, target.data());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->data(), plan.storages[0]->bytes().data() + 2);
  EXPECT_EQ(Text(*bytes), "igh");
}

// The slot is dirty from an earlier chunk.
TEST(MemorySourceTest, GathersPiecesWithZerosBetween) {
  const std::vector<std::shared_ptr<const Storage>> storages = {
      StorageOf("abc"), StorageOf(""), StorageOf(std::string(64, 'd')),
      StorageOf("e")};
  const Plan plan = PlanInOrder(storages);
  ASSERT_EQ(plan.chunks.size(), 1u);
  const std::string expected =
      "abc" + std::string(61, '\0') + std::string(64, 'd') + "e";
  Slot slot;
  slot.raw.Reserve(1000);
  std::memset(slot.raw.data(), 0xA5, 1000);
  auto bytes = MemorySource().Bytes(plan, plan.chunks[0], slot, nullptr);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->data(), slot.raw.data());
  EXPECT_EQ(Text(*bytes), expected);

  std::vector<uint8_t> target(expected.size(), 0xA5);
  bytes = MemorySource().Bytes(plan, plan.chunks[0], slot, target.data());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->data(), target.data());
  EXPECT_EQ(Text(*bytes), expected);
}

TEST(MemorySourceTest, LendsPiecesWhereTheyAre) {
  const std::vector<std::shared_ptr<const Storage>> storages = {
      StorageOf("abc"), StorageOf(""), StorageOf("de")};
  const Plan plan = PlanInOrder(storages);
  Slot slot;
  slot.pieces.resize(9);
  ASSERT_TRUE(MemorySource().LendPieces(plan, plan.chunks[0], slot));
  ASSERT_EQ(slot.pieces.size(), 2u);
  EXPECT_EQ(slot.pieces[0].data(), storages[0]->bytes().data());
  EXPECT_EQ(slot.pieces[1].data(), storages[2]->bytes().data());
  EXPECT_EQ(Text(slot.pieces[1]), "de");
}

TEST(MemorySourceTest, LendsNothingOfAFile) {
  const Plan plan = PlanInOrder({{StorageOf("abc"), Storage::InFile(3, 0)}});
  Slot slot;
  EXPECT_FALSE(MemorySource().LendPieces(plan, plan.chunks[0], slot));
}

TEST(MemorySourceTest, RefusesWhatIsNotInMemory) {
  const std::vector<std::shared_ptr<const Storage>> storages = {
      Storage::InFile(10, 3)};
  const Plan plan = PlanInOrder(storages);
  Slot slot;
  MemorySource source;
  EXPECT_EQ(source.Bytes(plan, plan.chunks[0], slot, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  std::vector<uint8_t> out(1);
  EXPECT_EQ(source.Sample(*storages[0], 0, absl::MakeSpan(out)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MemorySourceTest, RefusesARangeOutsideOfTheStorage) {
  Plan plan;
  plan.storages = {StorageOf("weights")};
  Piece piece;
  piece.begin = 5;
  piece.size = 3;
  plan.Append(absl::MakeConstSpan(&piece, 1));
  Slot slot;
  EXPECT_EQ(
      MemorySource().Bytes(plan, plan.chunks[0], slot, nullptr).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(MemorySourceTest, SamplesAnyBytes) {
  const auto storage = StorageOf("weights");
  MemorySource source;
  std::vector<uint8_t> out(3);
  ASSERT_TRUE(source.Sample(*storage, 4, absl::MakeSpan(out)).ok());
  EXPECT_EQ(Text(out), "hts");
  EXPECT_TRUE(source.Sample(*storage, 7, absl::Span<uint8_t>()).ok());
  EXPECT_FALSE(source.Sample(*storage, 5, absl::MakeSpan(out)).ok());
}

}  // namespace
}  // namespace penstock
