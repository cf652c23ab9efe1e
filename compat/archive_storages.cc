#include "compat/archive_storages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compat/zip_record.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/value.h"

namespace penstock {

int64_t TorchArchive::Find(absl::string_view record) const {
  return directory.Find(absl::StrCat(name, "/", record));
}

absl::string_view TorchArchive::RecordName(const ZipEntry& entry) const {
  return absl::string_view(entry.name).substr(name.size() + 1);
}

absl::StatusOr<std::string> ReadSmallRecord(const TorchArchive& archive,
                                            int64_t entry, int64_t max_bytes) {
  return ReadZipRecord(*archive.file, archive.directory.entries()[entry],
                       max_bytes);
}

ArchiveStorages::ArchiveStorages(const TorchArchive& archive,
                                 const InflateOptions& inflate)
    : archive_(archive),
      stored_(std::make_shared<StoredStorages>()),
      inflated_(std::make_shared<InflatedRecords>(archive.file, inflate)) {
  stored_->files = {archive.file, inflated_};
}

absl::StatusOr<std::shared_ptr<const Storage>> ArchiveStorages::Get(
    int64_t entry, absl::string_view location) {
  std::shared_ptr<const Storage>& known = storages_[entry];
  if (known != nullptr) return known;
  const ZipEntry& record = archive_.directory.entries()[entry];
  StoredAt place{record.name,  0, record.payload_offset, record.size_bytes,
                 record.crc32, 1};
  if (record.deflated) {
    place.file = 1;
    PENSTOCK_ASSIGN_OR_RETURN(place.offset, inflated_->Add(record));
  }
  const auto storage = Storage::InFile(
      record.size_bytes, static_cast<int64_t>(stored_->places.size()));
  storage->set_location(location);
  stored_->places.push_back(std::move(place));
  known = storage;
  return known;
}

void ArchiveStorages::Finish(bool big_endian, ForeignFile& foreign) && {
  const Graph& graph = *foreign.root.graph();
  const std::vector<DType> dtypes = graph.StorageDTypes();
  for (size_t i = 0; big_endian && i < dtypes.size(); ++i) {
    const Storage& storage = *graph.storages()[i];
    if (!storage.in_file()) continue;
    stored_->places[storage.file_number()].swap_bytes =
        InfoOf(dtypes[i]).word_bytes;
  }
  foreign.file = archive_.file;
  SetStored(std::move(stored_), foreign);
}

}  // namespace penstock
