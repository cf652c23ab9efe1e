#include "compat/legacy_sink.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "compat/layout_sink.h"
#include "compat/legacy_file.h"
#include "core/bytes.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

// Appends a pickle of its own.
absl::Status AppendPickle(GraphBuilder builder, NodeId root, std::string& out) {
  PENSTOCK_ASSIGN_OR_RETURN(const Value value, std::move(builder).Finish(root));
  PENSTOCK_ASSIGN_OR_RETURN(const PickledCheckpoint pickled,
                            WritePickle(value));
  absl::StrAppend(&out, pickled.pickle);
  return absl::OkStatus();
}

absl::Status AppendSysInfo(std::string& out) {
  GraphBuilder builder;
  const NodeId sizes = builder.Dict();
  const NodeId info = builder.Dict();
  PENSTOCK_RETURN_IF_ERROR(builder.SetItem(
      info, builder.Str("protocol_version"), builder.Int(kLegacyVersion)));
  PENSTOCK_RETURN_IF_ERROR(
      builder.SetItem(info, builder.Str("little_endian"), builder.Bool(true)));
  PENSTOCK_RETURN_IF_ERROR(
      builder.SetItem(info, builder.Str("type_sizes"), sizes));
  // Of struct's standard sizes, where a long has four bytes.
  PENSTOCK_RETURN_IF_ERROR(
      builder.SetItem(sizes, builder.Str("short"), builder.Int(2)));
  PENSTOCK_RETURN_IF_ERROR(
      builder.SetItem(sizes, builder.Str("int"), builder.Int(4)));
  PENSTOCK_RETURN_IF_ERROR(
      builder.SetItem(sizes, builder.Str("long"), builder.Int(4)));
  return AppendPickle(std::move(builder), info, out);
}

absl::Status AppendHead(std::string& out) {
  GraphBuilder magic;
  const NodeId number = magic.BigInt(kLegacyMagic);
  PENSTOCK_RETURN_IF_ERROR(AppendPickle(std::move(magic), number, out));
  GraphBuilder version;
  const NodeId version_number = version.Int(kLegacyVersion);
  PENSTOCK_RETURN_IF_ERROR(
      AppendPickle(std::move(version), version_number, out));
  return AppendSysInfo(out);
}

absl::Status AppendKeys(absl::Span<const std::string> keys, std::string& out) {
  GraphBuilder builder;
  std::vector<NodeId> items;
  for (const std::string& key : keys) items.push_back(builder.Str(key));
  const NodeId list = builder.List(items);
  return AppendPickle(std::move(builder), list, out);
}

// kInvalidArgument where torch could not load the stream.
absl::Status CheckTyped(const Value& root,
                        absl::Span<const int64_t> untyped_storages) {
  if (untyped_storages.empty()) return absl::OkStatus();
  absl::flat_hash_set<const Storage*> unnamed;
  for (int64_t number : untyped_storages) {
    unnamed.insert(root.graph()->storages()[number].get());
  }
  const absl::flat_hash_set<const Storage*> untyped = unnamed;
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict names, StateDict::FromValue(root));
  std::string list;
  for (const NamedTensor& entry : names.entries()) {
    const Storage* storage = entry.tensor.storage().get();
    if (!untyped.contains(storage)) continue;
    const DType dtype = entry.tensor.dtype();
    absl::StrAppend(
        &list, list.empty() ? "" : ", ", entry.name, " (", InfoOf(dtype).name,
        HasStorageClass(dtype) ? ", as bytes that are shared)" : ")");
    unnamed.erase(storage);
  }
  if (!unnamed.empty()) {
    absl::StrAppend(&list, list.empty() ? "" : ", ", unnamed.size(),
                    " storages without a type of their own");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("torch cannot load these from a legacy stream: ", list,
                   "; write --format pt instead, or leave them out (--drop)"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ForeignSink>> CreateLegacySink(
    WritableFile& file, const Value& root, PickleWriteOptions options) {
  options.persistent_ids = PersistentIds::kLegacy;
  PENSTOCK_ASSIGN_OR_RETURN(PickledCheckpoint pickled,
                            WritePickle(root, options));
  PENSTOCK_RETURN_IF_ERROR(CheckTyped(root, pickled.untyped_storages));
  const Graph& graph = *root.graph();
  const std::vector<DType> dtypes = graph.StorageDTypes();
  absl::flat_hash_map<std::string, int64_t> numbers;  // of storages, by key
  std::vector<std::string> keys;
  for (size_t i = 0; i < pickled.storage_order.size(); ++i) {
    keys.push_back(absl::StrCat(i));
    numbers.emplace(keys.back(), pickled.storage_order[i]);
  }
  std::sort(keys.begin(), keys.end());

  std::string glue;
  PENSTOCK_RETURN_IF_ERROR(AppendHead(glue));
  absl::StrAppend(&glue, pickled.pickle);
  pickled.pickle.clear();
  PENSTOCK_RETURN_IF_ERROR(AppendKeys(keys, glue));
  FileLayout layout;
  int64_t counted_bytes = 0;  // of the glue
  for (const std::string& key : keys) {
    const int64_t number = numbers.at(key);
    const std::shared_ptr<const Storage>& storage = graph.storages()[number];
    AppendLittleEndian(
        storage->size_bytes() / InfoOf(dtypes[number]).size_bytes, glue);
    const int64_t glue_bytes = static_cast<int64_t>(glue.size());
    layout.glue_bytes.push_back(glue_bytes - counted_bytes);
    layout.storages.push_back(storage);
    counted_bytes = glue_bytes;
  }
  layout.glue_bytes.push_back(static_cast<int64_t>(glue.size()) -
                              counted_bytes);
  layout.glue = GlueFrom(std::move(glue));
  return LayoutSink::Create(file, std::move(layout),
                            std::move(pickled.warnings));
}

}  // namespace penstock
