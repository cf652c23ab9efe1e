// ExtentSource: storages that lie in files as they are, read by position.

#ifndef PENSTOCK_COMPAT_EXTENT_SOURCE_H_
#define PENSTOCK_COMPAT_EXTENT_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/read_ahead.h"
#include "codec/source.h"
#include "compat/foreign_file.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/value.h"

namespace penstock {

// A run of bytes of a file that is one storage.
struct StoredAt {
  std::string name;  // of the record, for messages
  int64_t file = 0;  // number of the file
  int64_t offset = 0;
  int64_t size_bytes = 0;
  uint32_t crc32 = 0;  // 0: not known
  // The width of the numbers to be turned from big-endian to little-endian.
  uint8_t swap_bytes = 1;
  bool is_part = false;  // of another one, whose extent these bytes are
};

// Open files, and by a storage's file_number() where it lies in one of them.
// The places were proven to lie within their files.
struct StoredStorages {
  std::vector<std::shared_ptr<const RandomAccessFile>> files;
  std::vector<StoredAt> places;
};

// Gives `foreign`, whose tree and file are set, its storages: `stored`, extents
// of its file, and a source.
void SetStored(std::shared_ptr<const StoredStorages> stored,
               ForeignFile& foreign);

// Where file 0 holds the bytes of a graph's storages unchanged.
std::vector<FileExtent> ExtentsOf(const Graph& graph,
                                  const StoredStorages& stored);

// Turns each number of `width` bytes around, in place. A rest shorter than a
// number is none, and stays.
void SwapNumbers(int width, absl::Span<uint8_t> bytes);

// Reads storages and checks their CRC-32, where they have one, in the same
// pass. Pieces of a storage may come in any order; the CRC is compared as soon
// as all of it has been there. Thread-safe. One per run.
//
// Errors: kDataLoss (zip_crc_mismatch, which names the record), the files';
// kInvalidArgument for storages that are not of these files, and pieces of
// big-endian storages that begin within a number.
class ExtentSource : public ForeignSource {
 public:
  explicit ExtentSource(std::shared_ptr<const StoredStorages> stored)
      : stored_(std::move(stored)) {}

  void UsePages(std::shared_ptr<const uint8_t> pages) override {
    pages_ = std::move(pages);
  }
  void Start(const Plan& plan, const RunLimits& limits) override;
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  absl::Status Finish() override;
  int64_t SlotBytes() const override;

  absl::Status VerifyRest() override;
  // Of storages that were not read completely, and of those without a CRC.
  int64_t unverified_bytes() const override;

 private:
  // A run of bytes of a storage that has been read.
  struct Range {
    int64_t end = 0;
    uint32_t crc = 0;
  };
  using Ranges = std::map<int64_t, Range>;  // disjoint, by first byte

  // Pieces of a chunk that lie together in one file, and are read together.
  struct Window {
    FileRange range;
    int64_t num_pieces = 0;
  };

  absl::StatusOr<std::vector<Window>> WindowsOf(const Plan& plan,
                                                const Chunk& chunk) const;
  LentBytes Lend(const FileRange& range, int64_t number);
  absl::Status ReadWindow(const Plan& plan, const FileRange& range,
                          absl::Span<const Piece> pieces, int64_t number,
                          Slot& slot, uint8_t* out, absl::Span<uint32_t> crcs);
  bool HaveCrcs(const Plan& plan, absl::Span<const Piece> pieces) const;
  // The place of `storage`, once [begin, begin + size) was found to be in it.
  absl::StatusOr<const StoredAt*> PlaceOf(const Storage& storage, int64_t begin,
                                          int64_t size) const;
  // That of a piece whose storage is known to have one.
  const StoredAt& PlaceOf(const Plan& plan, const Piece& piece) const {
    return stored_->places[plan.storages[piece.storage]->file_number()];
  }
  absl::Status Verify(const StoredAt& place, int64_t begin,
                      absl::Span<const uint8_t> bytes, uint32_t crc)
      ABSL_LOCKS_EXCLUDED(mutex_);
  static void AddRange(int64_t begin, Range range, Ranges& ranges);
  absl::Status Compare(const StoredAt& place, uint32_t crc);
  absl::Status Swap(const StoredAt& place, int64_t begin,
                    absl::Span<uint8_t> bytes) const;

  const std::shared_ptr<const StoredStorages> stored_;
  std::shared_ptr<const uint8_t> pages_;  // null: to be read
  std::unique_ptr<ReadAhead> ahead_;
  std::atomic<int64_t> read_bytes_{0};
  std::atomic<int64_t> verified_bytes_{0};
  Mutex mutex_;
  // Of the storages that came in pieces, until they are complete.
  absl::flat_hash_map<const StoredAt*, Ranges> pending_ ABSL_GUARDED_BY(mutex_);
  // Of those, what was compared.
  absl::flat_hash_set<const StoredAt*> complete_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_EXTENT_SOURCE_H_
