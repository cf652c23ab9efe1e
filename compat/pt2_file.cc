#include "compat/pt2_file.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "compat/merged_file.h"
#include "compat/pt2_config.h"
#include "compat/sub_file.h"
#include "compat/zip_name.h"
#include "core/graph_builder.h"
#include "core/graph_rewrite.h"
#include "core/python_shapes.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr int64_t kMaxFormatBytes = 4096;
constexpr int64_t kMaxConfigBytes = int64_t{1} << 30;
constexpr string_view kConstants = "constants.";

// A config of one program.
struct Config {
  string_view suffix;  // of its record
  string_view folder;  // of it and of what it names
  string_view prefix;  // of the tensors' names
};
constexpr Config kConfigs[] = {
    {"_weights_config.json", "data/weights/", ""},
    {"_model_param_config.json", "data/weights/", ""},
    {"_constants_config.json", "data/constants/", kConstants},
};

// Of files before torch 2.8.
struct OldRecord {
  string_view name;
  string_view prefix;
};
constexpr OldRecord kOldRecords[] = {
    {"serialized_state_dict.pt", ""},
    {"serialized_constants.pt", kConstants},
};

class Pt2Opener {
 public:
  Pt2Opener(const TorchArchive& archive, const InflateOptions& inflate)
      : archive_(archive), storages_(archive, inflate) {}

  absl::StatusOr<ForeignFile> Open(bool big_endian);

 private:
  std::vector<std::string> Programs() const;
  absl::Status AddConfig(const Config& config, int64_t record, NodeId root);
  absl::Status AddTensor(const Config& config, const Pt2Entry& entry,
                         NodeId root);

  const TorchArchive& archive_;
  ArchiveStorages storages_;
  GraphBuilder builder_;
  ForeignFile pt2_;
};

// In the order of the directory.
std::vector<std::string> Pt2Opener::Programs() const {
  std::vector<std::string> programs;
  for (const ZipEntry& entry : archive_.directory.entries()) {
    for (const Config& config : kConfigs) {
      string_view record = archive_.RecordName(entry);
      if (absl::ConsumePrefix(&record, config.folder) &&
          absl::ConsumeSuffix(&record, config.suffix) &&
          std::find(programs.begin(), programs.end(), record) ==
              programs.end()) {
        programs.emplace_back(record);
      }
    }
  }
  return programs;
}

absl::StatusOr<ForeignFile> Pt2Opener::Open(bool big_endian) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::string format,
      ReadSmallRecord(archive_, archive_.Find("archive_format"),
                      kMaxFormatBytes));
  if (format != "pt2") {
    return absl::UnimplementedError(
        absl::StrCat("unsupported_format: an archive of the format ",
                     QuotedRecordName(format), ", expected \"pt2\""));
  }
  const std::vector<std::string> programs = Programs();
  if (programs.empty()) {
    return absl::UnimplementedError(
        "unsupported_format: an exported program (.pt2) without weights");
  }
  const NodeId root = builder_.Dict();
  for (const std::string& program : programs) {
    NodeId dict = root;
    if (programs.size() > 1) {
      dict = builder_.Dict();
      PENSTOCK_RETURN_IF_ERROR(
          builder_.SetItem(root, builder_.Str(program), dict));
    }
    for (const Config& config : kConfigs) {
      const std::string record =
          absl::StrCat(config.folder, program, config.suffix);
      const int64_t entry = archive_.Find(record);
      if (entry < 0) continue;
      const absl::Status added = AddConfig(config, entry, dict);
      if (!added.ok()) return Annotate(added, record);
    }
  }
  PENSTOCK_ASSIGN_OR_RETURN(pt2_.root, std::move(builder_).Finish(root));
  pt2_.format = ForeignFormat::kPt2;
  pt2_.writer = "torch.export.save";
  std::move(storages_).Finish(big_endian, pt2_);
  return std::move(pt2_);
}

absl::Status Pt2Opener::AddConfig(const Config& config, int64_t record,
                                  NodeId root) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string json,
                            ReadSmallRecord(archive_, record, kMaxConfigBytes));
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Pt2Entry> entries,
                            ReadPt2Config(json));
  std::vector<std::string> left;
  for (const Pt2Entry& entry : entries) {
    if (!config.prefix.empty() && !entry.is_tensor) {
      left.push_back(QuotedRecordName(entry.name));
      continue;
    }
    const absl::Status added = AddTensor(config, entry, root);
    if (!added.ok()) return Annotate(added, QuotedRecordName(entry.name));
  }
  if (!left.empty()) {
    pt2_.warnings.push_back(absl::StrCat(
        left.size(), " constants are no tensors and are not read: ", left[0],
        left.size() > 1 ? ", ..." : ""));
  }
  return absl::OkStatus();
}

