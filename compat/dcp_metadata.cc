#include "compat/dcp_metadata.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "compat/pickle_names.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr string_view kModule = "torch.distributed.checkpoint.metadata";

absl::Status Bad(string_view what) {
  return absl::DataLossError(absl::StrCat("dcp_metadata: ", what));
}

bool IsNone(const Value& value) {
  return !value || value.kind() == NodeKind::kNone;
}

// A field of a dataclass; nothing where it is absent or None.
Value Field(const Value& object, string_view name) {
  if (!object || object.kind() != NodeKind::kObject) return Value();
  const Value state = object.child(ObjectChild::kState);
  if (!state || state.kind() != NodeKind::kDict) return Value();
  const Value field = state.Find(name);
  return IsNone(field) ? Value() : field;
}

bool IsText(const Value& value) {
  return value && value.kind() == NodeKind::kStr;
}

bool IsCount(const Value& value) {
  return value && value.kind() == NodeKind::kInt && value.AsInt() >= 0;
}

// torch.Size((2, 3)), or a tuple or list; nothing for anything else.
std::optional<std::vector<int64_t>> Counts(Value value) {
  if (value && value.IsObjectOf("torch", "Size")) {
    const Value args = value.child(ObjectChild::kArgs);
    if (args.size() != 1) return std::nullopt;
    value = args.item(0);
  }
  if (!value ||
      (value.kind() != NodeKind::kTuple && value.kind() != NodeKind::kList)) {
    return std::nullopt;
  }
  std::vector<int64_t> counts;
  for (int64_t i = 0; i < value.size(); ++i) {
    if (!IsCount(value.item(i))) return std::nullopt;
    counts.push_back(value.item(i).AsInt());
  }
  return counts;
}

std::optional<DType> DTypeOf(const Value& properties) {
  if (!properties || properties.kind() != NodeKind::kObject) {
    return std::nullopt;
  }
  const Value state = properties.child(ObjectChild::kState);
  Value dtype = Field(properties, "dtype");
  if (state && state.kind() == NodeKind::kTuple && state.size() > 0) {
    dtype = state.item(0);
  }
  if (!dtype || dtype.kind() != NodeKind::kGlobal ||
      dtype.module() != "torch") {
    return std::nullopt;
  }
  return DTypeFromTorchName(dtype.name());
}

class MetadataReader {
 public:
  absl::StatusOr<DcpMetadata> Read(const Value& root);

 private:
  // The slices of one entry, by their offsets in its tensor; those of an object
  // have none.
  struct KnownSlice {
    std::optional<std::vector<int64_t>> offsets;
    Value info;
    bool used = false;
  };

  absl::Status ReadSlices(const Value& storage_data);
  absl::Status ReadPaths(const Value& planner_data);
  absl::StatusOr<DcpEntry> ReadEntry(const Value& key, const Value& metadata);
  absl::Status ReadTensor(const Value& metadata, DcpEntry& entry);
  absl::StatusOr<DcpSlice> Slice(
      const std::string& name,
      const std::optional<std::vector<int64_t>>& offsets);
  absl::StatusOr<std::vector<DcpStep>> Path(const Value& path) const;

  absl::flat_hash_map<std::string, std::vector<KnownSlice>> slices_;
  absl::flat_hash_map<std::string, Value> paths_;
};

absl::StatusOr<DcpMetadata> MetadataReader::Read(const Value& root) {
  if (!IsDcpMetadata(root)) return Bad("no Metadata of torch.distributed");
  const Value entries = Field(root, "state_dict_metadata");
  if (!entries || entries.kind() != NodeKind::kDict) {
    return Bad("no dict state_dict_metadata");
  }
  PENSTOCK_RETURN_IF_ERROR(ReadSlices(Field(root, "storage_data")));
  PENSTOCK_RETURN_IF_ERROR(ReadPaths(Field(root, "planner_data")));
  DcpMetadata result;
  const Value version = Field(root, "version");
  if (IsText(version)) result.version = std::string(version.AsBytes());
  for (int64_t i = 0; i < entries.size(); ++i) {
    PENSTOCK_ASSIGN_OR_RETURN(DcpEntry entry,
                              ReadEntry(entries.key(i), entries.value(i)));
    result.entries.push_back(std::move(entry));
  }
  int64_t num_unused = 0;
  for (const auto& [name, slices] : slices_) {
    num_unused +=
        std::count_if(slices.begin(), slices.end(),
                      [](const KnownSlice& slice) { return !slice.used; });
  }
  if (num_unused > 0) {
    result.warnings.push_back(absl::StrCat(
        "storage_data has ", num_unused, " slices of no tensor and no object"));
  }
  return result;
}

