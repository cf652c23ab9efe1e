#include "core/posix_file_system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/direct_reader.h"
#include "core/file.h"
#include "core/replaced_files.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kSpoolBytes = int64_t{4} << 20;

// "<path>: cannot <what>: <the system's words>".
absl::Status OsError(int error, const std::string& path,
                     absl::string_view what) {
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", what));
}

// The same for writing, where a full disk also says how much there was.
absl::Status WriteError(int error, int fd, const std::string& path,
                        absl::string_view what) {
  const absl::Status status = OsError(error, path, what);
  struct statvfs info;
  if (error != ENOSPC || fstatvfs(fd, &info) != 0) return status;
  return absl::Status(
      status.code(),
      absl::StrFormat("%s (%d bytes are free)", std::string(status.message()),
                      info.f_bavail * info.f_frsize));
}

// Repeats a call that a signal interrupted.
template <typename Call>
auto Retry(Call call) -> decltype(call()) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// A descriptor that closes itself; errors of that are lost.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// open(2), never 0, 1 or 2: a program that was started without them would
// print its messages into the checkpoint. -1 and errno on error.
Descriptor Open(const std::string& path, int flags, mode_t mode = 0) {
  Descriptor fd(
      Retry([&] { return open(path.c_str(), flags | O_CLOEXEC, mode); }));
  if (fd.get() < 0 || fd.get() > STDERR_FILENO) return fd;
  return Descriptor(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

// Waits until a descriptor that does not block is ready again.
void WaitFor(int fd, int16_t events) {
  struct pollfd waiting = {fd, events, 0};
  (void)poll(&waiting, 1, -1);  // on error the next call on `fd` says why
}

absl::string_view KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISBLK(mode) || S_ISCHR(mode)) return "a device";
  return "no regular file";
}

absl::Status NotRegular(const std::string& path, mode_t mode) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": is ", KindOf(mode), ", not a regular file"));
}

// Reads all of `out`, or says how much of it is not there.
absl::Status ReadFully(int fd, const std::string& path, int64_t offset,
                       absl::Span<uint8_t> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = Retry([&] {
      return pread(fd, out.data() + done, out.size() - done, offset + done);
    });
    if (n < 0) {
      return OsError(errno, path, absl::StrFormat("read at %d", offset + done));
    }
    if (n == 0) {
      return absl::DataLossError(absl::StrFormat(
          "%s: the file ends early: of %d bytes at offset %d the last %d are "
          "missing",
          path, out.size(), offset, out.size() - done));
    }
    done += n;
  }
  return absl::OkStatus();
}

class ReadFile : public RandomAccessFile {
 public:
  ReadFile(Descriptor fd, std::string path, int64_t size_bytes,
           const FileVersion& version = {})
      : fd_(std::move(fd)),
        path_(std::move(path)),
        size_bytes_(size_bytes),
        version_(version) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    return ReadFully(fd_.get(), path_, offset, out);
  }
  absl::StatusOr<std::shared_ptr<const uint8_t>> Map(
      int64_t offset, int64_t size_bytes) const override;
  std::unique_ptr<DirectReader> OpenDirect() const override {
    return MakeDirectReader(fd_.get());
  }
  bool IsCached(int64_t offset, int64_t size_bytes) const override {
    return IsInPageCache(fd_.get(), offset, size_bytes);
  }
  void WillRead(int64_t offset, int64_t size_bytes) const override {
    posix_fadvise(fd_.get(), offset, size_bytes, POSIX_FADV_WILLNEED);
  }
  int64_t size_bytes() const override { return size_bytes_; }
  FileVersion version() const override { return version_; }
  const std::string& path() const override { return path_; }

 private:
  const Descriptor fd_;
  const std::string path_;
  const int64_t size_bytes_;
  const FileVersion version_;
};

absl::StatusOr<std::shared_ptr<const uint8_t>> ReadFile::Map(
    int64_t offset, int64_t size_bytes) const {
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return OsError(errno, path_, "stat");
  if (!RangeFits(offset, size_bytes, info.st_size)) {
    return absl::DataLossError(absl::StrFormat(
        "%s: the file ends early: it has %d bytes, %d at offset %d are wanted",
        path_, static_cast<int64_t>(info.st_size), size_bytes, offset));
  }
  // mmap refuses no bytes, and begins at pages only.
  if (size_bytes == 0) return std::shared_ptr<const uint8_t>();
  const int64_t begin = offset / sysconf(_SC_PAGESIZE) * sysconf(_SC_PAGESIZE);
  const size_t mapped_bytes = offset - begin + size_bytes;
  void* const pages =
      mmap(nullptr, mapped_bytes, PROT_READ, MAP_SHARED, fd_.get(), begin);
  if (pages == MAP_FAILED) return OsError(errno, path_, "map");
  const std::shared_ptr<const uint8_t> owner(
      static_cast<const uint8_t*>(pages), [mapped_bytes](const uint8_t* first) {
        munmap(const_cast<uint8_t*>(first), mapped_bytes);
      });
  return std::shared_ptr<const uint8_t>(owner, owner.get() + (offset - begin));
}

