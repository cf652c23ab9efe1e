// A file that appears whole or not at all.

#ifndef PENSTOCK_CORE_ATOMIC_FILE_H_
#define PENSTOCK_CORE_ATOMIC_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

// Writes to a temporary `.<name>.<id>.tmp` beside the destination; Commit makes
// it the destination: fsync, close (checked), rename, fsync of the directory.
// A replaced file is held open over the rename and handed to
// FileSystem::CloseReplaced, so that Commit does not wait until its blocks are
// free (1 s a GB on some mounts).
// Without Commit the destructor removes the temporary. Thread-compatible.
//
// Permissions are those of the file that is replaced, else the umask's; owner,
// ACLs and extended attributes are not carried over. Where `path` is a symbolic
// link the link is replaced, not its target.
class AtomicFile {
 public:
  // Errors: kInvalidArgument (`path` is a directory or no regular file), and
  // those of FileSystem::Create.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(
      FileSystem& files, const std::string& path, Caching caching);

  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  WritableFile& file() { return *file_; }

  // Once, last. After an error before the rename the old file is untouched and
  // the temporary goes. An error of the directory's fsync says so: the new file
  // is visible and complete, but may not survive a power cut.
  absl::Status Commit();

 private:
  AtomicFile() = default;

  absl::Status Publish();  // up to the rename
  void RemoveTemporary();

  FileSystem* files_ = nullptr;
  std::string path_;
  std::string temporary_;                // empty once it is no more
  std::optional<uint32_t> permissions_;  // of the file that is replaced
  std::unique_ptr<WritableFile> file_;
  std::unique_ptr<RandomAccessFile> replaced_;
  bool commit_called_ = false;
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_ATOMIC_FILE_H_
