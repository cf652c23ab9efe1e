#include "compat/safetensors_writer.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "compat/json_text.h"
#include "compat/safetensors_tree.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/state_dict.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr uint8_t kResolved = TensorFlags::kConjugated | TensorFlags::kNegated;

constexpr absl::string_view kExtension = ".safetensors";

// Equal for equal views of one storage.
std::string ViewOf(const NamedTensor& entry) {
  const Tensor& tensor = entry.tensor;
  return absl::StrCat(static_cast<int>(tensor.dtype()), "/",
                      entry.flags & kResolved, "/", tensor.offset(), "/",
                      absl::StrJoin(tensor.shape(), ","), "/",
                      absl::StrJoin(tensor.strides(), ","));
}

// What stands against a name; empty where it is good.
absl::string_view NameProblem(absl::string_view name) {
  if (name == kSafetensorsMetadata) return "a name that the format keeps";
  if (absl::StrContains(name, '\0')) return "NUL in its name";
  return IsJsonText(name) ? "" : "a name that is not UTF-8";
}

// The steps of PlanSafetensors. Thread-compatible.
class Planner {
 public:
  Planner(const Value& root, const SafetensorsOptions& options)
      : root_(root), options_(options) {}

  absl::StatusOr<SafetensorsPlan> Plan();

 private:
  // A tensor that is written: its number among the entries.
  using Numbers = std::vector<size_t>;

  const NamedTensor& entry(size_t number) const {
    return tensors_.entries()[number];
  }
  void FindTies();
  void AddTie(const Numbers& group);
  void NoteOverlaps(Numbers numbers);
  void WriteTreeText();
  void MakeMetadata();
  void CheckTensors();
  absl::Status Refusal() const;
  std::vector<Numbers> Shards() const;
  absl::StatusOr<SafetensorsOutput> Lay(Numbers numbers,
                                        const StringPairs& metadata);
  absl::Status AddTensor(size_t number, SafetensorsOutput& output);
  std::string IndexJson(absl::Span<const Numbers> shards) const;

  const Value& root_;
  const SafetensorsOptions& options_;
  StateDict tensors_;
  Ties ties_;
  StringPairs dropped_;  // name, the one that is kept
  absl::flat_hash_set<size_t> left_out_;
  Numbers written_;   // in the tree's order
  std::string tree_;  // empty: none
  StringPairs metadata_;
  std::vector<std::string> refused_;
  absl::flat_hash_set<const Storage*> used_;  // storages laid out as they are
  SafetensorsPlan plan_;
};

absl::StatusOr<SafetensorsPlan> Planner::Plan() {
  PENSTOCK_ASSIGN_OR_RETURN(tensors_, StateDict::FromValue(root_));
  FindTies();
  WriteTreeText();
  MakeMetadata();
  CheckTensors();
  PENSTOCK_RETURN_IF_ERROR(Refusal());
  const std::vector<Numbers> shards = Shards();
  if (shards.size() == 1) {
    if (!tree_.empty()) metadata_.emplace_back(kTreeKey, tree_);
    PENSTOCK_ASSIGN_OR_RETURN(SafetensorsOutput output,
                              Lay(shards[0], metadata_));
    output.file_name = options_.file_name;
    plan_.files.push_back(std::move(output));
    return std::move(plan_);
  }
  const std::string stem(absl::StripSuffix(options_.file_name, kExtension));
  for (size_t i = 0; i < shards.size(); ++i) {
    PENSTOCK_ASSIGN_OR_RETURN(SafetensorsOutput output,
                              Lay(shards[i], metadata_));
    output.file_name = absl::StrFormat("%s-%05d-of-%05d%s", stem, i + 1,
                                       shards.size(), kExtension);
    plan_.files.push_back(std::move(output));
  }
  plan_.index_file_name = absl::StrCat(stem, kExtension, ".index.json");
  plan_.index_json = IndexJson(shards);
  return std::move(plan_);
}

