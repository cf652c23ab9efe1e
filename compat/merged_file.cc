#include "compat/merged_file.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/graph_rewrite.h"
#include "core/status_macros.h"
#include "core/value.h"

namespace penstock {
namespace {

// A thousand shards may warn of the same thing in as many words.
constexpr size_t kMaxWarnings = 20;

}  // namespace

int64_t MergedFile::AddFile(std::shared_ptr<const RandomAccessFile> file) {
  stored_->files.push_back(std::move(file));
  return static_cast<int64_t>(stored_->files.size()) - 1;
}

uint32_t MergedFile::StorageNumber(std::shared_ptr<const Storage> storage) {
  const auto [it, is_new] = storage_numbers_.try_emplace(
      storage.get(), static_cast<uint32_t>(tables_.storages.size()));
  if (is_new) tables_.storages.push_back(std::move(storage));
  return it->second;
}

absl::StatusOr<NodeId> MergedFile::Add(const ForeignFile& part,
                                       PartPlace place) {
  const Graph& graph = *part.root.graph();
  absl::flat_hash_map<int64_t, int64_t> files = {{0, place.file}};
  std::vector<uint32_t> numbers;
  for (const std::shared_ptr<const Storage>& storage : graph.storages()) {
    if (!storage->in_file()) {
      numbers.push_back(StorageNumber(storage));
      continue;
    }
    StoredAt at = part.stored->places[storage->file_number()];
    if (at.file == 0) at.offset += place.offset;
    const auto [file, is_new] = files.try_emplace(at.file, 0);
    if (is_new) file->second = AddFile(part.stored->files[at.file]);
    at.file = file->second;
    const auto moved = Storage::InFile(storage->size_bytes(), num_places());
    moved->set_location(storage->location());
    stored_->places.push_back(std::move(at));
    numbers.push_back(StorageNumber(moved));
  }
  for (const std::string& global : part.globals) {
    if (seen_.insert(global).second) result_.globals.push_back(global);
  }
  for (const std::string& warning : part.warnings) {
    if (result_.warnings.size() < kMaxWarnings &&
        seen_.insert(warning).second) {
      result_.warnings.push_back(warning);
    }
  }
  return AppendTables(graph.tables(), numbers, tables_);
}

absl::StatusOr<ForeignFile> MergedFile::Finish(
    NodeId root, ForeignFormat format,
    std::shared_ptr<const RandomAccessFile> whole) && {
  result_.format = format;
  result_.file = std::move(whole);
  PENSTOCK_ASSIGN_OR_RETURN(result_.root, Rewritten(tables_, root));
  SetStored(std::move(stored_), result_);
  return std::move(result_);
}

}  // namespace penstock
