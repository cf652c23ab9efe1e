#include "compat/safetensors_file.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/extent_source.h"
#include "compat/file_pool.h"
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

// Takes in one file after the other, then makes the ForeignFile of all.
class Assembler {
 public:
  absl::Status Add(std::shared_ptr<const RandomAccessFile> file,
                   const SafetensorsHeader& header);
  // `file`: the only one that was taken in; null: they are shards.
  absl::StatusOr<ForeignFile> Finish(
      StringPairs metadata, std::shared_ptr<const RandomAccessFile> file);

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

absl::StatusOr<ForeignFile> Assembler::Finish(
    StringPairs metadata, std::shared_ptr<const RandomAccessFile> file) {
  result_.file = std::move(file);
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
  SetStored(stored_, result_);
  return std::move(result_);
}

absl::StatusOr<ForeignFile> OpenOne(
    std::shared_ptr<const RandomAccessFile> file) {
  PENSTOCK_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ReadSafetensorsHeader(*file));
  Assembler assembler;
  PENSTOCK_RETURN_IF_ERROR(assembler.Add(file, header));
  return assembler.Finish(std::move(header.metadata), std::move(file));
}

// -------------------------------------------------------------------- Shards

absl::StatusOr<ForeignFile> OpenShards(FileSystem& files,
                                       const std::string& directory,
                                       ShardIndex index) {
  StringPairs metadata = std::move(index.metadata);
  // A tree is one of all shards.
  absl::flat_hash_set<std::string> keys = {std::string(kTreeKey)};
  for (const auto& pair : metadata) keys.insert(pair.first);
  const std::shared_ptr<FilePool> pool = FilePool::Make(files);
  Assembler assembler;
  for (const auto& [name, tensors] : index.shards) {
    const std::string path = absl::StrCat(directory, "/", name);
    absl::StatusOr<std::shared_ptr<const RandomAccessFile>> shard =
        pool->Open(path);
    if (!shard.ok()) return Annotate(shard.status(), "shard");
    absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(**shard);
    if (!header.ok()) return Annotate(header.status(), path);
    std::vector<absl::string_view> found;
    for (const SafetensorsEntry& entry : header->tensors) {
      found.push_back(entry.name);
    }
    PENSTOCK_RETURN_IF_ERROR(CheckShard(index, name, found));
    for (auto& pair : header->metadata) {
      if (keys.insert(pair.first).second) metadata.push_back(std::move(pair));
    }
    PENSTOCK_RETURN_IF_ERROR(assembler.Add(*std::move(shard), *header));
  }
  // One shard is not the file that was opened, either.
  return assembler.Finish(std::move(metadata), nullptr);
}

}  // namespace

absl::StatusOr<ForeignFile> OpenSafetensors(
    std::shared_ptr<const RandomAccessFile> file) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> opened = OpenOne(std::move(file));
  if (!opened.ok()) return Annotate(opened.status(), path);
  return opened;
}

absl::StatusOr<ForeignFile> OpenSafetensorsShards(FileSystem& files,
                                                  const std::string& index_path,
                                                  ShardIndex index) {
  absl::StatusOr<ForeignFile> opened =
      OpenShards(files, DirectoryOf(index_path), std::move(index));
  if (!opened.ok()) return Annotate(opened.status(), index_path);
  return opened;
}

}  // namespace penstock
