// A FileSystem in memory, for tests: it records every operation.

#ifndef PENSTOCK_CORE_MEMORY_FILE_SYSTEM_H_
#define PENSTOCK_CORE_MEMORY_FILE_SYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// What happened, in order, errors too: "open_read", "read", "create", "write",
// "allocate", "truncate", "sync", "close", "rename" (`path` is the old name),
// "sync_directory", "unlink", "set_permissions", "stat", "create_unnamed",
// "free_space".
struct FileOperation {
  std::string name;
  std::string path;
  int64_t offset = 0;
  int64_t size_bytes = 0;
};

// Files by full name; every directory that is named exists, and Stat knows one
// where a file lies below it. Create ignores kDirect unless `accept_direct` was
// given; a direct file then holds its writer to the alignment (kInternal). New
// files have the permissions that a umask of 022 leaves. Thread-safe.
// tests/fault_file.h wraps it to inject errors.
class MemoryFileSystem : public FileSystem {
 public:
  struct Options {
    bool accept_direct = false;
    int64_t capacity_bytes = INT64_MAX;  // kResourceExhausted beyond
  };
  MemoryFileSystem();
  explicit MemoryFileSystem(const Options& options);
  ~MemoryFileSystem() override;

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenRead(
      const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path, const CreateOptions& options) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::Status Unlink(const std::string& path) override;
  absl::Status SetPermissions(const std::string& path,
                              uint32_t permissions) override;
  absl::StatusOr<FileInfo> Stat(const std::string& path) override;
  absl::StatusOr<UnnamedFile> CreateUnnamed(
      const std::string& directory) override;
  absl::StatusOr<int64_t> FreeSpace(const std::string& directory) override;

  // For tests.
  void Put(const std::string& path, const std::string& bytes);
  absl::StatusOr<std::string> Get(const std::string& path) const;
  std::vector<std::string> Names() const;
  std::vector<FileOperation> Log() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// A FileInfo::device that no disk of the machine has, nor any other that this
// gave, for file systems that are none of its. Thread-safe.
uint64_t NewDeviceNumber();

// A file that is a string, for parsers' tests and fuzz targets.
std::unique_ptr<RandomAccessFile> FileFromString(std::string bytes,
                                                 std::string path);

}  // namespace penstock

#endif  // PENSTOCK_CORE_MEMORY_FILE_SYSTEM_H_
