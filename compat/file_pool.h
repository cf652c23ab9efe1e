// FilePool: many files to read, few of them open.

#ifndef PENSTOCK_COMPAT_FILE_POOL_H_
#define PENSTOCK_COMPAT_FILE_POOL_H_

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// Keeps those files of one checkpoint open that were read last; unlike others,
// they may be opened again by their names. A process may have 1024 open, and a
// checkpoint of many processes has more. Thread-safe.
class FilePool : public std::enable_shared_from_this<FilePool> {
 public:
  static constexpr size_t kMostOpen = 128;

  // `files` must outlive the files that come from here; those keep the pool.
  static std::shared_ptr<FilePool> Make(FileSystem& files,
                                        size_t most_open = kMostOpen) {
    return std::shared_ptr<FilePool>(new FilePool(files, most_open));
  }

  // The file of this name, opened once to see that it is there. It is opened
  // again, by its name, when it is read after it had to make room; all
  // functions of the file may then have the file system's errors, and
  // kDataLoss where it is another file now or was written to.
  absl::StatusOr<std::shared_ptr<const RandomAccessFile>> Open(
      const std::string& path);

 private:
  class PooledFile;
  using OpenFile = std::shared_ptr<const RandomAccessFile>;
  struct Entry {
    const PooledFile* owner;
    OpenFile file;
  };

  FilePool(FileSystem& files, size_t most_open)
      : files_(files), most_open_(most_open) {}

  absl::StatusOr<OpenFile> Find(const PooledFile& owner)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Keep(const PooledFile& owner, OpenFile file) ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(const PooledFile& owner) ABSL_LOCKS_EXCLUDED(mutex_);

  FileSystem& files_;
  const size_t most_open_;
  Mutex mutex_;
  std::list<Entry> open_ ABSL_GUARDED_BY(mutex_);  // the last read first
  absl::flat_hash_map<const PooledFile*, std::list<Entry>::iterator> places_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FILE_POOL_H_