absl::Status MetadataReader::ReadSlices(const Value& storage_data) {
  if (!storage_data || storage_data.kind() != NodeKind::kDict) {
    return Bad("no dict storage_data");
  }
  for (int64_t i = 0; i < storage_data.size(); ++i) {
    const Value index = storage_data.key(i);
    const Value name = Field(index, "fqn");
    if (!index.IsObjectOf(kModule, "MetadataIndex") || !IsText(name)) {
      return Bad(absl::StrCat("key ", i,
                              " of storage_data is no "
                              "MetadataIndex with a name"));
    }
    KnownSlice slice;
    slice.info = storage_data.value(i);
    const Value offset = Field(index, "offset");
    if (offset) {
      slice.offsets = Counts(offset);
      if (!slice.offsets) {
        return Bad(absl::StrCat(QuotedRecordName(name.AsBytes()),
                                ": a MetadataIndex whose offset is no Size"));
      }
    }
    slices_[name.AsBytes()].push_back(std::move(slice));
  }
  for (auto& [name, slices] : slices_) {
    const auto less = [](const KnownSlice& a, const KnownSlice& b) {
      return a.offsets < b.offsets;
    };
    std::sort(slices.begin(), slices.end(), less);
    for (size_t i = 1; i < slices.size(); ++i) {
      if (slices[i - 1].offsets != slices[i].offsets) continue;
      return Bad(
          absl::StrCat(QuotedRecordName(name), ": two slices for one chunk"));
    }
  }
  return absl::OkStatus();
}

