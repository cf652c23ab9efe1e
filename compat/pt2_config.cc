#include "compat/pt2_config.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/json_text.h"
#include "compat/zip_name.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr int64_t kMaxDepth = 64;
constexpr int64_t kStrided = 7;

// torch/_export/serde/schema.py's ScalarType.
std::optional<DType> DTypeOf(int64_t code) {
  switch (code) {
    case 1:
      return DType::kUInt8;
    case 2:
      return DType::kInt8;
    case 3:
      return DType::kInt16;
    case 4:
      return DType::kInt32;
    case 5:
      return DType::kInt64;
    case 6:
      return DType::kFloat16;
    case 7:
      return DType::kFloat32;
    case 8:
      return DType::kFloat64;
    case 9:
      return DType::kComplex32;
    case 10:
      return DType::kComplex64;
    case 11:
      return DType::kComplex128;
    case 12:
      return DType::kBool;
    case 13:
      return DType::kBFloat16;
    case 28:
      return DType::kUInt16;
    case 29:
      return DType::kFloat8E4M3FN;
    case 30:
      return DType::kFloat8E5M2;
    case 31:
      return DType::kFloat8E4M3FNUZ;
    case 32:
      return DType::kFloat8E5M2FNUZ;
    case 33:
      return DType::kFloat8E8M0FNU;
    case 34:
      return DType::kUInt32;
    case 35:
      return DType::kUInt64;
    default:
      return std::nullopt;
  }
}

// Takes the events of the JSON.
class ConfigReader {
 public:
  absl::Status On(const JsonEvent& event);
  absl::StatusOr<std::vector<Pt2Entry>> Finish();

 private:
  // What a scalar is, by the keys of the objects around it: "config", the
  // entry's name, then at most three more.
  bool IsAt(std::initializer_list<string_view> keys) const;
  absl::Status OnScalar(const JsonEvent& event);
  absl::Status OnMeta(const JsonEvent& event);
  absl::Status Bad(string_view what) const {
    return absl::DataLossError(absl::StrCat(
        "pt2_config: ", keys_.size() > 1 ? QuotedRecordName(keys_[1]) : "",
        ": ", what));
  }
  absl::Status Unknown(string_view what) const {
    return absl::UnimplementedError(absl::StrCat(
        "unsupported_format: ", QuotedRecordName(keys_[1]), ": ", what));
  }
  absl::StatusOr<int64_t> Count(const JsonEvent& event) const {
    if (event.kind != JsonKind::kUnsigned ||
        event.number >
            static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Bad(absl::StrCat(keys_[3], " is no number from 0 on"));
    }
    return static_cast<int64_t>(event.number);
  }

  std::vector<std::string> keys_;  // of the open objects
  bool has_config_ = false;
  absl::flat_hash_set<std::string> names_;
  std::vector<Pt2Entry> entries_;
};

absl::Status ConfigReader::On(const JsonEvent& event) {
  switch (event.kind) {
    case JsonKind::kBeginObject:
      if (keys_.size() == 1 && keys_[0] == "config") has_config_ = true;
      if (IsAt({"tensor_meta"})) entries_.back().is_tensor = true;
      keys_.emplace_back();
      return absl::OkStatus();
    case JsonKind::kEndObject:
      keys_.pop_back();
      return absl::OkStatus();
    case JsonKind::kKey:
      keys_.back() = std::string(event.text);
      if (keys_.size() != 2 || keys_[0] != "config") return absl::OkStatus();
      if (!names_.insert(keys_[1]).second) return Bad("twice");
      entries_.emplace_back().name = keys_[1];
      return absl::OkStatus();
    case JsonKind::kBeginArray:
    case JsonKind::kEndArray:
      return absl::OkStatus();
    default:
      return OnScalar(event);
  }
}

bool ConfigReader::IsAt(std::initializer_list<string_view> keys) const {
  if (keys_.size() != keys.size() + 2 || keys_[0] != "config") return false;
  return std::equal(keys.begin(), keys.end(), keys_.begin() + 2);
}

absl::Status ConfigReader::OnScalar(const JsonEvent& event) {
  if (keys_.size() == 2 && keys_[0] == "config") return Bad("no object");
  if (keys_.size() < 3 || keys_[0] != "config") return absl::OkStatus();
  Pt2Entry& entry = entries_.back();
  if (IsAt({"path_name"})) {
    if (event.kind != JsonKind::kString) return Bad("path_name is no text");
    entry.path_name = std::string(event.text);
  } else if (IsAt({"use_pickle"})) {
    entry.is_pickled = event.kind == JsonKind::kBool && event.number != 0;
  } else if (IsAt({"is_param"})) {
    entry.is_param = event.kind == JsonKind::kBool && event.number != 0;
  } else if (keys_[2] == "tensor_meta" && keys_.size() >= 4) {
    return OnMeta(event);
  }
  return absl::OkStatus();
}

absl::Status ConfigReader::OnMeta(const JsonEvent& event) {
  Pt2Entry& entry = entries_.back();
  if (IsAt({"tensor_meta", "requires_grad"})) {
    entry.requires_grad = event.kind == JsonKind::kBool && event.number != 0;
  } else if (IsAt({"tensor_meta", "dtype"})) {
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t code, Count(event));
    const std::optional<DType> dtype = DTypeOf(code);
    if (!dtype) return Unknown(absl::StrCat("dtype number ", code));
    entry.dtype = *dtype;
  } else if (IsAt({"tensor_meta", "layout"})) {
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t code, Count(event));
    if (code != kStrided) return Unknown(absl::StrCat("layout number ", code));
  } else if (keys_[3] == "sizes" || keys_[3] == "strides" ||
             keys_[3] == "storage_offset") {
    if (!IsAt({"tensor_meta", keys_[3], "as_int"})) {
      return Unknown(absl::StrCat(keys_[3], " that are no numbers"));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t count, Count(event));
    if (keys_[3] == "storage_offset") {
      entry.offset = count;
    } else {
      (keys_[3] == "sizes" ? entry.sizes : entry.strides).push_back(count);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Pt2Entry>> ConfigReader::Finish() {
  if (!has_config_) return absl::DataLossError("pt2_config: no \"config\"");
  for (const Pt2Entry& entry : entries_) {
    if (!entry.path_name.empty()) continue;
    return absl::DataLossError(absl::StrCat(
        "pt2_config: ", QuotedRecordName(entry.name), ": no path_name"));
  }
  return std::move(entries_);
}

}  // namespace

absl::StatusOr<std::vector<Pt2Entry>> ReadPt2Config(string_view json) {
  ConfigReader reader;
  const absl::Status read =
      ReadJson(json, kMaxDepth,
               [&reader](const JsonEvent& event) { return reader.On(event); });
  if (!read.ok()) {
    return absl::StartsWith(read.message(), "pt2_config") ||
                   absl::IsUnimplemented(read)
               ? read
               : Annotate(read, "pt2_config");
  }
  return reader.Finish();
}

}  // namespace penstock
