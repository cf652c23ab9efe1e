#include "core/storage.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(StorageTest, AllocatesAlignedWritableBytesOfEverySize) {
  for (const int64_t size :
       {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{4096},
        (int64_t{4} << 20) - 1, int64_t{4} << 20, (int64_t{4} << 20) + 1}) {
    SCOPED_TRACE(size);
    const auto storage = Storage::Allocate(size);
    ASSERT_TRUE(storage.ok()) << storage.status();
    EXPECT_EQ((*storage)->size_bytes(), size);
    const absl::Span<uint8_t> bytes = (*storage)->mutable_bytes();
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), size);
    EXPECT_NE(bytes.data(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % 64, 0);
    std::memset(bytes.data(), 0x5A, bytes.size());
    EXPECT_EQ((*storage)->bytes().data(), bytes.data());
    EXPECT_FALSE((*storage)->in_file());
    EXPECT_EQ((*storage)->file_number(), -1);
  }
}

TEST(StorageTest, RefusesSizesThatCannotBe) {
  EXPECT_EQ(Storage::Allocate(-1).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const int64_t size :
       {(int64_t{1} << 44) + 1, int64_t{1} << 62, INT64_MAX}) {
    EXPECT_EQ(Storage::Allocate(size).status().code(),
              absl::StatusCode::kResourceExhausted)
        << size;
  }
}

TEST(StorageTest, ReleasesAdoptedBytesOnceWithTheLastReference) {
  std::vector<uint8_t> bytes = {1, 2, 3};
  int releases = 0;
  auto storage =
      Storage::Adopt(absl::MakeSpan(bytes), [&releases] { ++releases; });
  auto second = storage;
  EXPECT_EQ(storage->bytes().data(), bytes.data());
  storage.reset();
  EXPECT_EQ(releases, 0);
  second.reset();
  EXPECT_EQ(releases, 1);
  Storage::Adopt(absl::MakeSpan(bytes), nullptr).reset();
}

TEST(StorageTest, InAFileItHasASizeAndNoBytes) {
  const auto storage = Storage::InFile(int64_t{1} << 50, 7);
  EXPECT_TRUE(storage->in_file());
  EXPECT_EQ(storage->file_number(), 7);
  EXPECT_EQ(storage->size_bytes(), int64_t{1} << 50);
  EXPECT_DEATH(storage->bytes(), "in_file");
}

TEST(StorageTest, ThoseOfAFileStayAsLongAsOneOfThem) {
  auto storages = Storage::AllInFile({5, 0, int64_t{1} << 40});
  ASSERT_EQ(storages.size(), 3u);
  storages[2]->set_location("cuda:0");
  const std::shared_ptr<Storage> last = std::move(storages[2]);
  storages.clear();
  EXPECT_EQ(last->size_bytes(), int64_t{1} << 40);
  EXPECT_EQ(last->file_number(), 2);
  EXPECT_EQ(last->location(), "cuda:0");
  EXPECT_TRUE(Storage::AllInFile({}).empty());
}

TEST(StorageTest, KeepsPyTorchsLocation) {
  const auto storage = Storage::InFile(0, 0);
  EXPECT_EQ(storage->location(), "cpu");
  storage->set_location("cuda:1");
  EXPECT_EQ(storage->location(), "cuda:1");
}

}  // namespace
}  // namespace penstock
