// MergedFile: one tree over several foreign files.

#ifndef PENSTOCK_COMPAT_MERGED_FILE_H_
#define PENSTOCK_COMPAT_MERGED_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "compat/extent_source.h"
#include "compat/foreign_file.h"
#include "core/file.h"
#include "core/graph_tables.h"
#include "core/storage.h"

namespace penstock {

// Where a foreign file lies: bytes of a file from `offset` on.
struct PartPlace {
  int64_t file = 0;
  int64_t offset = 0;
};

// Takes in trees of foreign files, and gives their storages places of its own.
// New nodes go straight into tables() (core/graph_rewrite.h).
// Thread-compatible.
class MergedFile {
 public:
  MergedFile() { tables_.strings_by_identity = true; }

  // Returns its number.
  int64_t AddFile(std::shared_ptr<const RandomAccessFile> file);
  const std::shared_ptr<const RandomAccessFile>& file(int64_t number) const {
    return stored_->files[number];
  }

  // Appends the tree of `part`, which was opened at `place`. Returns its root.
  // Globals and warnings are kept, too. Errors: kResourceExhausted.
  absl::StatusOr<NodeId> Add(const ForeignFile& part, PartPlace place);

  GraphTables& tables() { return tables_; }
  // The number of a storage in tables(), to which it is added if need be.
  uint32_t StorageNumber(std::shared_ptr<const Storage> storage);

  // Places so far, and so the first number of a storage that lies in no file.
  int64_t num_places() const {
    return static_cast<int64_t>(stored_->places.size());
  }

  // What `root` reaches. `whole`: file 0, where that is all there is.
  // Errors: kInvalidArgument for equal keys, kResourceExhausted.
  absl::StatusOr<ForeignFile> Finish(
      NodeId root, ForeignFormat format,
      std::shared_ptr<const RandomAccessFile> whole = nullptr) &&;

 private:
  std::shared_ptr<StoredStorages> stored_ = std::make_shared<StoredStorages>();
  GraphTables tables_;
  absl::flat_hash_map<const Storage*, uint32_t> storage_numbers_;
  ForeignFile result_;
  absl::flat_hash_set<std::string> seen_;  // globals and warnings
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_MERGED_FILE_H_
