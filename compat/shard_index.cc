#include "compat/shard_index.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compat/json_text.h"
#include "compat/zip_name.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxListed = 10;

// Takes the events of an index's JSON.
class IndexReader {
 public:
  absl::Status On(const JsonEvent& event);
  bool has_weight_map() const { return has_weight_map_; }
  ShardIndex Take() { return std::move(index_); }

 private:
  absl::Status OnWeight(const JsonEvent& event);

  enum class Part { kOther, kWeightMap, kMetadata };

  ShardIndex index_;
  bool has_weight_map_ = false;
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
    if (part_ == Part::kWeightMap && std::exchange(has_weight_map_, true)) {
      return absl::DataLossError("shard_index: weight_map twice");
    }
  } else if (depth_ == 1 && part_ == Part::kWeightMap && !ends &&
             event.kind != JsonKind::kBeginObject) {
    return absl::DataLossError("shard_index: weight_map is no object");
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
  if (!is_text || !IsFileName(name)) {
    return absl::DataLossError(
        absl::StrCat("shard_index: tensor ", QuotedRecordName(key_),
                     ": expected the name of a file beside the index, found ",
                     is_text ? QuotedRecordName(name) : "no string"));
  }
  if (!index_.shard_of.try_emplace(key_, name).second) {
    return absl::DataLossError(
        absl::StrCat("shard_index: tensor ", QuotedRecordName(key_), " twice"));
  }
  index_.shards[std::string(name)].push_back(key_);
  return absl::OkStatus();
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

}  // namespace

absl::StatusOr<ShardIndex> ReadShardIndex(const RandomAccessFile& file) {
  if (file.size_bytes() > kMaxIndexBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("shard_index: ", file.size_bytes(),
                     " bytes of JSON, the limit is ", kMaxIndexBytes));
  }
  std::string json(file.size_bytes(), '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      0, absl::MakeSpan(reinterpret_cast<uint8_t*>(json.data()), json.size())));
  IndexReader reader;
  const absl::Status read =
      ReadJson(json, INT64_MAX,
               [&reader](const JsonEvent& event) { return reader.On(event); });
  if (!read.ok() && absl::StartsWith(read.message(), "shard_index")) {
    return read;
  }
  if (!read.ok() || !reader.has_weight_map()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "JSON text that is no index of shards: ",
        read.ok() ? "it has no weight_map" : read.message(),
        "; perhaps a configuration, or an error message of a download"));
  }
  return reader.Take();
}

absl::Status CheckShard(const ShardIndex& index, const std::string& shard,
                        absl::Span<const absl::string_view> found) {
  const std::vector<std::string>& expected = index.shards.at(shard);
  const absl::flat_hash_set<absl::string_view> expected_set(expected.begin(),
                                                            expected.end());
  const absl::flat_hash_set<absl::string_view> found_set(found.begin(),
                                                         found.end());
  std::vector<std::string> missing;
  for (const std::string& name : expected) {
    if (!found_set.contains(name)) missing.push_back(name);
  }
  if (!missing.empty()) {
    return absl::DataLossError(absl::StrCat(
        "shard_index: shard ", shard, " does not have ",
        Listed(std::move(missing)), ", which the index expects there"));
  }
  std::vector<std::string> extra;
  for (const absl::string_view name : found) {
    if (!expected_set.contains(name)) extra.emplace_back(name);
  }
  if (extra.empty()) return absl::OkStatus();
  const bool elsewhere = index.shard_of.contains(extra[0]);
  return absl::DataLossError(absl::StrCat(
      "shard_index: shard ", shard, " has ", Listed(std::move(extra)),
      elsewhere ? ", which the index expects elsewhere"
                : ", which the index does not name"));
}

}  // namespace penstock
