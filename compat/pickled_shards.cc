#include "compat/pickled_shards.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/file_pool.h"
#include "compat/merged_file.h"
#include "core/graph_rewrite.h"
#include "core/python_shapes.h"
#include "core/status_macros.h"
#include "core/value.h"

namespace penstock {
namespace {

absl::Status NoDict(const std::string& shard, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(
      "shard_index: shard ", shard,
      " is no dict from names to tensors, as the index wants it: ", what));
}

// Appends the tensors of a shard as key, value, key, value...
absl::Status AddShard(const ShardIndex& index, const std::string& name,
                      const ForeignFile& shard, PartPlace place,
                      MergedFile& merged, std::vector<NodeId>& pairs) {
  if (!IsMapping(shard.root)) return NoDict(name, "it holds something else");
  std::vector<absl::string_view> found;
  const std::vector<PlacedPair> own = PairsOf(shard.root);
  for (const PlacedPair& pair : own) {
    const NodeKind kind = pair.key.kind();
    if (kind != NodeKind::kStr && kind != NodeKind::kPy2Str) {
      return NoDict(name, "a key is no text");
    }
    found.push_back(pair.key.AsBytes());
  }
  PENSTOCK_RETURN_IF_ERROR(CheckShard(index, name, found));
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId root, merged.Add(shard, place));
  const NodeId shift = root - shard.root.id();
  for (const PlacedPair& pair : own) {
    pairs.push_back(pair.key.id() + shift);
    pairs.push_back(pair.value.id() + shift);
  }
  return absl::OkStatus();
}

absl::StatusOr<ForeignFile> OpenAll(FileSystem& files,
                                    const std::string& directory,
                                    const ShardIndex& index,
                                    const ShardOpener& open) {
  const std::shared_ptr<FilePool> pool = FilePool::Make(files);
  MergedFile merged;
  std::vector<NodeId> pairs;
  std::string writer;
  for (const auto& [name, tensors] : index.shards) {
    absl::StatusOr<std::shared_ptr<const RandomAccessFile>> file =
        pool->Open(absl::StrCat(directory, "/", name));
    if (!file.ok()) return Annotate(file.status(), "shard");
    PENSTOCK_ASSIGN_OR_RETURN(const ForeignFile shard, open(*file));
    if (writer.empty()) writer = shard.writer;
    const int64_t number = merged.AddFile(*std::move(file));
    PENSTOCK_RETURN_IF_ERROR(
        AddShard(index, name, shard, {number, 0}, merged, pairs));
  }
  const NodeId root = AddContainer(merged.tables(), NodeKind::kDict, pairs);
  PENSTOCK_ASSIGN_OR_RETURN(ForeignFile result,
                            std::move(merged).Finish(root, ForeignFormat::kPt));
  result.writer = absl::StrCat(writer, ", in ", index.shards.size(), " shards");
  result.metadata = index.metadata;
  return result;
}

}  // namespace

absl::StatusOr<ForeignFile> OpenPickledShards(FileSystem& files,
                                              const std::string& index_path,
                                              const ShardIndex& index,
                                              const ShardOpener& open) {
  absl::StatusOr<ForeignFile> opened =
      OpenAll(files, DirectoryOf(index_path), index, open);
  if (!opened.ok()) return Annotate(opened.status(), index_path);
  return opened;
}

}  // namespace penstock
