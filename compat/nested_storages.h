// NestedStorages: storages that are files in the bytes of a pickle.

#ifndef PENSTOCK_COMPAT_NESTED_STORAGES_H_
#define PENSTOCK_COMPAT_NESTED_STORAGES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "compat/extent_source.h"
#include "compat/foreign_file.h"
#include "compat/pickle_surroundings.h"
#include "core/file.h"

namespace penstock {

// Opens a file of whatever format; it says how deep files may lie in files.
using NestedOpener = std::function<absl::StatusOr<ForeignFile>(
    std::shared_ptr<const RandomAccessFile>)>;

// Of copies, for all such files in one file.
inline constexpr int64_t kMaxNestedMemoryBytes = int64_t{1} << 30;

// What torch.storage._load_from_bytes opens while one file is opened: each
// storage gets a place in that file, or in a copy of the bytes. Protocols below
// 3 hold bytes as text, so that only a copy can be read by position.
// Thread-compatible.
class NestedStorages {
 public:
  // Appends to `stored`, which outlives it and has the file as number 0.
  NestedStorages(NestedOpener open, StoredStorages& stored,
                 int64_t max_memory_bytes = kMaxNestedMemoryBytes)
      : open_(std::move(open)),
        stored_(stored),
        memory_bytes_left_(max_memory_bytes) {}

  // For a pickle; null where there is no opener. Refers to this.
  //
  // Errors: the opener's; kResourceExhausted (materialize_limit) where the
  // copies take more than max_memory_bytes.
  NestedResolver resolver();

  // Appends what pickles in bytes name and warn of.
  void Report(ForeignFile& foreign) const;

 private:
  absl::StatusOr<std::optional<NestedStorage>> Open(const NestedFile& nested);
  absl::StatusOr<StoredAt> PlaceOf(const NestedFile& nested,
                                   const ForeignFile& opened);
  absl::Status Afford(int64_t num_bytes) const;
  absl::StatusOr<int64_t> Keep(std::shared_ptr<const RandomAccessFile> file);
  void Note(const ForeignFile& opened);

  const NestedOpener open_;
  StoredStorages& stored_;
  int64_t memory_bytes_left_;
  std::vector<std::string> globals_;
  absl::flat_hash_set<std::string> seen_globals_;
  std::vector<std::string> warnings_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NESTED_STORAGES_H_
