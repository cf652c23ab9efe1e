// What a kernel may do and seldom does: signals, short writes, refusals. The
// calls below stand before the C library's, so the code under test meets them.

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/file.h"
#include "core/posix_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

struct Faults {
  int interruptions = 0;       // the next calls fail with EINTR
  size_t at_most = SIZE_MAX;   // bytes that one call moves
  bool zero = false;           // writes move nothing
  int write_error = 0;         // instead of writing
  bool refuse_direct = false;  // EINVAL while O_DIRECT is set
  int fsync_error = 0;
  int fallocate_error = 0;
  int num_writes = 0;
  int num_fsyncs = 0;
} faults;

bool Interrupted() {
  if (faults.interruptions == 0) return false;
  --faults.interruptions;
  errno = EINTR;
  return true;
}

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* bytes, size_t size,
                          off_t offset) {
  ++faults.num_writes;
  if (Interrupted()) return -1;
  if (faults.zero) {
    errno = 0;  // as where nothing failed before
    return 0;
  }
  const bool refuse =
      faults.refuse_direct && (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
  if (refuse || faults.write_error != 0) {
    errno = refuse ? EINVAL : faults.write_error;
    return -1;
  }
  return syscall(SYS_pwrite64, fd, bytes, std::min(size, faults.at_most),
                 offset);
}

extern "C" ssize_t pread(int fd, void* bytes, size_t size, off_t offset) {
  if (Interrupted()) return -1;
  return syscall(SYS_pread64, fd, bytes, std::min(size, faults.at_most),
                 offset);
}

extern "C" int fsync(int fd) {
  ++faults.num_fsyncs;
  if (faults.fsync_error == 0) return syscall(SYS_fsync, fd);
  errno = faults.fsync_error;
  return -1;
}

extern "C" int fallocate(int, int, off_t, off_t) {
  if (faults.fallocate_error == 0) return 0;
  errno = faults.fallocate_error;
  return -1;
}

namespace penstock {
namespace {

using testing::HasSubstr;

class PosixFaultsTest : public testing::Test {
 protected:
  PosixFaultsTest() {
    faults = Faults();
    std::string name = testing::TempDir() + "/faultsXXXXXX";
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/a";
  }
  ~PosixFaultsTest() override {
    faults = Faults();
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }

  std::unique_ptr<WritableFile> Create(Caching caching) {
    CreateOptions options;
    options.caching = caching;
    auto file = files_.Create(path_, options);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  std::vector<uint8_t> Content() {
    auto file = files_.OpenRead(path_);
    EXPECT_TRUE(file.ok()) << file.status();
    std::vector<uint8_t> bytes((*file)->size_bytes());
    EXPECT_TRUE((*file)->Read(0, absl::MakeSpan(bytes)).ok());
    return bytes;
  }

  FileSystem& files_ = PosixFileSystem();
  std::string directory_;
  std::string path_;
};

TEST_F(PosixFaultsTest, SignalsAndShortCallsLoseNothing) {
  std::vector<uint8_t> bytes(1000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  const auto file = Create(Caching::kBuffered);
  faults.at_most = 7;
  faults.interruptions = 3;
  EXPECT_TRUE(file->Write(0, bytes).ok());
  EXPECT_EQ(faults.num_writes, 3 + (1000 + 6) / 7);
  faults.interruptions = 3;
  EXPECT_EQ(Content(), bytes);
}

TEST_F(PosixFaultsTest, AWriteThatMovesNothingIsAnErrorAndNoLoop) {
  const auto file = Create(Caching::kBuffered);
  faults.zero = true;
  EXPECT_FALSE(file->Write(0, std::vector<uint8_t>(10)).ok());
  EXPECT_EQ(faults.num_writes, 1);
}

TEST_F(PosixFaultsTest, AFullDiskAndAQuotaAreResourceExhausted) {
  const auto file = Create(Caching::kBuffered);
  faults.write_error = ENOSPC;
  const absl::Status full = file->Write(5, std::vector<uint8_t>(10));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()),
              AllOf(HasSubstr(path_), HasSubstr("write 10 bytes at 5"),
                    HasSubstr("bytes are free")));
  faults.write_error = EDQUOT;
  EXPECT_EQ(file->Write(5, std::vector<uint8_t>(10)).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(PosixFaultsTest, GoesThroughThePageCacheWhereDirectWritesAreRefused) {
  const auto file = Create(Caching::kDirect);
  if (!file->direct()) GTEST_SKIP() << "no O_DIRECT here at all";
  AlignedBuffer buffer;
  buffer.Reserve(kBufferAlignment);
  std::memset(buffer.data(), 0x77, kBufferAlignment);
  const auto bytes = absl::MakeConstSpan(buffer.data(), kBufferAlignment);
  faults.refuse_direct = true;
  EXPECT_TRUE(file->Write(0, bytes).ok());
  EXPECT_EQ(faults.num_writes, 2);
  EXPECT_TRUE(file->Write(kBufferAlignment, bytes).ok());
  EXPECT_EQ(faults.num_writes, 3);
  EXPECT_TRUE(file->direct());
  EXPECT_EQ(Content(), std::vector<uint8_t>(2 * kBufferAlignment, 0x77));
}

// What is left after it is not aligned, and a real kernel says EINVAL.
TEST_F(PosixFaultsTest, AShortDirectWriteIsFinished) {
  const auto file = Create(Caching::kDirect);
  if (!file->direct()) GTEST_SKIP() << "no O_DIRECT here at all";
  AlignedBuffer buffer;
  buffer.Reserve(kBufferAlignment);
  std::memset(buffer.data(), 0x77, kBufferAlignment);
  faults.at_most = 1000;
  EXPECT_TRUE(
      file->Write(0, absl::MakeConstSpan(buffer.data(), kBufferAlignment))
          .ok());
  faults.at_most = SIZE_MAX;
  EXPECT_EQ(Content(), std::vector<uint8_t>(kBufferAlignment, 0x77));
}

TEST_F(PosixFaultsTest, AnInvalidBufferedWriteIsNotTriedTwice) {
  const auto file = Create(Caching::kBuffered);
  faults.write_error = EINVAL;
  EXPECT_EQ(file->Write(0, std::vector<uint8_t>(10)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(faults.num_writes, 1);
}

TEST_F(PosixFaultsTest, FsyncIsNeverRepeated) {
  const auto file = Create(Caching::kBuffered);
  for (const int error : {EIO, EINTR}) {
    faults.num_fsyncs = 0;
    faults.fsync_error = error;
    EXPECT_FALSE(file->Sync().ok());
    EXPECT_EQ(faults.num_fsyncs, 1);
  }
}

TEST_F(PosixFaultsTest, ADirectoryWithoutFsyncIsNoError) {
  faults.fsync_error = EINVAL;
  EXPECT_TRUE(files_.SyncDirectory(directory_).ok());
  faults.fsync_error = EIO;
  EXPECT_FALSE(files_.SyncDirectory(directory_).ok());
}

TEST_F(PosixFaultsTest, ReservingIsOptionalButNoSpaceIsNot) {
  const auto file = Create(Caching::kBuffered);
  faults.fallocate_error = EOPNOTSUPP;
  EXPECT_TRUE(file->Allocate(1 << 20).ok());
  faults.fallocate_error = ENOSPC;
  const absl::Status status = file->Allocate(1 << 20);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("reserve 1048576"));
}

}  // namespace
}  // namespace penstock
