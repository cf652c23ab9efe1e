#include "core/direct_reader.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kPiece = 64 << 10;

// A file of `size_bytes` in the directory for tests, without a name.
class TemporaryFile {
 public:
  explicit TemporaryFile(int64_t size_bytes) : content_(size_bytes, '\0') {
    uint32_t state = 1;
    for (char& byte : content_) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<char>(state >> 24);
    }
    std::string path = testing::TempDir() + "/direct_reader_XXXXXX";
    fd_ = mkstemp(path.data());
    EXPECT_GE(fd_, 0);
    unlink(path.c_str());
    EXPECT_EQ(write(fd_, content_.data(), content_.size()), size_bytes);
    EXPECT_EQ(fdatasync(fd_), 0);
  }
  ~TemporaryFile() { close(fd_); }

  int fd() const { return fd_; }
  const std::string& content() const { return content_; }

 private:
  int fd_ = -1;
  std::string content_;
};

// All of the file, with as many pieces under way as may be.
std::string ReadAll(DirectReader& reader, int64_t size_bytes) {
  AlignedBuffer buffer;
  buffer.Reserve(size_bytes + kPiece);
  int64_t started = 0;
  int under_way = 0;
  while (started < size_bytes || under_way > 0) {
    if (started < size_bytes && under_way < DirectReader::kDepth) {
      reader.Start(started, started,
                   absl::MakeSpan(buffer.data() + started, kPiece));
      started += kPiece;
      ++under_way;
      continue;
    }
    const DirectReader::Done done = reader.Wait();
    --under_way;
    EXPECT_EQ(done.size_bytes, std::min(kPiece, size_bytes - done.tag));
  }
  return std::string(reinterpret_cast<const char*>(buffer.data()), size_bytes);
}

// Sizes that are no multiples of a page, nor of a sector.
TEST(DirectReaderTest, ReadsFilesOfAnySizeToTheirEnds) {
  for (const int64_t size : {1, 511, 4096, 65537, 1'000'003}) {
    const TemporaryFile file(size);
    std::vector<std::unique_ptr<DirectReader>> readers;
    readers.push_back(MakeUringReader(file.fd()));
    readers.push_back(MakeDirectReader(file.fd()));
    readers.push_back(MakeThreadReader(
        [&file](int64_t offset, absl::Span<uint8_t> out) -> int64_t {
          return pread(file.fd(), out.data(), out.size(), offset);
        }));
    for (const auto& reader : readers) {
      // Nothing here where the system refuses.
      if (reader == nullptr) continue;
      EXPECT_TRUE(ReadAll(*reader, size) == file.content()) << size;
    }
  }
}

TEST(DirectReaderTest, TellsErrorsAndWaitsForWhatIsUnderWay) {
  const TemporaryFile file(4096);
  AlignedBuffer buffer;
  buffer.Reserve(4096);
  for (const bool threads : {false, true}) {
    auto reader = threads ? MakeThreadReader([](int64_t, absl::Span<uint8_t>) {
      return int64_t{-1};
    })
                          : MakeUringReader(-1);
    if (reader == nullptr) continue;
    reader->Start(7, 0, absl::MakeSpan(buffer.data(), 4096));
    const DirectReader::Done done = reader->Wait();
    EXPECT_EQ(done.tag, 7);
    EXPECT_EQ(done.size_bytes, -1);
    reader->Start(8, 0, absl::MakeSpan(buffer.data(), 4096));
    reader.reset();
  }
}

TEST(DirectReaderTest, HasNoDirectReaderForWhatIsNoFile) {
  EXPECT_EQ(MakeDirectReader(-1), nullptr);
}

TEST(DirectReaderTest, KnowsWhatIsInThePageCache) {
  const TemporaryFile file(1 << 20);
  EXPECT_TRUE(IsInPageCache(file.fd(), 100, 1'000'000));
  ASSERT_EQ(posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
  // A file system in memory keeps everything.
  if (IsInPageCache(file.fd(), 0, 4096)) GTEST_SKIP();
  EXPECT_FALSE(IsInPageCache(file.fd(), 0, 1 << 20));
  char byte;
  ASSERT_EQ(pread(file.fd(), &byte, 1, 0), 1);
  EXPECT_TRUE(IsInPageCache(file.fd(), 0, 1));
}

}  // namespace
}  // namespace penstock
