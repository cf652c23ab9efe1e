#include "compat/safetensors_file.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/extent_source.h"
#include "compat/json_text.h"
#include "compat/safetensors_header.h"
#include "compat/safetensors_tree.h"
#include "compat/zip_name.h"
#include "core/graph_builder.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {
namespace {

constexpr int64_t kCompareBytes = 1 << 20;
constexpr size_t kMaxListed = 10;

// Takes in one file after the other, then makes the ForeignFile of all.
class Assembler {
 public:
  absl::Status Add(std::shared_ptr<const RandomAccessFile> file,
                   const SafetensorsHeader& header);
  absl::StatusOr<ForeignFile> Finish(StringPairs metadata);

 private:
  absl::StatusOr<bool> SameBytes(const Tensor& a, const Tensor& b) const;
  absl::Status MakeFlatRoot();

  const std::shared_ptr<StoredStorages> stored_ =
      std::make_shared<StoredStorages>();
  std::vector<NamedTensor> tensors_;
  ForeignFile result_;
};

absl::Status Assembler::Add(std::shared_ptr<const RandomAccessFile> file,
                            const SafetensorsHeader& header) {
  const auto file_number = static_cast<int64_t>(stored_->files.size());
  stored_->files.push_back(std::move(file));
  for (const SafetensorsEntry& entry : header.tensors) {
    const int64_t size_bytes = entry.end - entry.begin;
    std::shared_ptr<Storage> storage;
    if (size_bytes == 0) {
      PENSTOCK_ASSIGN_OR_RETURN(storage, Storage::Allocate(0));
    } else {
      storage = Storage::InFile(size_bytes,
                                static_cast<int64_t>(stored_->places.size()));
      stored_->places.push_back({entry.name, file_number,
                                 header.data_offset + entry.begin, size_bytes,
                                 0, 1});
    }
    absl::StatusOr<Tensor> tensor =
        Tensor::Make(std::move(storage), entry.dtype, entry.shape);
    if (!tensor.ok()) {
      return absl::DataLossError(absl::StrCat("safetensors_header: tensor ",
                                              QuotedRecordName(entry.name),
                                              ": ", tensor.status().message()));
    }
    tensors_.push_back({entry.name, *std::move(tensor)});
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Assembler::SameBytes(const Tensor& a,
                                          const Tensor& b) const {
  const int64_t size_bytes = a.size_bytes();
  if (size_bytes == 0) return true;
  const StoredAt& place_a = stored_->places[a.storage()->file_number()];
  const StoredAt& place_b = stored_->places[b.storage()->file_number()];
  std::vector<uint8_t> bytes_a(std::min(size_bytes, kCompareBytes));
  std::vector<uint8_t> bytes_b(bytes_a.size());
  for (int64_t begin = 0; begin < size_bytes; begin += kCompareBytes) {
    const int64_t step = std::min(size_bytes - begin, kCompareBytes);
    const auto part_a = absl::MakeSpan(bytes_a).subspan(0, step);
    const auto part_b = absl::MakeSpan(bytes_b).subspan(0, step);
    PENSTOCK_RETURN_IF_ERROR(
        stored_->files[place_a.file]->Read(place_a.offset + begin, part_a));
    PENSTOCK_RETURN_IF_ERROR(
        stored_->files[place_b.file]->Read(place_b.offset + begin, part_b));
    if (part_a != part_b) return false;
  }
  return true;
}

absl::Status Assembler::MakeFlatRoot() {
  GraphBuilder builder;
  const NodeId root = builder.Dict();
  for (const NamedTensor& entry : tensors_) {
    PENSTOCK_RETURN_IF_ERROR(builder.SetItem(root, builder.Str(entry.name),
                                             builder.Tensor(entry.tensor)));
  }
  PENSTOCK_ASSIGN_OR_RETURN(result_.root, std::move(builder).Finish(root));
  return absl::OkStatus();
}

absl::StatusOr<ForeignFile> Assembler::Finish(StringPairs metadata) {
  result_.format = ForeignFormat::kSafetensors;
  result_.writer = "safetensors";
  const auto tree =
      std::find_if(metadata.begin(), metadata.end(),
                   [](const auto& pair) { return pair.first == kTreeKey; });
  if (tree != metadata.end()) {
    const std::string text = std::move(tree->second);
    metadata.erase(tree);
    absl::StatusOr<ReadTreeResult> read = ReadTree(
        text, tensors_,
        [this](const Tensor& a, const Tensor& b) { return SameBytes(a, b); });
    if (read.ok()) {
      result_.root = std::move(read->root);
      result_.warnings = std::move(read->warnings);
      result_.writer = "penstock (safetensors)";
    } else if (absl::IsDataLoss(read.status()) &&
               absl::StartsWith(read.status().message(), kTreeKey)) {
      result_.warnings.push_back(absl::StrCat(
          "the tree in __metadata__ does not fit the tensors and is left out: ",
          read.status().message()));
    } else {
      return read.status();
    }
  }
  if (!result_.root) PENSTOCK_RETURN_IF_ERROR(MakeFlatRoot());
  result_.metadata = std::move(metadata);
  if (stored_->files.size() == 1) {
    result_.file = stored_->files[0];
    result_.extents = ExtentsOf(*result_.root.graph(), *stored_);
  }
  result_.new_source = [stored =
                            std::shared_ptr<const StoredStorages>(stored_)] {
    return std::make_unique<ExtentSource>(stored);
  };
  return std::move(result_);
}

absl::StatusOr<ForeignFile> OpenOne(
    std::shared_ptr<const RandomAccessFile> file) {
  PENSTOCK_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ReadSafetensorsHeader(*file));
  Assembler assembler;
  PENSTOCK_RETURN_IF_ERROR(assembler.Add(std::move(file), header));
  return assembler.Finish(std::move(header.metadata));
}

// -------------------------------------------------------------------- Shards

struct ShardIndex {
  bool has_weight_map = false;
  absl::flat_hash_map<std::string, std::string> shard_of;  // by tensor
  StringPairs metadata;                                    // strings alone
};

// Takes the events of an index's JSON.
class IndexReader {
 public:
  absl::Status On(const JsonEvent& event);
  ShardIndex Take() { return std::move(index_); }

 private:
  absl::Status OnWeight(const JsonEvent& event);

  enum class Part { kOther, kWeightMap, kMetadata };

  ShardIndex index_;
  int64_t depth_ = 0;
  Part part_ = Part::kOther;
  std::string key_;  // at depth 2
};

absl::Status IndexReader::On(const JsonEvent& event) {
  const bool begins = event.kind == JsonKind::kBeginObject ||
                      event.kind == JsonKind::kBeginArray;
  const bool ends =
      event.kind == JsonKind::kEndObject || event.kind == JsonKind::kEndArray;
  if (ends) --depth_;
  if (depth_ == 1 && event.kind == JsonKind::kKey) {
    part_ = event.text == "weight_map" ? Part::kWeightMap
            : event.text == "metadata" ? Part::kMetadata
                                       : Part::kOther;
    if (part_ == Part::kWeightMap &&
        std::exchange(index_.has_weight_map, true)) {
      return absl::DataLossError("safetensors_index: weight_map twice");
    }
  } else if (depth_ == 1 && part_ == Part::kWeightMap && !ends &&
             event.kind != JsonKind::kBeginObject) {
    return absl::DataLossError("safetensors_index: weight_map is no object");
  } else if (depth_ == 2 && !ends) {
    PENSTOCK_RETURN_IF_ERROR(OnWeight(event));
  }
  if (begins) ++depth_;
  return absl::OkStatus();
}

// At depth 2: an entry of weight_map or metadata.
absl::Status IndexReader::OnWeight(const JsonEvent& event) {
  if (event.kind == JsonKind::kKey) {
    key_ = std::string(event.text);
    return absl::OkStatus();
  }
  const bool is_text = event.kind == JsonKind::kString;
  if (part_ == Part::kMetadata && is_text) {
    index_.metadata.emplace_back(std::move(key_), event.text);
  }
  if (part_ != Part::kWeightMap) return absl::OkStatus();
  const absl::string_view name = event.text;
  if (!is_text || name.empty() || name == "." || name == ".." ||
      name.find_first_of(absl::string_view("/\\\0", 3)) != name.npos) {
    return absl::DataLossError(
        absl::StrCat("safetensors_index: tensor ", QuotedRecordName(key_),
                     ": expected the name of a file beside the index, found ",
                     is_text ? QuotedRecordName(name) : "no string"));
  }
  if (!index_.shard_of.try_emplace(key_, name).second) {
    return absl::DataLossError(absl::StrCat("safetensors_index: tensor ",
                                            QuotedRecordName(key_), " twice"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardIndex> ReadIndex(const RandomAccessFile& file) {
  if (file.size_bytes() > kMaxSafetensorsHeaderBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "safetensors_index: ", file.size_bytes(),
        " bytes of JSON, the limit is ", kMaxSafetensorsHeaderBytes));
  }
  std::string json(file.size_bytes(), '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      0, absl::MakeSpan(reinterpret_cast<uint8_t*>(json.data()), json.size())));
  IndexReader reader;
  const absl::Status read =
      ReadJson(json, INT64_MAX,
               [&reader](const JsonEvent& event) { return reader.On(event); });
  if (!read.ok() && absl::StartsWith(read.message(), "safetensors_")) {
    return read;
  }
  ShardIndex index = reader.Take();
  if (!read.ok() || !index.has_weight_map) {
    return absl::InvalidArgumentError(absl::StrCat(
        "JSON text that is no index of shards: ",
        read.ok() ? "it has no weight_map" : read.message(),
        "; perhaps a configuration, or an error message of a download"));
  }
  return index;
}

std::string Listed(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  const size_t num_left = names.size() - std::min(names.size(), kMaxListed);
  names.resize(names.size() - num_left);
  for (std::string& name : names) name = QuotedRecordName(name);
  return absl::StrCat(
      absl::StrJoin(names, ", "),
      num_left > 0 ? absl::StrCat(" and ", num_left, " more") : "");
}

// That the shard has what the index says, all of it and nothing else.
absl::Status CheckShard(const ShardIndex& index, const std::string& shard,
                        const SafetensorsHeader& header,
                        std::vector<std::string> expected) {
  std::vector<std::string> extra;
  absl::flat_hash_map<std::string, bool> found;
  for (const std::string& name : expected) found[name] = false;
  for (const SafetensorsEntry& entry : header.tensors) {
    const auto place = found.find(entry.name);
    if (place == found.end()) {
      extra.push_back(entry.name);
    } else {
      place->second = true;
    }
  }
  expected.erase(
      std::remove_if(expected.begin(), expected.end(),
                     [&found](const std::string& name) { return found[name]; }),
      expected.end());
  if (!expected.empty()) {
    return absl::DataLossError(absl::StrCat(
        "safetensors_index: shard ", shard, " does not have ",
        Listed(std::move(expected)), ", which the index expects there"));
  }
  if (!extra.empty()) {
    const bool elsewhere = index.shard_of.contains(extra[0]);
    return absl::DataLossError(absl::StrCat(
        "safetensors_index: shard ", shard, " has ", Listed(std::move(extra)),
        elsewhere ? ", which the index expects elsewhere"
                  : ", which the index does not name"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ForeignFile> OpenShards(FileSystem& files,
                                       const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(ShardIndex index, ReadIndex(file));
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, shard] : index.shard_of) {
    shards[shard].push_back(tensor);
  }
  StringPairs metadata = std::move(index.metadata);
  // A tree is one of all shards.
  absl::flat_hash_set<std::string> keys = {std::string(kTreeKey)};
  for (const auto& pair : metadata) keys.insert(pair.first);
  Assembler assembler;
  for (auto& [name, tensors] : shards) {
    const std::string path = absl::StrCat(DirectoryOf(file.path()), "/", name);
    absl::StatusOr<std::unique_ptr<RandomAccessFile>> shard =
        files.OpenRead(path);
    if (!shard.ok()) return Annotate(shard.status(), "shard");
    absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(**shard);
    if (!header.ok()) return Annotate(header.status(), path);
    PENSTOCK_RETURN_IF_ERROR(
        CheckShard(index, name, *header, std::move(tensors)));
    for (auto& pair : header->metadata) {
      if (keys.insert(pair.first).second) metadata.push_back(std::move(pair));
    }
    PENSTOCK_RETURN_IF_ERROR(assembler.Add(*std::move(shard), *header));
  }
  PENSTOCK_ASSIGN_OR_RETURN(ForeignFile result,
                            assembler.Finish(std::move(metadata)));
  // One shard is not the file that was opened, either.
  result.file = nullptr;
  result.extents.clear();
  return result;
}

}  // namespace

absl::StatusOr<ForeignFile> OpenSafetensors(
    std::shared_ptr<const RandomAccessFile> file) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> opened = OpenOne(std::move(file));
  if (!opened.ok()) return Annotate(opened.status(), path);
  return opened;
}

absl::StatusOr<ForeignFile> OpenSafetensorsIndex(
    FileSystem& files, const RandomAccessFile& index) {
  absl::StatusOr<ForeignFile> opened = OpenShards(files, index);
  if (!opened.ok()) return Annotate(opened.status(), index.path());
  return opened;
}

}  // namespace penstock
