// RestoredFile: the file that a .pstk was made from, as it would be restored,
// without restoring it.

#ifndef PENSTOCK_COMPAT_RESTORED_FILE_H_
#define PENSTOCK_COMPAT_RESTORED_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/native_file.h"
#include "codec/native_source.h"
#include "compat/layout_sink.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// Bytes of tensors come decoded from their storages, all others from the
// skeleton. Fast where it is read forward. Thread-safe.
class RestoredFile : public RandomAccessFile {
 public:
  // `native` outlives it. Errors: LayOutOrigin's.
  static absl::StatusOr<std::unique_ptr<RestoredFile>> Open(
      const NativeFile& native);

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override;
  int64_t size_bytes() const override { return size_bytes_; }
  // "FILE (origin)".
  const std::string& path() const override { return path_; }

  // Where tensors lie: [begin, end), ascending.
  std::vector<std::pair<int64_t, int64_t>> TensorRanges() const;
  // The storage whose bytes begin at `offset`; null where none does.
  const Storage* StorageAt(int64_t offset) const;

 private:
  // One run of glue or of a storage.
  struct Part {
    int64_t begin = 0;                 // in the file
    int64_t glue_begin = 0;            // of glue
    const Storage* storage = nullptr;  // null for glue
  };

  RestoredFile(const NativeFile& native, FileLayout layout);
  absl::Status ReadGlue(int64_t begin, absl::Span<uint8_t> out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FileLayout layout_;
  const std::string path_;
  std::vector<Part> parts_;  // ascending
  int64_t size_bytes_ = 0;
  mutable Mutex mutex_;
  mutable NativeSource source_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_RESTORED_FILE_H_
