#include "compat/torch_package.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/zip_name.h"
#include "core/graph_rewrite.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {
namespace {

class PackageOpener {
 public:
  PackageOpener(const TorchArchive& archive, const PickleLimits& limits,
                const InflateOptions& inflate)
      : archive_(archive), limits_(limits), storages_(archive, inflate) {
    tables_.strings_by_identity = true;
  }

  absl::StatusOr<ForeignFile> Open(bool big_endian);

 private:
  absl::StatusOr<bool> IsPickle(const ZipEntry& entry) const;
  absl::Status AddPickle(int64_t entry);
  absl::StatusOr<std::shared_ptr<const Storage>> Resolve(
      const StorageReference& reference);
  uint32_t StorageNumber(const std::shared_ptr<const Storage>& storage);

  const TorchArchive& archive_;
  const PickleLimits& limits_;
  ArchiveStorages storages_;
  ForeignFile package_;
  absl::flat_hash_set<std::string> seen_globals_;
  GraphTables tables_;
  absl::flat_hash_map<const Storage*, uint32_t> storage_numbers_;
  std::vector<NodeId> pairs_;
};

absl::StatusOr<ForeignFile> PackageOpener::Open(bool big_endian) {
  const std::vector<ZipEntry>& entries = archive_.directory.entries();
  bool has_script = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    const absl::string_view record = archive_.RecordName(entries[i]);
    if (absl::StartsWith(record, ".data/")) {
      has_script |= absl::StartsWith(record, ".data/ts_code/");
      continue;
    }
    PENSTOCK_ASSIGN_OR_RETURN(const bool is_pickle, IsPickle(entries[i]));
    if (!is_pickle) continue;
    const absl::Status added = AddPickle(static_cast<int64_t>(i));
    if (!added.ok()) return Annotate(added, QuotedRecordName(record));
  }
  if (has_script) {
    package_.warnings.push_back(
        "the TorchScript in it (.data/ts_code) is not read");
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      package_.root,
      Rewritten(tables_, AddContainer(tables_, NodeKind::kDict, pairs_)));
  package_.format = ForeignFormat::kTorchPackage;
  package_.writer = "torch.package";
  std::move(storages_).Finish(big_endian, package_);
  return std::move(package_);
}

// By name, or by the first bytes: a resource may have any name.
absl::StatusOr<bool> PackageOpener::IsPickle(const ZipEntry& entry) const {
  if (absl::EndsWith(entry.name, ".pkl")) return true;
  std::array<uint8_t, 2> head;
  if (entry.deflated || entry.size_bytes < 3 ||
      absl::EndsWith(entry.name, ".py")) {
    return false;
  }
  PENSTOCK_RETURN_IF_ERROR(
      archive_.file->Read(entry.payload_offset, absl::MakeSpan(head)));
  return head[0] == 0x80 && head[1] >= 2 && head[1] <= 5;
}

absl::Status PackageOpener::AddPickle(int64_t entry) {
  const absl::string_view record =
      archive_.RecordName(archive_.directory.entries()[entry]);
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::string pickle,
      ReadSmallRecord(archive_, entry, limits_.max_pickle_bytes));
  PickleInput input;
  input.bytes = absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(pickle.data()), pickle.size());
  PickleSurroundings around;
  around.persistent_ids = PersistentIds::kPackage;
  around.storages = [this](const StorageReference& reference) {
    return Resolve(reference);
  };
  PENSTOCK_ASSIGN_OR_RETURN(PickleResult result,
                            ReadPickle(input, around, limits_));
  for (std::string& global : result.globals) {
    if (seen_globals_.insert(global).second) {
      package_.globals.push_back(std::move(global));
    }
  }
  for (const std::string& warning : result.warnings) {
    package_.warnings.push_back(
        absl::StrCat(QuotedRecordName(record), ": ", warning));
  }
  std::vector<uint32_t> numbers;
  for (const auto& storage : result.root.graph()->storages()) {
    numbers.push_back(StorageNumber(storage));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const NodeId root,
      AppendTables(result.root.graph()->tables(), numbers, tables_));
  pairs_.push_back(AddText(tables_, NodeKind::kStr, record));
  pairs_.push_back(root);
  return absl::OkStatus();
}

uint32_t PackageOpener::StorageNumber(
    const std::shared_ptr<const Storage>& storage) {
  const auto [it, is_new] = storage_numbers_.try_emplace(
      storage.get(), static_cast<uint32_t>(tables_.storages.size()));
  if (is_new) tables_.storages.push_back(storage);
  return it->second;
}

absl::StatusOr<std::shared_ptr<const Storage>> PackageOpener::Resolve(
    const StorageReference& reference) {
  const std::string record = absl::StrCat(".data/", reference.key, ".storage");
  const int64_t entry = archive_.Find(record);
  if (entry < 0) {
    return absl::DataLossError(absl::StrFormat(
        "storage_missing: no record %s for a storage of %d bytes",
        QuotedRecordName(record), reference.size_bytes));
  }
  const ZipEntry& found = archive_.directory.entries()[entry];
  if (found.size_bytes != reference.size_bytes) {
    return absl::DataLossError(absl::StrFormat(
        "storage_size: record %s at offset %d has %d bytes, the pickle says %d",
        QuotedRecordName(record), found.payload_offset, found.size_bytes,
        reference.size_bytes));
  }
  return storages_.Get(entry, reference.location);
}

}  // namespace

absl::StatusOr<ForeignFile> OpenTorchPackage(const TorchArchive& archive,
                                             bool big_endian,
                                             const PickleLimits& limits,
                                             const InflateOptions& inflate) {
  return PackageOpener(archive, limits, inflate).Open(big_endian);
}

}  // namespace penstock
