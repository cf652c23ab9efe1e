// InflatedRecords: deflated records of a zip file, inflated where they are
// needed, as a file to be read by position.

#ifndef PENSTOCK_COMPAT_INFLATED_RECORDS_H_
#define PENSTOCK_COMPAT_INFLATED_RECORDS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "compat/zip_reader.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

struct InflateOptions {
  FileSystem* files = nullptr;  // null: the operating system's
  // Where the temporary file goes. Not beside the checkpoint, where one may
  // often not write, and not /tmp, which is memory on many machines.
  std::string directory = "/var/tmp";
  // Of one archive: this much, or max_growth times what is stored, if that is
  // more. Deflate can blow up zeros a thousandfold; weights hardly shrink.
  int64_t max_bytes = int64_t{4} << 30;
  int64_t max_growth = 16;
};

// The inflated bytes of deflated records, one behind the other in the order of
// Add: to readers a file like any other.
//
//   auto inflated = std::make_shared<InflatedRecords>(file, options);
//   PENSTOCK_ASSIGN_OR_RETURN(const int64_t offset, inflated->Add(entry));
//   places.push_back({entry.name, /*file=*/1, offset, entry.size_bytes,
//                     entry.crc32, 1});
//   stored->files.push_back(std::move(inflated));
//
// Nothing is inflated before it is read. The first Read that touches a record
// inflates all of it, once, into an unlinked temporary file; size, end of
// stream and CRC-32 are checked in the same pass, before a byte is given out.
// A damaged record stays so: it is not tried again.
//
// Add is thread-compatible and comes before the first Read; Read is
// thread-safe. Memory while reading: below 3 MiB at any number of threads.
class InflatedRecords : public RandomAccessFile {
 public:
  InflatedRecords(std::shared_ptr<const RandomAccessFile> file,
                  InflateOptions options);

  // The offset here of a record's first byte. `entry` is deflated and of
  // `file`. Errors: kResourceExhausted (zip_bomb) where the records grow beyond
  // the options' limits, or to more than deflate can make of their bytes.
  absl::StatusOr<int64_t> Add(const ZipEntry& entry);

  // Errors: kDataLoss (zip_bad_local: the stream is damaged, of another length
  // than the directory says, or bytes are left behind its end;
  // zip_crc_mismatch; a range that is not all of records), kResourceExhausted
  // (not enough space for the temporary), the files'.
  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override;

  int64_t size_bytes() const override { return size_bytes_; }
  // "FILE (inflated)".
  const std::string& path() const override { return path_; }

 private:
  // One deflated record and its place.
  struct Record {
    explicit Record(ZipEntry of) : entry(std::move(of)) {}

    const ZipEntry entry;
    int64_t offset = 0;
    std::atomic<bool> inflated = false;
    absl::Status damage;  // under the record's lock
  };
  // Locks are shared by records, so that a million need no million locks, and
  // so that no more than this many are inflated at once.
  static constexpr int64_t kNumLocks = 16;

  absl::Status Prepare(int64_t number) const;
  absl::Status Inflate(const Record& record) const;
  absl::Status OpenSpool() const ABSL_LOCKS_EXCLUDED(spool_mutex_);

  const std::shared_ptr<const RandomAccessFile> file_;
  const InflateOptions options_;
  const std::string path_;
  int64_t stored_bytes_ = 0;
  int64_t size_bytes_ = 0;
  std::vector<std::unique_ptr<Record>> records_;  // ascending by offset

  mutable std::array<Mutex, kNumLocks> locks_;
  mutable Mutex spool_mutex_;
  // Set once, under the mutex, before any record is inflated.
  mutable UnnamedFile spool_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_INFLATED_RECORDS_H_