class WriteFile : public WritableFile {
 public:
  WriteFile(Descriptor fd, std::string path, bool direct)
      : fd_(std::move(fd)), path_(std::move(path)), direct_(direct) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override;
  absl::Status Allocate(int64_t size_bytes) override;
  absl::Status Truncate(int64_t size_bytes) override;
  absl::Status Sync() override;
  absl::Status Close() override;

  bool direct() const override { return direct_; }
  bool sequential() const override { return false; }
  const std::string& path() const override { return path_; }

 private:
  bool IsAligned(int64_t offset, absl::Span<const uint8_t> bytes) const;
  bool LeaveDirect();
  absl::Status GiveBackTheRest();

  Descriptor fd_;
  const std::string path_;
  const bool direct_;
  std::atomic<int64_t> end_{0};  // of what was written
  int64_t allocated_ = 0;        // the file's size, where over end_
};

bool WriteFile::IsAligned(int64_t offset,
                          absl::Span<const uint8_t> bytes) const {
  return (offset | static_cast<int64_t>(bytes.size()) |
          static_cast<int64_t>(reinterpret_cast<uintptr_t>(bytes.data()))) %
             kBufferAlignment ==
         0;
}

// Takes O_DIRECT off, where it is on. Some file systems accept the flag and
// then refuse the write, or want more than 4 KiB of alignment; what is left
// after a short write is not aligned either. Two threads may both get here.
bool WriteFile::LeaveDirect() {
  const int flags = fcntl(fd_.get(), F_GETFL);
  return flags >= 0 && fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) == 0;
}

absl::Status WriteFile::Write(int64_t offset, absl::Span<const uint8_t> bytes) {
  if (direct_ && !IsAligned(offset, bytes)) {
    return absl::InternalError(absl::StrFormat(
        "%s: direct write of %d bytes at %d is not aligned to %d", path_,
        bytes.size(), offset, kBufferAlignment));
  }
  bool may_leave_direct = direct_;
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = Retry([&] {
      return pwrite(fd_.get(), bytes.data() + done, bytes.size() - done,
                    offset + done);
    });
    if (n < 0 && errno == EINVAL && may_leave_direct) {
      may_leave_direct = false;
      if (LeaveDirect()) continue;
      errno = EINVAL;
    }
    if (n <= 0) {
      return WriteError(n < 0 ? errno : EIO, fd_.get(), path_,
                        absl::StrFormat("write %d bytes at %d",
                                        bytes.size() - done, offset + done));
    }
    done += n;
  }
  const int64_t end = offset + static_cast<int64_t>(bytes.size());
  int64_t seen = end_.load();
  while (seen < end && !end_.compare_exchange_weak(seen, end)) {
  }
  return absl::OkStatus();
}

// The size grows too: a direct write that extends the file would take the
// inode's lock alone, and parallel ones would queue.
absl::Status WriteFile::Allocate(int64_t size_bytes) {
  if (size_bytes <= 0) return absl::OkStatus();
  if (Retry([&] { return fallocate(fd_.get(), 0, 0, size_bytes); }) == 0) {
    allocated_ = std::max(allocated_, size_bytes);
    return absl::OkStatus();
  }
  if (errno == EOPNOTSUPP || errno == ENOSYS) return absl::OkStatus();
  return WriteError(errno, fd_.get(), path_,
                    absl::StrFormat("reserve %d bytes", size_bytes));
}

absl::Status WriteFile::Truncate(int64_t size_bytes) {
  if (Retry([&] { return ftruncate(fd_.get(), size_bytes); }) != 0) {
    return WriteError(errno, fd_.get(), path_,
                      absl::StrFormat("set the size to %d", size_bytes));
  }
  end_ = size_bytes;
  allocated_ = 0;
  return absl::OkStatus();
}

absl::Status WriteFile::GiveBackTheRest() {
  return allocated_ > end_ ? Truncate(end_) : absl::OkStatus();
}

// fsync is not repeated, not even after EINTR: the kernel may have marked pages
// clean that never reached the device, and would call the next one a success.
absl::Status WriteFile::Sync() {
  PENSTOCK_RETURN_IF_ERROR(GiveBackTheRest());
  if (fsync(fd_.get()) == 0) return absl::OkStatus();
  return WriteError(errno, fd_.get(), path_, "bring it to the device (fsync)");
}

