#include "core/memory_file_system.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

std::string ReadAll(const RandomAccessFile& file) {
  std::vector<uint8_t> bytes(file.size_bytes());
  EXPECT_TRUE(file.Read(0, absl::MakeSpan(bytes)).ok());
  return std::string(bytes.begin(), bytes.end());
}

TEST(MemoryFileSystemTest, KeepsWhatIsWrittenAndFillsGapsWithZeros) {
  MemoryFileSystem files;
  auto file = files.Create("d/a", {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Write(4, Bytes("xyz")).ok());
  EXPECT_TRUE((*file)->Write(0, Bytes("ab")).ok());
  EXPECT_TRUE((*file)->Truncate(6).ok());
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(*files.Get("d/a"), std::string("ab\0\0xy", 6));
  EXPECT_EQ(ReadAll(**files.OpenRead("d/a")), std::string("ab\0\0xy", 6));
  EXPECT_EQ(files.Stat("d/a")->size_bytes, 6);
  EXPECT_EQ(files.Stat("d/a")->permissions, 0644u);
  EXPECT_EQ(files.Stat("d")->type, FileInfo::Type::kDirectory);
  EXPECT_EQ(files.Stat("d")->device, files.Stat("d/a")->device);
}

TEST(MemoryFileSystemTest, ReadsNothingBeyondTheEnd) {
  const auto file = FileFromString("0123456789", "digits");
  EXPECT_EQ(file->size_bytes(), 10);
  std::vector<uint8_t> out(4);
  EXPECT_TRUE(file->Read(6, absl::MakeSpan(out)).ok());
  for (const int64_t offset : {int64_t{7}, int64_t{-1}, INT64_MAX}) {
    EXPECT_EQ(file->Read(offset, absl::MakeSpan(out)).code(),
              absl::StatusCode::kDataLoss);
  }
  EXPECT_TRUE(file->Read(10, {}).ok());
}

TEST(MemoryFileSystemTest, AnOpenFileSurvivesRenameAndUnlink) {
  MemoryFileSystem files;
  files.Put("a", "old");
  files.Put("b", "new");
  const auto open = *files.OpenRead("a");
  EXPECT_TRUE(files.Rename("b", "a").ok());
  EXPECT_EQ(ReadAll(*open), "old");
  EXPECT_EQ(*files.Get("a"), "new");
  EXPECT_THAT(files.Names(), ElementsAre("a"));
  EXPECT_TRUE(files.Unlink("a").ok());
  EXPECT_THAT(files.Names(), ElementsAre());
}

TEST(MemoryFileSystemTest, AnswersAsARealOneWhereNamesAreWrong) {
  MemoryFileSystem files;
  files.Put("d/a", "");
  EXPECT_TRUE(absl::IsAlreadyExists(files.Create("d/a", {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(files.Create("d", {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(files.OpenRead("d").status()));
  EXPECT_TRUE(absl::IsNotFound(files.OpenRead("d/b").status()));
  EXPECT_TRUE(absl::IsNotFound(files.Stat("d/b").status()));
  EXPECT_TRUE(absl::IsNotFound(files.Unlink("d/b")));
  EXPECT_TRUE(absl::IsNotFound(files.Rename("d/b", "c")));
  EXPECT_TRUE(absl::IsNotFound(files.SetPermissions("d/b", 0600)));
  EXPECT_TRUE(absl::IsNotFound(files.Get("d/b").status()));
}

TEST(MemoryFileSystemTest, IsFullAtItsCapacityAndNotBefore) {
  MemoryFileSystem::Options options;
  options.capacity_bytes = 10;
  MemoryFileSystem files(options);
  auto file = *files.Create("a", {});
  EXPECT_TRUE(file->Allocate(10).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(file->Allocate(11)));
  EXPECT_TRUE(file->Write(0, Bytes("0123456789")).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(file->Write(10, Bytes("x"))));
  EXPECT_EQ(*files.FreeSpace("."), 0);
  EXPECT_TRUE(file->Write(5, Bytes("abcde")).ok());
  EXPECT_TRUE(files.Unlink("a").ok());
  EXPECT_EQ(*files.FreeSpace("."), 10);
}

TEST(MemoryFileSystemTest, HoldsDirectWritersToTheirAlignment) {
  CreateOptions direct;
  direct.caching = Caching::kDirect;
  MemoryFileSystem buffered;
  EXPECT_FALSE((*buffered.Create("a", direct))->direct());
  MemoryFileSystem::Options options;
  options.accept_direct = true;
  MemoryFileSystem files(options);
  EXPECT_FALSE((*files.Create("b", {}))->direct());
  const auto file = *files.Create("a", direct);
  EXPECT_TRUE(file->direct());
  AlignedBuffer buffer;
  buffer.Reserve(2 * kBufferAlignment);
  const auto bytes = absl::MakeConstSpan(buffer.data(), kBufferAlignment);
  EXPECT_TRUE(file->Write(kBufferAlignment, bytes).ok());
  EXPECT_FALSE(file->Write(1, bytes).ok());
  EXPECT_FALSE(file->Write(0, bytes.subspan(1)).ok());
  EXPECT_FALSE(
      file->Write(0, absl::MakeConstSpan(buffer.data() + 8, kBufferAlignment))
          .ok());
}

TEST(MemoryFileSystemTest, RecordsEveryOperationInOrder) {
  MemoryFileSystem files;
  auto file = *files.Create("a", {});
  (void)file->Allocate(8);
  (void)file->Write(2, Bytes("abc"));
  (void)file->Truncate(4);
  (void)file->Sync();
  (void)file->Close();
  (void)files.SetPermissions("a", 0600);
  (void)files.Rename("a", "b");
  (void)files.SyncDirectory(".");
  (void)files.Stat("b");
  (void)files.FreeSpace(".");
  std::vector<uint8_t> out(2);
  (void)(*files.OpenRead("b"))->Read(1, absl::MakeSpan(out));
  (void)files.Unlink("b");
  std::vector<std::string> names;
  for (const FileOperation& operation : files.Log()) {
    names.push_back(operation.name);
  }
  EXPECT_THAT(
      names, ElementsAre("create", "allocate", "write", "truncate", "sync",
                         "close", "set_permissions", "rename", "sync_directory",
                         "stat", "free_space", "open_read", "read", "unlink"));
  const FileOperation write = files.Log()[2];
  EXPECT_EQ(write.path, "a");
  EXPECT_EQ(write.offset, 2);
  EXPECT_EQ(write.size_bytes, 3);
}

}  // namespace
}  // namespace penstock