// Groups what is the same view of one storage, and says what shares memory.
void Planner::FindTies() {
  absl::flat_hash_map<const Storage*, Numbers> sharing;
  std::vector<const Storage*> order;
  for (size_t i = 0; i < tensors_.entries().size(); ++i) {
    if (entry(i).tensor.num_elements() == 0) continue;
    Numbers& numbers = sharing[entry(i).tensor.storage().get()];
    if (numbers.empty()) order.push_back(entry(i).tensor.storage().get());
    numbers.push_back(i);
  }
  for (const Storage* storage : order) {
    Numbers& numbers = sharing[storage];
    if (numbers.size() < 2) continue;
    std::sort(numbers.begin(), numbers.end(), [this](size_t a, size_t b) {
      return entry(a).name < entry(b).name;
    });
    Numbers copies;
    std::vector<Numbers> groups;
    absl::flat_hash_map<std::string, size_t> group_of;
    for (const size_t number : numbers) {
      const auto [group, is_new] =
          group_of.try_emplace(ViewOf(entry(number)), groups.size());
      if (is_new) groups.emplace_back();
      groups[group->second].push_back(number);
      if (is_new || options_.ties == SafetensorsTies::kCopy) {
        copies.push_back(number);
      }
    }
    for (const Numbers& group : groups) AddTie(group);
    NoteOverlaps(std::move(copies));
  }
}

void Planner::AddTie(const Numbers& group) {
  if (group.size() < 2) return;
  std::vector<std::string>& names = ties_.emplace_back();
  for (const size_t number : group) {
    names.push_back(entry(number).name);
    if (number == group[0] || options_.ties == SafetensorsTies::kCopy) continue;
    left_out_.insert(number);
    dropped_.emplace_back(names.back(), names[0]);
    plan_.warnings.push_back(
        absl::StrCat(names.back(), ": left out, it is the same as ", names[0]));
  }
}

// Warns of tensors of one storage whose bytes are written more than once.
void Planner::NoteOverlaps(Numbers numbers) {
  const auto range_of = [this](size_t number) {
    return entry(number).tensor.byte_range();
  };
  std::sort(numbers.begin(), numbers.end(), [&](size_t a, size_t b) {
    return std::make_pair(range_of(a).begin, a) <
           std::make_pair(range_of(b).begin, b);
  });
  int64_t end = 0;
  std::vector<std::string> names;
  const auto note = [&] {
    if (names.size() > 1) {
      std::sort(names.begin(), names.end());
      plan_.warnings.push_back(
          absl::StrCat("share memory, each is written in full: ",
                       absl::StrJoin(names, ", ")));
    }
    names.clear();
  };
  for (const size_t number : numbers) {
    if (range_of(number).begin >= end) note();
    names.push_back(entry(number).name);
    end = std::max(end, range_of(number).end);
  }
  note();
}

void Planner::WriteTreeText() {
  if (IsFlat(root_) && ties_.empty()) return;
  TreeText text = WriteTree(root_, tensors_, ties_);
  tree_ = std::move(text.json);
  refused_ = std::move(text.refused);
  for (std::string& warning : text.warnings) {
    plan_.warnings.push_back(std::move(warning));
  }
}

void Planner::MakeMetadata() {
  bool has_format = false;
  absl::flat_hash_set<std::string> keys;
  for (const auto& [key, value] : options_.metadata) {
    // What an earlier --ties drop said of a tensor that is written now.
    const bool is_stale =
        tensors_.Find(key) != nullptr && tensors_.Find(value) != nullptr;
    if (key == kTreeKey || is_stale || !keys.insert(key).second) continue;
    has_format = has_format || key == "format";
    metadata_.emplace_back(key, value);
  }
  if (!has_format) metadata_.emplace_back("format", "pt");
  for (auto& pair : dropped_) {
    if (keys.insert(pair.first).second) metadata_.push_back(std::move(pair));
  }
}

// Everything at once, so that nobody has to come back for the next one.
void Planner::CheckTensors() {
  for (size_t i = 0; i < tensors_.entries().size(); ++i) {
    const NamedTensor& tensor = entry(i);
    const std::string name = QuotedRecordName(tensor.name);
    if (!left_out_.contains(i)) written_.push_back(i);
    if (const absl::string_view problem = NameProblem(tensor.name);
        !problem.empty()) {
      refused_.push_back(absl::StrCat(name, ": ", problem));
    } else if (SafetensorsName(tensor.tensor.dtype()).empty()) {
      refused_.push_back(absl::StrCat(tensor.name, ": dtype ",
                                      InfoOf(tensor.tensor.dtype()).name));
    } else if (tensor.tensor.dtype() == DType::kFloat4E2M1FNx2 &&
               tensor.tensor.shape().empty()) {
      refused_.push_back(absl::StrCat(tensor.name, ": a scalar of dtype F4"));
    } else if (tensor.tensor.size_bytes() == INT64_MAX) {
      refused_.push_back(absl::StrCat(tensor.name, ": over 2^63 bytes"));
    }
  }
  for (const auto& [key, value] : options_.metadata) {
    if (IsJsonText(key) && IsJsonText(value)) continue;
    refused_.push_back(
        absl::StrCat("metadata ", QuotedRecordName(key), ": not UTF-8"));
  }
}