absl::Status Pt2Opener::AddTensor(const Config& config, const Pt2Entry& entry,
                                  NodeId root) {
  if (entry.is_pickled || !entry.is_tensor) {
    return absl::UnimplementedError(
        "unsupported_format: a pickled object (of a tensor subclass?)");
  }
  const std::string record = absl::StrCat(config.folder, entry.path_name);
  const int64_t number = archive_.Find(record);
  if (number < 0) {
    return absl::DataLossError(
        absl::StrCat("storage_missing: no record ", QuotedRecordName(record)));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<const Storage> storage,
                            storages_.Get(number, "cpu"));
  const absl::StatusOr<Tensor> tensor = Tensor::Make(
      storage, entry.dtype, entry.sizes, entry.strides, entry.offset);
  if (!tensor.ok() || entry.sizes.size() != entry.strides.size()) {
    return absl::DataLossError(
        absl::StrCat("tensor_bounds: record ", QuotedRecordName(record), ": ",
                     tensor.ok() ? "sizes and strides differ in number"
                                 : tensor.status().message()));
  }
  const uint8_t flags = entry.requires_grad ? TensorFlags::kRequiresGrad : 0;
  return builder_.SetItem(root,
                          builder_.Str(absl::StrCat(config.prefix, entry.name)),
                          builder_.Tensor(*tensor, flags));
}

// Appends a dict's pairs, its keys behind `prefix`.
absl::Status AddPairs(const ForeignFile& part, string_view prefix,
                      PartPlace place, MergedFile& merged,
                      std::vector<NodeId>& pairs) {
  if (!IsMapping(part.root)) {
    return absl::DataLossError("tensor_args: it holds no dict");
  }
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId root, merged.Add(part, place));
  const NodeId shift = root - part.root.id();
  for (const PlacedPair& pair : PairsOf(part.root)) {
    NodeId key = pair.key.id() + shift;
    if (!prefix.empty() && pair.key.kind() == NodeKind::kStr) {
      key = AddText(merged.tables(), NodeKind::kStr,
                    absl::StrCat(prefix, pair.key.AsBytes()));
    }
    pairs.push_back(key);
    pairs.push_back(pair.value.id() + shift);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ForeignFile> OpenPt2(const TorchArchive& archive,
                                    bool big_endian,
                                    const InflateOptions& inflate) {
  return Pt2Opener(archive, inflate).Open(big_endian);
}

absl::StatusOr<ForeignFile> OpenOldPt2(
    std::shared_ptr<const RandomAccessFile> file, const ZipDirectory& directory,
    const NestedOpener& open) {
  MergedFile merged;
  const int64_t number = merged.AddFile(file);
  std::vector<NodeId> pairs;
  for (const auto& [record, prefix] : kOldRecords) {
    const int64_t entry = directory.Find(record);
    if (entry < 0) {
      return absl::UnimplementedError(absl::StrCat(
          "unsupported_format: an exported program without ", record));
    }
    const ZipEntry& found = directory.entries()[entry];
    if (found.size_bytes == 0) continue;
    if (found.deflated) {
      return absl::UnimplementedError(absl::StrCat(
          "unsupported_format: ", record,
          " is deflated; pack the file again without compression (zip -0)"));
    }
    const absl::StatusOr<ForeignFile> part = open(std::make_shared<SubFile>(
        file, found.payload_offset, found.size_bytes));
    absl::Status status = part.status();
    if (status.ok()) {
      status = AddPairs(*part, prefix, {number, found.payload_offset}, merged,
                        pairs);
    }
    if (!status.ok()) return Annotate(status, record);
  }
  const NodeId root = AddContainer(merged.tables(), NodeKind::kDict, pairs);
  PENSTOCK_ASSIGN_OR_RETURN(
      ForeignFile result,
      std::move(merged).Finish(root, ForeignFormat::kPt2, std::move(file)));
  result.writer = "torch.export.save (before 2.8)";
  return result;
}

}  // namespace penstock
