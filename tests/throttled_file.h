// A FileSystem as slow as it is told to be.

#ifndef PENSTOCK_TESTS_THROTTLED_FILE_H_
#define PENSTOCK_TESTS_THROTTLED_FILE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

// Forwards to `base`, which outlives it and its files. All its writes together
// get through at a rate, in the order in which they were begun, as on one
// device with one queue: each returns no sooner than the device would have
// taken its last byte, plus a latency, and waits without using the processor.
// Its FileInfo::device is its own. Sync waits for all of them. Idle time is not
// saved up. Reading and all else is as fast as the base. Thread-safe.
class ThrottledFileSystem : public FileSystem {
 public:
  // `bytes_per_second` > 0.
  ThrottledFileSystem(
      FileSystem& base, double bytes_per_second,
      std::chrono::microseconds latency = std::chrono::microseconds(100));
  ~ThrottledFileSystem() override;

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenRead(
      const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path, const CreateOptions& options) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::Status Unlink(const std::string& path) override;
  void CloseReplaced(std::unique_ptr<RandomAccessFile> file) override;
  absl::Status SetPermissions(const std::string& path,
                              uint32_t permissions) override;
  absl::StatusOr<FileInfo> Stat(const std::string& path) override;
  absl::StatusOr<UnnamedFile> CreateUnnamed(
      const std::string& directory) override;
  absl::StatusOr<int64_t> FreeSpace(const std::string& directory) override;

 private:
  class Device;
  class WriteFile;

  FileSystem& base_;
  const std::shared_ptr<Device> device_;
};

}  // namespace penstock

#endif  // PENSTOCK_TESTS_THROTTLED_FILE_H_