absl::Status Planner::Refusal() const {
  if (refused_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("safetensors cannot hold, of ", tensors_.size(),
                   " tensors, these ", refused_.size(),
                   "; leave them out with --drop, or write another format: ",
                   absl::StrJoin(refused_, "; ")));
}

std::vector<Planner::Numbers> Planner::Shards() const {
  std::vector<Numbers> shards;
  int64_t bytes = 0;  // of the last shard; one that is full takes nothing more
  for (const size_t number : written_) {
    const int64_t size = entry(number).tensor.size_bytes();
    const bool is_full =
        options_.shard_bytes > 0 &&
        (bytes > options_.shard_bytes || size > options_.shard_bytes - bytes);
    if (shards.empty() || (is_full && !shards.back().empty())) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(number);
    bytes += size;
  }
  if (shards.empty()) shards.emplace_back();
  return shards;
}

absl::StatusOr<SafetensorsOutput> Planner::Lay(Numbers numbers,
                                               const StringPairs& metadata) {
  std::sort(numbers.begin(), numbers.end(), [this](size_t a, size_t b) {
    const int rank_a = SafetensorsRank(entry(a).tensor.dtype());
    const int rank_b = SafetensorsRank(entry(b).tensor.dtype());
    return rank_a != rank_b ? rank_a < rank_b : entry(a).name < entry(b).name;
  });
  SafetensorsOutput output;
  std::vector<SafetensorsEntry> entries;
  int64_t end = 0;
  for (const size_t number : numbers) {
    const NamedTensor& tensor = entry(number);
    const auto shape = tensor.tensor.shape();
    const auto next = CheckedAdd(end, tensor.tensor.size_bytes());
    if (!next) return absl::InvalidArgumentError("over 2^63 bytes of tensors");
    entries.push_back({tensor.name, tensor.tensor.dtype(),
                       std::vector<int64_t>(shape.begin(), shape.end()), end,
                       *next});
    end = *next;
    PENSTOCK_RETURN_IF_ERROR(AddTensor(number, output));
  }
  PENSTOCK_ASSIGN_OR_RETURN(std::string header,
                            FormatSafetensorsHeader(entries, metadata));
  output.layout.glue_bytes.assign(output.layout.storages.size() + 1, 0);
  output.layout.glue_bytes[0] = static_cast<int64_t>(header.size());
  output.layout.glue = GlueFrom(std::move(header));
  return output;
}

absl::Status Planner::AddTensor(size_t number, SafetensorsOutput& output) {
  const Tensor& tensor = entry(number).tensor;
  if (tensor.num_elements() == 0) return absl::OkStatus();
  absl::StatusOr<std::shared_ptr<const Storage>> storage =
      DenseStorageOf(tensor, entry(number).flags, used_, output.derivations);
  if (!storage.ok()) return Annotate(storage.status(), entry(number).name);
  output.layout.storages.push_back(*std::move(storage));
  output.names.push_back(entry(number).name);
  return absl::OkStatus();
}

// As huggingface_hub writes it: sorted, two spaces.
std::string Planner::IndexJson(absl::Span<const Numbers> shards) const {
  int64_t total_bytes = 0;
  std::map<absl::string_view, absl::string_view> weight_map;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const size_t number : shards[i]) {
      total_bytes += entry(number).tensor.size_bytes();
      weight_map[entry(number).name] = plan_.files[i].file_name;
    }
  }
  std::string json = "{\n  \"metadata\": {\n";
  if (!tree_.empty()) {
    absl::StrAppend(&json, "    \"", kTreeKey, "\": ");
    AppendJsonString(tree_, json);
    json += ",\n";
  }
  absl::StrAppend(&json, "    \"total_size\": ", total_bytes,
                  "\n  },\n  \"weight_map\": {\n");
  absl::string_view comma;
  for (const auto& [name, file_name] : weight_map) {
    absl::StrAppend(&json, comma, "    ");
    comma = ",\n";
    AppendJsonString(name, json);
    json += ": ";
    AppendJsonString(file_name, json);
  }
  return json + "\n  }\n}\n";
}

}  // namespace

absl::StatusOr<SafetensorsPlan> PlanSafetensors(
    const Value& root, const SafetensorsOptions& options) {
  return Planner(root, options).Plan();
}

}  // namespace penstock
