#include "compat/file_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "compat/sub_file.h"
#include "core/file.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Counts what is open.
class CountingFileSystem : public MemoryFileSystem {
 public:
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenRead(
      const std::string& path) override {
    PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file,
                              MemoryFileSystem::OpenRead(path));
    ++times_opened;
    const int64_t now = ++num_open;
    int64_t most = most_open;
    while (most < now && !most_open.compare_exchange_weak(most, now)) {
    }
    return std::make_unique<CountedFile>(std::move(file), num_open, told);
  }

  std::atomic<int64_t> times_opened = 0;
  std::atomic<int64_t> num_open = 0;
  std::atomic<int64_t> most_open = 0;
  std::atomic<int64_t> told = -1;  // the last offset that will be read

 private:
  class CountedFile : public RandomAccessFile {
   public:
    CountedFile(std::unique_ptr<RandomAccessFile> file,
                std::atomic<int64_t>& num_open, std::atomic<int64_t>& told)
        : file_(std::move(file)), num_open_(num_open), told_(told) {}
    ~CountedFile() override { --num_open_; }
    absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
      return file_->Read(offset, out);
    }
    void WillRead(int64_t offset, int64_t) const override { told_ = offset; }
    int64_t size_bytes() const override { return file_->size_bytes(); }
    FileVersion version() const override { return file_->version(); }
    const std::string& path() const override { return file_->path(); }

   private:
    const std::unique_ptr<RandomAccessFile> file_;
    std::atomic<int64_t>& num_open_;
    std::atomic<int64_t>& told_;
  };
};

using File = std::shared_ptr<const RandomAccessFile>;

std::string ByteOf(const File& file) {
  uint8_t byte = 0;
  const absl::Status status = file->Read(0, absl::MakeSpan(&byte, 1));
  return status.ok() ? absl::StrCat(byte) : status.ToString();
}

class FilePoolTest : public testing::Test {
 protected:
  // "/0", "/1"..., each with one byte, its number.
  std::vector<File> OpenAll(int num_files, size_t most_open) {
    const std::shared_ptr<FilePool> pool = FilePool::Make(files_, most_open);
    std::vector<File> result;
    for (int i = 0; i < num_files; ++i) {
      files_.Put(absl::StrCat("/", i), std::string(1, static_cast<char>(i)));
      result.push_back(*pool->Open(absl::StrCat("/", i)));
    }
    return result;
  }

  CountingFileSystem files_;
};

TEST_F(FilePoolTest, KeepsFewOpenAndReadsAll) {
  std::vector<File> open = OpenAll(100, 4);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(ByteOf(open[i]), absl::StrCat(i));
  }
  EXPECT_LE(files_.most_open, 5);  // one more while the last one goes
  EXPECT_EQ(files_.num_open, 4);
  open.clear();
  EXPECT_EQ(files_.num_open, 0);
}

TEST_F(FilePoolTest, PassesOnWhatWillBeRead) {
  const std::vector<File> open = OpenAll(6, 4);
  open[0]->WillRead(17, 3);  // not open just now
  EXPECT_EQ(files_.told, 17);
  SubFile(open[1], 30, 10).WillRead(5, 2);
  EXPECT_EQ(files_.told, 35);
}

TEST_F(FilePoolTest, OpensOnceWhatHasRoom) {
  const std::vector<File> open = OpenAll(4, 4);
  for (int round = 0; round < 9; ++round) {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(ByteOf(open[i]), absl::StrCat(i));
  }
  EXPECT_EQ(files_.times_opened, 4);
}

TEST_F(FilePoolTest, KeepsWhatWasReadLast) {
  const std::vector<File> open = OpenAll(6, 4);  // 2 to 5 are open
  EXPECT_EQ(ByteOf(open[2]), "2");
  EXPECT_EQ(ByteOf(open[0]), "0");  // in place of 3
  EXPECT_EQ(ByteOf(open[2]), "2");
  EXPECT_EQ(files_.times_opened, 7);
  EXPECT_EQ(ByteOf(open[3]), "3");
  EXPECT_EQ(files_.times_opened, 8);
}

TEST_F(FilePoolTest, NoticesThatAFileIsGoneOrAnotherOne) {
  const std::vector<File> open = OpenAll(6, 4);
  files_.Put("/0", "longer");
  ASSERT_TRUE(files_.Unlink("/1").ok());
  EXPECT_EQ(ByteOf(open[0]),
            "DATA_LOSS: /0: has 6 bytes now, had 1 when it was opened");
  uint8_t byte = 0;
  EXPECT_EQ(open[1]->Read(0, absl::MakeSpan(&byte, 1)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(FilePool::Make(files_)->Open("/none").status().code(),
            absl::StatusCode::kNotFound);
}

// One checkpoint must not come out of two.
TEST_F(FilePoolTest, NoticesAnotherFileOfTheSameSize) {
  const std::vector<File> open = OpenAll(7, 4);
  files_.Put("/0", "x");
  ASSERT_TRUE(files_.Rename("/5", "/1").ok());  // one that is open still
  const absl::StatusOr<std::unique_ptr<WritableFile>> writer =
      files_.Create("/new", {});
  const uint8_t byte = 9;
  ASSERT_TRUE((*writer)->Write(0, absl::MakeSpan(&byte, 1)).ok());
  ASSERT_TRUE(files_.Rename("/new", "/6").ok());
  for (const int replaced : {0, 1}) {
    EXPECT_EQ(ByteOf(open[replaced]),
              absl::StrCat("DATA_LOSS: /", replaced,
                           ": was replaced or written to while it was read"));
  }
  EXPECT_EQ(ByteOf(open[2]), "2");  // closed, and still what it was
  EXPECT_EQ(ByteOf(open[5]), "5");  // open
  EXPECT_EQ(ByteOf(open[6]), "6");
}

TEST_F(FilePoolTest, ServesManyThreads) {
  const std::vector<File> open = OpenAll(30, 3);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const int number = (i * (2 * t + 1) + t) % 30;
        wrong += ByteOf(open[number]) != absl::StrCat(number);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(files_.most_open, 3 + 2 * 4);
  EXPECT_EQ(files_.num_open, 3);
}

}  // namespace
}  // namespace penstock
