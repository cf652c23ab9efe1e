// The FileSystem seam: all that touches files goes through it, so that tests
// can record, fail, shorten and crash every operation.

#ifndef PENSTOCK_CORE_FILE_H_
#define PENSTOCK_CORE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/direct_reader.h"

namespace penstock {

// Which file it was when it was opened, and which of its states: unequal for a
// file that took the other's name or was written to since.
struct FileVersion {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t modified_ns = 0;

  friend bool operator==(const FileVersion&, const FileVersion&) = default;
};

// An open file to read by position. Thread-safe; open once, never reopened by
// name. The size is the one at opening.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  // Fills all of `out` from `offset` on.
  // Errors: kDataLoss where the file ends before; the OS's otherwise.
  virtual absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const = 0;

  // The file's pages from `offset` on as memory that is only to be read: a
  // write kills the process. It may outlive this object. A file that is
  // truncated later kills whoever touches what is gone (SIGBUS).
  // Errors: kDataLoss where the file ends before (it is asked again),
  // kUnimplemented where it cannot be mapped; the OS's otherwise.
  virtual absl::StatusOr<std::shared_ptr<const uint8_t>> Map(
      int64_t offset, int64_t size_bytes) const;

  // For reading large pieces around the page cache; it may outlive this object.
  // Null where there is no such thing.
  virtual std::unique_ptr<DirectReader> OpenDirect() const;
  // Whether Read of these bytes, which the file has, would only copy memory;
  // true where nobody knows.
  virtual bool IsCached(int64_t offset, int64_t size_bytes) const;
  // Advice: Read will soon be asked for these bytes, which the file has. Begins
  // to fetch them, where it can, and waits for nothing.
  virtual void WillRead(int64_t offset, int64_t size_bytes) const;

  virtual int64_t size_bytes() const = 0;
  // Where it comes from a FileSystem.
  virtual FileVersion version() const { return {}; }
  virtual const std::string& path() const = 0;
};

// An open file to write by position. Writes of disjoint ranges may run in
// several threads at once; the rest is thread-compatible.
class WritableFile {
 public:
  virtual ~WritableFile() = default;  // closes; errors are lost

  // Writes all of `bytes` at `offset`. Where direct(), offset, size and address
  // must be multiples of kBufferAlignment. Where sequential(), `offset` must be
  // where the last write ended.
  // Errors: kResourceExhausted (disk full, quota), the OS's otherwise.
  virtual absl::Status Write(int64_t offset,
                             absl::Span<const uint8_t> bytes) = 0;

  // Reserves blocks for `size_bytes`; the file ends where writing or Truncate
  // ends it all the same, at Sync at the latest. OK where the file system has
  // no such thing. Errors: kResourceExhausted.
  virtual absl::Status Allocate(int64_t size_bytes) = 0;
  virtual absl::Status Truncate(int64_t size_bytes) = 0;

  // Data to the device. After an error the file is dead: the OS may have
  // dropped the data, and a second Sync would say OK.
  virtual absl::Status Sync() = 0;
  // Once; nothing may follow. An error may be the first news of lost data.
  virtual absl::Status Close() = 0;

  virtual bool direct() const = 0;      // around the page cache
  virtual bool sequential() const = 0;  // a pipe
  virtual const std::string& path() const = 0;
};

struct FileInfo {
  enum class Type { kRegular, kDirectory, kOther };
  Type type = Type::kOther;
  int64_t size_bytes = 0;
  uint32_t permissions = 0;  // the low 12 bits of st_mode
  uint64_t device = 0;       // equal for what lies on one mounted file system
};

enum class Caching { kBuffered, kDirect };

struct CreateOptions {
  Caching caching = Caching::kBuffered;
  uint32_t permissions = 0666;  // the umask applies
};

// A new file without a name, by its two ends: what `writer` has written,
// `reader` reads. Its space is freed with the last of them.
struct UnnamedFile {
  std::unique_ptr<WritableFile> writer;
  std::unique_ptr<RandomAccessFile> reader;  // its size_bytes() says 0
};

// Files by name. Thread-safe.
//
// Errors everywhere: kNotFound, kPermissionDenied, kResourceExhausted (ENOSPC,
// EDQUOT), else absl::ErrnoToStatus; each names the path.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Regular files only, through symbolic links. kInvalidArgument says what else
  // the name is (a directory, a pipe).
  virtual absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenRead(
      const std::string& path) = 0;

  // A new file; kAlreadyExists where the name is taken. kDirect falls back to
  // buffered where the file system refuses it: ask direct().
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path, const CreateOptions& options) = 0;

  virtual absl::Status Rename(const std::string& from,
                              const std::string& to) = 0;
  // The names in a directory to the device. OK where the file system has no
  // such thing.
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  virtual absl::Status Unlink(const std::string& path) = 0;
  // Closes what a Rename has left without a name: at once, or in the background
  // where that takes long (core/replaced_files.h).
  virtual void CloseReplaced(std::unique_ptr<RandomAccessFile> file);
  virtual absl::Status SetPermissions(const std::string& path,
                                      uint32_t permissions) = 0;
  virtual absl::StatusOr<FileInfo> Stat(const std::string& path) = 0;
  // For temporaries that leave no trace. Errors: kUnimplemented where there is
  // no such thing.
  virtual absl::StatusOr<UnnamedFile> CreateUnnamed(
      const std::string& directory);
  // Bytes that an unprivileged user may still write below `directory`.
  virtual absl::StatusOr<int64_t> FreeSpace(const std::string& directory) = 0;
};

// What stands before the last '/', "." where there is none, "/" for the root.
std::string DirectoryOf(const std::string& path);
// What stands behind the last '/'.
std::string BaseName(const std::string& path);

}  // namespace penstock

#endif  // PENSTOCK_CORE_FILE_H_
