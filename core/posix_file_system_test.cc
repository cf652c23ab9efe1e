#include "core/posix_file_system.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

class PosixFileSystemTest : public testing::Test {
 protected:
  PosixFileSystemTest() {
    std::string name = testing::TempDir() + "/posixXXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~PosixFileSystemTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string Path(const std::string& name) const {
    return directory_ + "/" + name;
  }

  void Make(const std::string& name, const std::string& bytes) {
    auto file = files_.Create(Path(name), {});
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Write(0, Bytes(bytes)).ok());
    ASSERT_TRUE((*file)->Close().ok());
  }

  std::string Content(const std::string& name) {
    auto file = files_.OpenRead(Path(name));
    if (!file.ok()) return file.status().ToString();
    std::vector<uint8_t> bytes((*file)->size_bytes());
    EXPECT_TRUE((*file)->Read(0, absl::MakeSpan(bytes)).ok());
    return std::string(bytes.begin(), bytes.end());
  }

  FileSystem& files_ = PosixFileSystem();
  std::string directory_;
};

void ExpectError(const absl::Status& status, absl::StatusCode code,
                 const std::string& words) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST_F(PosixFileSystemTest, WritesAndReadsByPosition) {
  auto file = files_.Create(Path("a"), {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE((*file)->direct());
  EXPECT_FALSE((*file)->sequential());
  EXPECT_TRUE((*file)->Write(3, Bytes("defg")).ok());
  EXPECT_TRUE((*file)->Write(0, Bytes("abc")).ok());
  EXPECT_TRUE((*file)->Write(7, {}).ok());
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(Content("a"), "abcdefg");
  auto reader = files_.OpenRead(Path("a"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<uint8_t> middle(3);
  EXPECT_TRUE((*reader)->Read(2, absl::MakeSpan(middle)).ok());
  EXPECT_EQ(std::string(middle.begin(), middle.end()), "cde");
  EXPECT_EQ((*reader)->path(), Path("a"));
}

TEST_F(PosixFileSystemTest, ReadingPastTheEndSaysHowMuchIsMissing) {
  Make("a", "0123456789");
  auto file = files_.OpenRead(Path("a"));
  ASSERT_TRUE(file.ok());
  std::vector<uint8_t> out(8);
  const absl::Status status = (*file)->Read(7, absl::MakeSpan(out));
  ExpectError(status, absl::StatusCode::kDataLoss,
              "of 8 bytes at offset 7 the last 5 are missing");
  EXPECT_THAT(std::string(status.message()), HasSubstr(Path("a")));
  ExpectError((*file)->Read(INT64_MAX - 4, absl::MakeSpan(out)),
              absl::StatusCode::kInvalidArgument, "cannot read");
  ExpectError((*file)->Read(-1, absl::MakeSpan(out)),
              absl::StatusCode::kInvalidArgument, "cannot read");
}

TEST_F(PosixFileSystemTest, WritesAroundThePageCacheWhereItMay) {
  CreateOptions options;
  options.caching = Caching::kDirect;
  auto file = files_.Create(Path("a"), options);
  ASSERT_TRUE(file.ok()) << file.status();
  constexpr int64_t kBlock = 4 * kBufferAlignment;
  AlignedBuffer buffer;
  buffer.Reserve(kBlock);
  ASSERT_TRUE((*file)->Allocate(4 * kBlock).ok());
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    std::memset(buffer.data(), 'a' + i, kBlock);
    expected += std::string(kBlock, 'a' + i);
    ASSERT_TRUE(
        (*file)
            ->Write(i * kBlock, absl::MakeConstSpan(buffer.data(), kBlock))
            .ok());
  }
  if ((*file)->direct()) {
    ExpectError((*file)->Write(1, absl::MakeConstSpan(buffer.data(), kBlock)),
                absl::StatusCode::kInternal, "not aligned");
    ExpectError((*file)->Write(0, absl::MakeConstSpan(buffer.data(), 100)),
                absl::StatusCode::kInternal, "not aligned");
    ExpectError(
        (*file)->Write(0, absl::MakeConstSpan(buffer.data() + 512, 4096)),
        absl::StatusCode::kInternal, "not aligned");
  }
  ASSERT_TRUE((*file)->Truncate(3 * kBlock - 5).ok());
  ASSERT_TRUE((*file)->Sync().ok());
  ASSERT_TRUE((*file)->Close().ok());
  EXPECT_EQ(Content("a"), expected.substr(0, 3 * kBlock - 5));
}

TEST_F(PosixFileSystemTest, WhatWasReservedAndNotWrittenIsNoPartOfTheFile) {
  for (const bool sync : {true, false}) {
    const std::string name = sync ? "synced" : "closed";
    auto file = files_.Create(Path(name), {});
    ASSERT_TRUE((*file)->Allocate(1 << 20).ok());
    ASSERT_TRUE((*file)->Write(10, Bytes("end")).ok());
    if (sync) {
      ASSERT_TRUE((*file)->Sync().ok());
    }
    ASSERT_TRUE((*file)->Close().ok());
    EXPECT_EQ(files_.Stat(Path(name))->size_bytes, 13);
    EXPECT_EQ(files_.Stat(Path(name))->device, files_.Stat(directory_)->device);
  }
}

TEST_F(PosixFileSystemTest, ReservingMoreThanThereIsSaysWhatIsFree) {
  auto file = files_.Create(Path("a"), {});
  const absl::StatusOr<int64_t> free_bytes = files_.FreeSpace(directory_);
  ASSERT_TRUE(free_bytes.ok()) << free_bytes.status();
  EXPECT_GT(*free_bytes, 0);
  struct stat info;
  ASSERT_EQ(stat(directory_.c_str(), &info), 0);
  const absl::Status status = (*file)->Allocate(*free_bytes + (1ll << 40));
  if (status.ok()) GTEST_SKIP() << "this file system reserves nothing";
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot reserve"));
  if (absl::IsResourceExhausted(status)) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("bytes are free"));
  }
}

TEST_F(PosixFileSystemTest, FetchesWhatItIsToldOf) {
  constexpr int64_t kSize = 1 << 20;
  Make("told", std::string(kSize, 'x'));
  auto file = files_.OpenRead(Path("told"));
  ASSERT_TRUE(file.ok()) << file.status();
  const int fd = open(Path("told").c_str(), O_RDONLY);
  ASSERT_EQ(fsync(fd), 0);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  close(fd);
  // A file system in memory keeps everything.
  if ((*file)->IsCached(kSize / 2, 1)) GTEST_SKIP();
  (*file)->WillRead(kSize / 2 + 100, 1000);
  for (int i = 0; i < 10'000 && !(*file)->IsCached(kSize / 2, 1100); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE((*file)->IsCached(kSize / 2, 1100));
  EXPECT_FALSE((*file)->IsCached(0, 1));
}

TEST_F(PosixFileSystemTest, AMappingOutlivesTheFileAndItsName) {
  const std::string bytes = std::string(10'000, 'a') + "needle";
  Make("a", bytes);
  std::shared_ptr<const uint8_t> mapped;
  {
    const auto file = files_.OpenRead(Path("a"));
    ASSERT_TRUE(file.ok()) << file.status();
    auto map = (*file)->Map(10'000, 6);  // begins at no page
    ASSERT_TRUE(map.ok()) << map.status();
    mapped = *std::move(map);
    EXPECT_TRUE((*file)->Map(10'006, 0).ok());
  }
  ASSERT_TRUE(files_.Unlink(Path("a")).ok());
  EXPECT_EQ(std::string(mapped.get(), mapped.get() + 6), "needle");
}

// What the file no longer has would kill the process when it is touched.
TEST_F(PosixFileSystemTest, MapsNothingThatTheFileHasNoMore) {
  Make("a", std::string(10'000, 'a'));
  const auto file = files_.OpenRead(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  ExpectError((*file)->Map(9'999, 2).status(), absl::StatusCode::kDataLoss,
              "ends early");
  ExpectError((*file)->Map(-1, 2).status(), absl::StatusCode::kDataLoss,
              "ends early");
  std::filesystem::resize_file(Path("a"), 5'000);
  EXPECT_EQ((*file)->size_bytes(), 10'000);
  ExpectError((*file)->Map(0, 10'000).status(), absl::StatusCode::kDataLoss,
              "it has 5000 bytes");
}

TEST_F(PosixFileSystemTest, CreatesNothingOverWhatIsThere) {
  Make("a", "old");
  ASSERT_EQ(symlink("nowhere", Path("link").c_str()), 0);
  for (const char* name : {"a", "link"}) {
    ExpectError(files_.Create(Path(name), {}).status(),
                absl::StatusCode::kAlreadyExists, Path(name));
  }
  EXPECT_EQ(Content("a"), "old");
}

TEST_F(PosixFileSystemTest, NamesWhatIsMissing) {
  ExpectError(files_.OpenRead(Path("a")).status(), absl::StatusCode::kNotFound,
              Path("a"));
  ExpectError(files_.Create(Path("no/a"), {}).status(),
              absl::StatusCode::kNotFound, Path("no/a"));
  ExpectError(files_.Stat(Path("a")).status(), absl::StatusCode::kNotFound,
              Path("a"));
  ExpectError(files_.Unlink(Path("a")), absl::StatusCode::kNotFound, Path("a"));
  ExpectError(files_.Rename(Path("a"), Path("b")), absl::StatusCode::kNotFound,
              Path("b"));
  ExpectError(files_.SetPermissions(Path("a"), 0600),
              absl::StatusCode::kNotFound, Path("a"));
  ExpectError(files_.SyncDirectory(Path("no")), absl::StatusCode::kNotFound,
              Path("no"));
  ExpectError(files_.FreeSpace(Path("no")).status(),
              absl::StatusCode::kNotFound, Path("no"));
}

// A pipe without a writer would block open(2) for ever.
TEST_F(PosixFileSystemTest, RefusesToReadWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  ExpectError(files_.OpenRead(Path("pipe")).status(),
              absl::StatusCode::kInvalidArgument, "is a pipe");
  ExpectError(files_.OpenRead(directory_).status(),
              absl::StatusCode::kInvalidArgument, "is a directory");
  ExpectError(files_.OpenRead("/dev/null").status(),
              absl::StatusCode::kInvalidArgument, "is a device");
  EXPECT_EQ(files_.Stat(Path("pipe"))->type, FileInfo::Type::kOther);
  EXPECT_EQ(files_.Stat(directory_)->type, FileInfo::Type::kDirectory);
}

TEST_F(PosixFileSystemTest, RefusesToReadASocket) {
  // The name of a socket holds 107 bytes; the folder's may be longer.
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (Path("socket").size() >= sizeof(address.sun_path)) {
    GTEST_SKIP() << "the path of the temporary folder is too long";
  }
  std::strcpy(address.sun_path, Path("socket").c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(
      bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof(address)),
      0);
  ExpectError(files_.OpenRead(Path("socket")).status(),
              absl::StatusCode::kInvalidArgument, "is a socket");
  close(fd);
}

TEST_F(PosixFileSystemTest, ReadsThroughSymbolicLinks) {
  Make("a", "bytes");
  ASSERT_EQ(symlink("a", Path("link").c_str()), 0);
  EXPECT_EQ(Content("link"), "bytes");
  EXPECT_EQ(files_.Stat(Path("link"))->type, FileInfo::Type::kRegular);
}

TEST_F(PosixFileSystemTest, AppliesTheUmaskOnCreationAloneAndSetsPermissions) {
  const mode_t old = umask(027);
  Make("a", "");
  umask(old);
  EXPECT_EQ(files_.Stat(Path("a"))->permissions, 0640u);
  EXPECT_TRUE(files_.SetPermissions(Path("a"), 0606).ok());
  EXPECT_EQ(files_.Stat(Path("a"))->permissions, 0606u);
}

TEST_F(PosixFileSystemTest, AnOpenFileSurvivesBeingReplaced) {
  Make("a", "old");
  Make("b", "newer");
  auto open = files_.OpenRead(Path("a"));
  ASSERT_TRUE(files_.Rename(Path("b"), Path("a")).ok());
  EXPECT_TRUE(files_.SyncDirectory(directory_).ok());
  std::vector<uint8_t> bytes(3);
  EXPECT_TRUE((*open)->Read(0, absl::MakeSpan(bytes)).ok());
  EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "old");
  EXPECT_EQ(Content("a"), "newer");
}

TEST_F(PosixFileSystemTest, AVersionIsOfOneFileAndOneStateOfIt) {
  Make("a", "old");
  Make("b", "new");
  const FileVersion version = (*files_.OpenRead(Path("a")))->version();
  EXPECT_EQ((*files_.OpenRead(Path("a")))->version(), version);
  EXPECT_NE((*files_.OpenRead(Path("b")))->version(), version);
  const timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 1}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("a").c_str(), times, 0), 0);
  EXPECT_NE((*files_.OpenRead(Path("a")))->version(), version);
}

TEST_F(PosixFileSystemTest, WritesOfSeveralThreadsAllArrive) {
  auto file = files_.Create(Path("a"), {});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&file, t] {
      for (int i = t; i < 400; i += 4) {
        const std::string bytes(1000, static_cast<char>('a' + i % 26));
        EXPECT_TRUE((*file)->Write(i * 1000, Bytes(bytes)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE((*file)->Close().ok());
  const std::string content = Content("a");
  ASSERT_EQ(content.size(), 400000u);
  for (int i = 0; i < 400000; ++i) {
    ASSERT_EQ(content[i], 'a' + i / 1000 % 26) << i;
  }
}

// Standard input, output and error may be closed; our file must not become one.
TEST_F(PosixFileSystemTest, NeverTakesTheNumberOfAStandardStream) {
  Make("a", "x");
  const int saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
  close(STDIN_FILENO);
  auto file = files_.Create(Path("b"), {});
  auto reader = files_.OpenRead(Path("a"));
  EXPECT_EQ(fcntl(STDIN_FILENO, F_GETFD), -1);
  if (saved >= 0) {
    dup2(saved, STDIN_FILENO);
    close(saved);
  }
  EXPECT_TRUE(file.ok());
  EXPECT_TRUE(reader.ok());
}

class StreamTest : public PosixFileSystemTest {
 protected:
  StreamTest() { EXPECT_EQ(pipe(ends_), 0); }
  ~StreamTest() override {
    for (const int fd : ends_) {
      if (fd >= 0) close(fd);
    }
  }

  // Writes `bytes` into the pipe and closes it, beside the test.
  std::thread Feed(std::string bytes) {
    const int fd = ends_[1];
    ends_[1] = -1;
    return std::thread([fd, bytes] {
      size_t done = 0;
      while (done < bytes.size()) {
        const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
        if (n <= 0) break;
        done += n;
      }
      close(fd);
    });
  }

  int ends_[2] = {-1, -1};
};

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  return bytes;
}

TEST_F(StreamTest, SpoolsAPipeIntoAFileWithoutAName) {
  const std::string bytes = Pattern(9'000'001);
  // Not blocking: what is not there yet must be waited for.
  ASSERT_EQ(fcntl(ends_[0], F_SETFL, O_NONBLOCK), 0);
  std::thread feeder = Feed(bytes);
  int calls = 0;
  auto file = SpoolInputStream(ends_[0], "standard input", directory_, [&] {
    ++calls;
    return true;
  });
  feeder.join();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), "standard input");
  ASSERT_EQ((*file)->size_bytes(), static_cast<int64_t>(bytes.size()));
  std::string read(bytes.size(), '\0');
  EXPECT_TRUE(
      (*file)
          ->Read(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(read.data()),
                                   read.size()))
          .ok());
  EXPECT_EQ(read, bytes);
  EXPECT_GE(calls, 2);
  // rmdir refuses a directory that holds a name.
  EXPECT_EQ(rmdir(directory_.c_str()), 0);
}

TEST_F(StreamTest, AnUnnamedFileIsReadByItsOtherEndAndLeavesNoName) {
  auto file = PosixFileSystem().CreateUnnamed(directory_);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string bytes = Pattern(5000);
  ASSERT_TRUE(file->writer->Write(100, Bytes(bytes)).ok());
  uint8_t read[5];
  ASSERT_TRUE(file->reader->Read(4100, absl::MakeSpan(read)).ok());
  EXPECT_EQ(absl::MakeConstSpan(read), Bytes(bytes).subspan(4000, 5));
  EXPECT_EQ(file->reader->Read(5099, absl::MakeSpan(read)).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(rmdir(directory_.c_str()), 0);
  EXPECT_EQ(PosixFileSystem().CreateUnnamed(Path("no")).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(StreamTest, SpoolsAnEmptyPipeAndStopsWhenTold) {
  close(ends_[1]);
  ends_[1] = -1;
  auto empty = SpoolInputStream(ends_[0], "in", directory_, nullptr);
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ((*empty)->size_bytes(), 0);
  Make("big", Pattern(10'000'000));
  const int fd = open(Path("big").c_str(), O_RDONLY);
  ExpectError(
      SpoolInputStream(fd, "in", directory_, [] { return false; }).status(),
      absl::StatusCode::kCancelled, "in: cancelled");
  close(fd);
}

TEST_F(StreamTest, NamesTheEndOfASpoolThatFails) {
  ExpectError(SpoolInputStream(ends_[1], "in", directory_, nullptr).status(),
              absl::ErrnoToStatus(EBADF, "").code(), "in: cannot read");
  ExpectError(SpoolInputStream(ends_[0], "in", Path("no"), nullptr).status(),
              absl::StatusCode::kNotFound, Path("no"));
}

TEST_F(StreamTest, WritesAStreamInOrderAndLeavesItOpen) {
  const auto stream = WrapOutputStream(ends_[1], "standard output");
  EXPECT_TRUE(stream->sequential());
  EXPECT_FALSE(stream->direct());
  EXPECT_EQ(stream->path(), "standard output");
  EXPECT_TRUE(stream->Allocate(1 << 30).ok());
  EXPECT_TRUE(stream->Write(0, Bytes("abc")).ok());
  EXPECT_TRUE(stream->Write(3, Bytes("de")).ok());
  ExpectError(stream->Write(4, Bytes("x")), absl::StatusCode::kInternal,
              "at 4 of a stream that stands at 5");
  EXPECT_TRUE(stream->Truncate(5).ok());
  ExpectError(stream->Truncate(4), absl::StatusCode::kFailedPrecondition,
              "standard output");
  EXPECT_TRUE(stream->Sync().ok());
  EXPECT_TRUE(stream->Close().ok());
  char read_back[5];
  EXPECT_EQ(read(ends_[0], read_back, 5), 5);
  EXPECT_EQ(std::string(read_back, 5), "abcde");
  EXPECT_GE(fcntl(ends_[1], F_GETFD), 0);
}

TEST_F(StreamTest, WritesMoreThanAPipeHoldsWithoutBlocking) {
  ASSERT_EQ(fcntl(ends_[1], F_SETFL, O_NONBLOCK), 0);
  const std::string bytes = Pattern(3'000'000);
  std::string received;
  std::thread reader([this, &received] {
    char some[10000];
    ssize_t n;
    while ((n = read(ends_[0], some, sizeof(some))) > 0) {
      received.append(some, n);
    }
  });
  const auto stream = WrapOutputStream(ends_[1], "out");
  EXPECT_TRUE(stream->Write(0, Bytes(bytes)).ok());
  close(ends_[1]);
  ends_[1] = -1;
  reader.join();
  EXPECT_EQ(received, bytes);
}

}  // namespace
}  // namespace penstock
