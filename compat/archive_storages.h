// ArchiveStorages: records of a zip file that are storages.

#ifndef PENSTOCK_COMPAT_ARCHIVE_STORAGES_H_
#define PENSTOCK_COMPAT_ARCHIVE_STORAGES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compat/extent_source.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "compat/zip_reader.h"
#include "core/file.h"
#include "core/storage.h"

namespace penstock {

// An open zip file of torch's, whose records lie in one folder.
struct TorchArchive {
  std::shared_ptr<const RandomAccessFile> file;
  ZipDirectory directory;
  std::string name;  // of the folder

  // The number of the record, -1 where there is none.
  int64_t Find(absl::string_view record) const;
  // A record's name without the folder.
  absl::string_view RecordName(const ZipEntry& entry) const;
};

// The text of a record. Errors: ReadZipRecord's.
absl::StatusOr<std::string> ReadSmallRecord(const TorchArchive& archive,
                                            int64_t entry, int64_t max_bytes);

// Makes storages of records, each once: who asks again shares it.
// Thread-compatible. The archive outlives it.
class ArchiveStorages {
 public:
  ArchiveStorages(const TorchArchive& archive, const InflateOptions& inflate);

  // All bytes of a record. Errors: InflatedRecords::Add's.
  absl::StatusOr<std::shared_ptr<const Storage>> Get(
      int64_t entry, absl::string_view location);

  // Sets all but root, writer and format of `foreign`, whose root is set.
  // `big_endian`: the numbers of all.
  void Finish(bool big_endian, ForeignFile& foreign) &&;

 private:
  const TorchArchive& archive_;
  std::shared_ptr<StoredStorages> stored_;
  std::shared_ptr<InflatedRecords> inflated_;  // file 1 of stored_
  absl::flat_hash_map<int64_t, std::shared_ptr<const Storage>> storages_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ARCHIVE_STORAGES_H_