// close is not repeated either: on Linux the descriptor is gone in any case,
// and its number may be another thread's by now.
absl::Status WriteFile::Close() {
  const absl::Status status = GiveBackTheRest();
  if (close(fd_.Release()) != 0 && status.ok()) {
    return OsError(errno, path_, "close");
  }
  return status;
}

class OutputStream : public WritableFile {
 public:
  OutputStream(int fd, const std::string& name) : fd_(fd), name_(name) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override;
  absl::Status Allocate(int64_t) override { return absl::OkStatus(); }
  absl::Status Truncate(int64_t size_bytes) override {
    if (size_bytes == position_) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: %d bytes were written and cannot become %d", name_,
                        position_, size_bytes));
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  bool direct() const override { return false; }
  bool sequential() const override { return true; }
  const std::string& path() const override { return name_; }

 private:
  const int fd_;
  const std::string name_;
  int64_t position_ = 0;
};

absl::Status OutputStream::Write(int64_t offset,
                                 absl::Span<const uint8_t> bytes) {
  if (offset != position_) {
    return absl::InternalError(
        absl::StrFormat("%s: write at %d of a stream that stands at %d", name_,
                        offset, position_));
  }
  while (!bytes.empty()) {
    const ssize_t n =
        Retry([&] { return write(fd_, bytes.data(), bytes.size()); });
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      WaitFor(fd_, POLLOUT);
      continue;
    }
    if (n <= 0) {
      return WriteError(
          n < 0 ? errno : EIO, fd_, name_,
          absl::StrFormat("write %d bytes after %d", bytes.size(), position_));
    }
    bytes.remove_prefix(n);
    position_ += n;
  }
  return absl::OkStatus();
}

class Posix : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenRead(
      const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path, const CreateOptions& options) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::Status Unlink(const std::string& path) override;
  void CloseReplaced(std::unique_ptr<RandomAccessFile> file) override {
    CloseInBackground(std::move(file));
  }
  absl::Status SetPermissions(const std::string& path,
                              uint32_t permissions) override;
  absl::StatusOr<FileInfo> Stat(const std::string& path) override;
  absl::StatusOr<UnnamedFile> CreateUnnamed(
      const std::string& directory) override;
  absl::StatusOr<int64_t> FreeSpace(const std::string& directory) override;
};

absl::StatusOr<std::unique_ptr<RandomAccessFile>> Posix::OpenRead(
    const std::string& path) {
  // O_NONBLOCK: opening a pipe would wait for its writer for ever. It changes
  // nothing for regular files.
  Descriptor fd = Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat info;
  if (fd.get() < 0) {
    const int error = errno;
    // A socket cannot be opened at all, and ENXIO would puzzle people.
    if (error == ENXIO && stat(path.c_str(), &info) == 0) {
      return NotRegular(path, info.st_mode);
    }
    return OsError(error, path, "open");
  }
  if (fstat(fd.get(), &info) != 0) return OsError(errno, path, "stat");
  if (!S_ISREG(info.st_mode)) return NotRegular(path, info.st_mode);
  const FileVersion version = {
      info.st_dev, info.st_ino,
      int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
  return std::make_unique<ReadFile>(std::move(fd), path, info.st_size, version);
}

absl::StatusOr<std::unique_ptr<WritableFile>> Posix::Create(
    const std::string& path, const CreateOptions& options) {
  Descriptor fd = Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                       static_cast<mode_t>(options.permissions & 0777));
  if (fd.get() < 0) return OsError(errno, path, "create");
  // Set afterwards: open with O_DIRECT makes the file before it refuses.
  const bool direct = options.caching == Caching::kDirect &&
                      fcntl(fd.get(), F_SETFL, O_DIRECT) == 0;
  return std::make_unique<WriteFile>(std::move(fd), path, direct);
}

absl::Status Posix::Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return OsError(errno, from, absl::StrCat("rename to ", to));
}

absl::Status Posix::SyncDirectory(const std::string& path) {
  const Descriptor fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (fd.get() < 0) return OsError(errno, path, "open the directory");
  if (fsync(fd.get()) == 0) return absl::OkStatus();
  // What Linux says where a file system has no fsync for directories.
  if (errno == EINVAL || errno == EOPNOTSUPP) return absl::OkStatus();
  return OsError(errno, path, "bring the directory to the device (fsync)");
}

absl::Status Posix::Unlink(const std::string& path) {
  if (unlink(path.c_str()) == 0) return absl::OkStatus();
  return OsError(errno, path, "remove");
}

absl::Status Posix::SetPermissions(const std::string& path,
                                   uint32_t permissions) {
  if (chmod(path.c_str(), static_cast<mode_t>(permissions & 07777)) == 0) {
    return absl::OkStatus();
  }
  return OsError(errno, path, absl::StrFormat("set mode %o", permissions));
}

