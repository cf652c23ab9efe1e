// PtSource: the storages of a torch.save zip file, read by position.

#ifndef PENSTOCK_COMPAT_PT_SOURCE_H_
#define PENSTOCK_COMPAT_PT_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/source.h"
#include "compat/zip_reader.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// The records that storages are in; a storage's file_number() is an entry's.
struct PtRecords {
  ZipDirectory directory;
  // By entry: the width of the numbers to be turned from big-endian to
  // little-endian. Empty for a little-endian file.
  std::vector<uint8_t> swap_bytes;
};

// Reads stored records and checks their CRC-32 in the same pass. Pieces of a
// record may come in any order; the CRC is compared as soon as all of it has
// been there. Thread-safe. One per run.
//
// Errors: kDataLoss (zip_crc_mismatch, which names the record), the file's;
// kInvalidArgument for storages that are not of this file, and pieces of
// big-endian records that begin within a number.
class PtSource : public Source {
 public:
  PtSource(std::shared_ptr<const RandomAccessFile> file,
           std::shared_ptr<const PtRecords> records);

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  int64_t SlotBytes() const override;

  // Bytes given out that no CRC vouches for: of records that were not read
  // completely, and of those that have none (stored CRC 0). Final after Finish.
  int64_t unverified_bytes() const;

 private:
  // A run of bytes of a record that has been read.
  struct Range {
    int64_t end = 0;
    uint32_t crc = 0;
  };
  using Ranges = std::map<int64_t, Range>;  // disjoint, by first byte

  absl::Status Read(const Plan& plan, const Chunk& chunk, Slot& slot,
                    uint8_t* out);
  // The entry of `storage`, once [begin, begin + size) was found to be in it.
  absl::StatusOr<const ZipEntry*> EntryOf(const Storage& storage, int64_t begin,
                                          int64_t size) const;
  absl::Status Verify(const ZipEntry& entry, int64_t begin,
                      absl::Span<const uint8_t> bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Compare(const ZipEntry& entry, uint32_t crc);
  absl::Status Swap(const Storage& storage, int64_t begin,
                    absl::Span<uint8_t> bytes) const;

  const std::shared_ptr<const RandomAccessFile> file_;
  const std::shared_ptr<const PtRecords> records_;
  std::atomic<int64_t> read_bytes_{0};
  std::atomic<int64_t> verified_bytes_{0};
  Mutex mutex_;
  // Of the records that came in pieces, until they are complete.
  absl::flat_hash_map<const ZipEntry*, Ranges> pending_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT_SOURCE_H_
