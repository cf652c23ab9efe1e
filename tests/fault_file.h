// A FileSystem that fails when told to.

#ifndef PENSTOCK_TESTS_FAULT_FILE_H_
#define PENSTOCK_TESTS_FAULT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

// What shall go wrong.
struct Fault {
  enum class Repeat { kOnce, kSticky };
  // How much of the failing operation happens all the same. Half of a read or a
  // write is half of its bytes, of anything else nothing. "All" is a rename
  // that a server carried out before its answer got lost.
  enum class Effect { kNone, kHalf, kAll };

  int64_t at_operation = 0;  // 1 is the next one; 0 is none
  absl::Status status = absl::InternalError("injected fault");
  Repeat repeat = Repeat::kOnce;
  Effect effect = Effect::kNone;
  std::string only;  // counts only this operation, as MemoryFileSystem names it
};

// Forwards to `base`, which outlives it and its files, and counts. Destructors
// of files are no operations. Thread-safe.
class FaultFileSystem : public FileSystem {
 public:
  enum class Direct { kAllowed, kRefused };

  explicit FaultFileSystem(FileSystem& base, Direct direct = Direct::kAllowed);
  ~FaultFileSystem() override;

  // Starts counting at 1 again. Files that are open are affected too.
  void Inject(const Fault& fault);

  int64_t num_operations() const;  // since the start or Inject
  int64_t num_faults() const;      // of them, that failed by injection
  // Calls on a file whose Sync has failed, other than Close: there may be none.
  int64_t num_calls_after_failed_sync() const;

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

 private:
  class State;
  class ReadFile;
  class WriteFile;

  FileSystem& base_;
  const Direct direct_;
  const std::shared_ptr<State> state_;
};

}  // namespace penstock

#endif  // PENSTOCK_TESTS_FAULT_FILE_H_