absl::StatusOr<FileInfo> Posix::Stat(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return OsError(errno, path, "stat");
  FileInfo result;
  if (S_ISREG(info.st_mode)) result.type = FileInfo::Type::kRegular;
  if (S_ISDIR(info.st_mode)) result.type = FileInfo::Type::kDirectory;
  result.size_bytes = info.st_size;
  result.permissions = info.st_mode & 07777;
  result.device = info.st_dev;
  return result;
}

// A new file in `directory` that has no name; -1 and errno on error.
Descriptor OpenUnnamed(const std::string& directory) {
  Descriptor unnamed = Open(directory, O_TMPFILE | O_RDWR | O_EXCL, 0600);
  // Old kernels say EISDIR, file systems without it EOPNOTSUPP.
  if (unnamed.get() >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) {
    return unnamed;
  }
  uint64_t id = 0;
  if (getentropy(&id, sizeof(id)) != 0) return Descriptor(-1);
  const std::string path =
      absl::StrFormat("%s/.penstock.%016x.tmp", directory, id);
  Descriptor fd = Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (fd.get() >= 0) unlink(path.c_str());
  return fd;
}

struct UnnamedEnds {
  Descriptor writer, reader;
};

absl::StatusOr<UnnamedEnds> OpenUnnamedEnds(const std::string& directory) {
  Descriptor fd = OpenUnnamed(directory);
  if (fd.get() < 0) return OsError(errno, directory, "make a temporary in");
  Descriptor reader(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (reader.get() < 0) return OsError(errno, directory, "duplicate a file of");
  return UnnamedEnds{std::move(fd), std::move(reader)};
}

absl::StatusOr<UnnamedFile> Posix::CreateUnnamed(const std::string& directory) {
  PENSTOCK_ASSIGN_OR_RETURN(UnnamedEnds ends, OpenUnnamedEnds(directory));
  const std::string name = absl::StrCat("temporary in ", directory);
  UnnamedFile file;
  file.writer = std::make_unique<WriteFile>(std::move(ends.writer), name,
                                            /*direct=*/false);
  file.reader = std::make_unique<ReadFile>(std::move(ends.reader), name, 0);
  return file;
}

absl::StatusOr<int64_t> Posix::FreeSpace(const std::string& directory) {
  struct statvfs info;
  if (Retry([&] { return statvfs(directory.c_str(), &info); }) != 0) {
    return OsError(errno, directory, "ask for free space");
  }
  return static_cast<int64_t>(info.f_bavail * info.f_frsize);
}

// Appends what `from` has ready, up to the buffer's size. The number of bytes;
// 0 at the end.
absl::StatusOr<int64_t> CopySome(int from, const std::string& name,
                                 WritableFile& to, int64_t offset,
                                 AlignedBuffer& buffer) {
  ssize_t n;
  while ((n = Retry([&] {
            return read(from, buffer.data(), buffer.capacity());
          })) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK)) {
    WaitFor(from, POLLIN);
  }
  if (n < 0) return OsError(errno, name, "read");
  PENSTOCK_RETURN_IF_ERROR(
      to.Write(offset, absl::MakeConstSpan(buffer.data(), n)));
  return n;
}

}  // namespace

FileSystem& PosixFileSystem() {
  static Posix* const files = new Posix;  // never destroyed: no order problem
  return *files;
}

std::unique_ptr<WritableFile> WrapOutputStream(int fd,
                                               const std::string& name) {
  return std::make_unique<OutputStream>(fd, name);
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> SpoolInputStream(
    int fd, const std::string& name, const std::string& directory,
    const std::function<bool()>& keep_going) {
  PENSTOCK_ASSIGN_OR_RETURN(UnnamedEnds spool, OpenUnnamedEnds(directory));
  WriteFile file(std::move(spool.writer),
                 absl::StrCat("temporary in ", directory, " for ", name),
                 /*direct=*/false);
  AlignedBuffer buffer;
  buffer.Reserve(int64_t{1} << 20);
  int64_t size_bytes = 0;
  int64_t asked_at = 0;
  while (true) {
    if (keep_going && size_bytes - asked_at >= kSpoolBytes) {
      asked_at = size_bytes;
      if (!keep_going()) {
        return absl::CancelledError(absl::StrFormat(
            "%s: cancelled after %d bytes were read", name, size_bytes));
      }
    }
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t n,
                              CopySome(fd, name, file, size_bytes, buffer));
    if (n == 0) break;
    size_bytes += n;
  }
  PENSTOCK_RETURN_IF_ERROR(file.Close());
  return std::make_unique<ReadFile>(std::move(spool.reader), name, size_bytes);
}

}  // namespace penstock