// Without planner_data the names are the keys.
absl::Status MetadataReader::ReadPaths(const Value& planner_data) {
  if (!planner_data) return absl::OkStatus();
  if (planner_data.kind() != NodeKind::kDict) {
    return Bad("planner_data is no dict");
  }
  for (int64_t i = 0; i < planner_data.size(); ++i) {
    const Value key = planner_data.key(i);
    if (!IsText(key)) return Bad("a key of planner_data is no text");
    paths_.emplace(key.AsBytes(), planner_data.value(i));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DcpStep>> MetadataReader::Path(
    const Value& path) const {
  const bool is_tuple = path.kind() == NodeKind::kTuple;
  std::vector<DcpStep> steps;
  for (int64_t i = 0; is_tuple && i < path.size(); ++i) {
    const Value step = path.item(i);
    if (IsText(step)) {
      steps.push_back({std::string(step.AsBytes()), -1});
    } else if (IsCount(step)) {
      steps.push_back({"", step.AsInt()});
    } else {
      return Bad("a step of its path is neither text nor a list's index");
    }
  }
  if (steps.empty() || steps[0].index >= 0) {
    return Bad("its path does not begin with a key");
  }
  return steps;
}

absl::StatusOr<DcpEntry> MetadataReader::ReadEntry(const Value& key,
                                                   const Value& metadata) {
  if (!IsText(key)) return Bad("a key of state_dict_metadata is no text");
  DcpEntry entry;
  entry.name = std::string(key.AsBytes());
  const auto read = [&]() -> absl::Status {
    const auto path = paths_.find(entry.name);
    if (path == paths_.end()) {
      entry.path.push_back({entry.name, -1});
    } else {
      PENSTOCK_ASSIGN_OR_RETURN(entry.path, Path(path->second));
    }
    entry.is_tensor = metadata.IsObjectOf(kModule, "TensorStorageMetadata");
    if (entry.is_tensor) return ReadTensor(metadata, entry);
    if (!metadata.IsObjectOf(kModule, "BytesStorageMetadata")) {
      return Bad("neither TensorStorageMetadata nor BytesStorageMetadata");
    }
    PENSTOCK_ASSIGN_OR_RETURN(DcpSlice slice, Slice(entry.name, std::nullopt));
    entry.chunks.push_back({{}, std::move(slice)});
    return absl::OkStatus();
  };
  const absl::Status status = read();
  if (!status.ok()) return Annotate(status, QuotedRecordName(entry.name));
  return entry;
}

absl::Status MetadataReader::ReadTensor(const Value& metadata,
                                        DcpEntry& entry) {
  const std::optional<DType> dtype = DTypeOf(Field(metadata, "properties"));
  const auto shape = Counts(Field(metadata, "size"));
  const Value chunks = Field(metadata, "chunks");
  if (!dtype || !shape || !chunks || chunks.kind() != NodeKind::kList) {
    return Bad("no dtype, no size or no list of chunks");
  }
  entry.dtype = *dtype;
  entry.shape = *shape;
  std::optional<int64_t> count = 1;
  for (const int64_t n : entry.shape) {
    // As if no size were 0, so that every product of sizes is one.
    count = count ? CheckedMultiply(*count, std::max<int64_t>(n, 1)) : count;
  }
  if (!count || !BytesFor(entry.dtype, *count) ||
      entry.shape.size() > static_cast<size_t>(kMaxRank)) {
    return absl::DataLossError(absl::StrFormat(
        "tensor_overflow: size [%s] of %s", absl::StrJoin(entry.shape, ", "),
        InfoOf(entry.dtype).name));
  }
  for (int64_t i = 0; i < chunks.size(); ++i) {
    const Value chunk = chunks.item(i);
    auto offsets = Counts(Field(chunk, "offsets"));
    auto sizes = Counts(Field(chunk, "sizes"));
    if (!chunk.IsObjectOf(kModule, "ChunkStorageMetadata") || !offsets ||
        !sizes) {
      return Bad(absl::StrCat("chunk ", i, " is no ChunkStorageMetadata"));
    }
    bool fits = offsets->size() == entry.shape.size() &&
                sizes->size() == entry.shape.size();
    for (size_t d = 0; fits && d < entry.shape.size(); ++d) {
      fits = RangeFits((*offsets)[d], (*sizes)[d], entry.shape[d]);
    }
    if (!fits) {
      return absl::DataLossError(absl::StrFormat(
          "tensor_bounds: chunk [%s] at [%s] is not within size [%s]",
          absl::StrJoin(*sizes, ", "), absl::StrJoin(*offsets, ", "),
          absl::StrJoin(entry.shape, ", ")));
    }
    PENSTOCK_ASSIGN_OR_RETURN(DcpSlice slice, Slice(entry.name, offsets));
    entry.chunks.push_back(
        {{*std::move(offsets), *std::move(sizes)}, std::move(slice)});
  }
  return absl::OkStatus();
}

absl::StatusOr<DcpSlice> MetadataReader::Slice(
    const std::string& name,
    const std::optional<std::vector<int64_t>>& offsets) {
  const auto of_entry = slices_.find(name);
  KnownSlice* known = nullptr;
  if (of_entry != slices_.end()) {
    const auto at = std::lower_bound(
        of_entry->second.begin(), of_entry->second.end(), offsets,
        [](const KnownSlice& slice, const auto& wanted) {
          return slice.offsets < wanted;
        });
    if (at != of_entry->second.end() && at->offsets == offsets) known = &*at;
  }
  if (known == nullptr) {
    return Bad(offsets ? absl::StrFormat("storage_data has no slice for the "
                                         "chunk at [%s]",
                                         absl::StrJoin(*offsets, ", "))
                       : "storage_data has no slice for it");
  }
  // An empty chunk may share its place with the next one.
  known->used = true;
  const Value path = Field(known->info, "relative_path");
  const Value offset = Field(known->info, "offset");
  const Value length = Field(known->info, "length");
  if (!known->info.IsObjectOf("torch.distributed.checkpoint.filesystem",
                              "_StorageInfo") ||
      !IsText(path) || !IsCount(offset) || !IsCount(length)) {
    return Bad("its slice is no _StorageInfo with path, offset and length");
  }
  if (!IsFileName(path.AsBytes())) {
    return absl::DataLossError(absl::StrCat(
        "zip_bad_name: expected the name of a file in the directory, found ",
        QuotedRecordName(path.AsBytes())));
  }
  const Value transforms = Field(known->info, "transform_descriptors");
  const bool plain = !transforms || ((transforms.kind() == NodeKind::kList ||
                                      transforms.kind() == NodeKind::kTuple) &&
                                     transforms.size() == 0);
  if (!plain) {
    std::string names;
    if (transforms.kind() == NodeKind::kList ||
        transforms.kind() == NodeKind::kTuple) {
      for (int64_t i = 0; i < std::min<int64_t>(transforms.size(), 5); ++i) {
        if (!IsText(transforms.item(i))) continue;
        absl::StrAppend(&names, " ",
                        QuotedRecordName(transforms.item(i).AsBytes()));
      }
    }
    return absl::UnimplementedError(absl::StrCat(
        "unsupported_format: its bytes went through transforms:", names));
  }
  return DcpSlice{std::string(path.AsBytes()), offset.AsInt(), length.AsInt()};
}

}  // namespace

bool IsDcpMetadata(const Value& root) {
  return root.IsObjectOf(kModule, "Metadata");
}

absl::StatusOr<DcpMetadata> ReadDcpMetadata(const Value& root) {
  return MetadataReader().Read(root);
}

}  // namespace penstock
