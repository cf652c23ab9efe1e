#include "compat/safetensors_header.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/json_text.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

constexpr int64_t kLengthBytes = 8;

// serde_json's.
constexpr int64_t kMaxDepth = 127;

struct Named {
  absl::string_view name;
  DType dtype;
  int bits;  // of one of the elements that a shape in the header counts
};

// In the order of writing, safetensors' Dtype from its last to its first.
constexpr Named kDTypes[] = {
    {"U64", DType::kUInt64, 64},
    {"I64", DType::kInt64, 64},
    {"F64", DType::kFloat64, 64},
    {"C64", DType::kComplex64, 64},
    {"F32", DType::kFloat32, 32},
    {"U32", DType::kUInt32, 32},
    {"I32", DType::kInt32, 32},
    {"BF16", DType::kBFloat16, 16},
    {"F16", DType::kFloat16, 16},
    {"U16", DType::kUInt16, 16},
    {"I16", DType::kInt16, 16},
    {"F8_E5M2FNUZ", DType::kFloat8E5M2FNUZ, 8},
    {"F8_E4M3FNUZ", DType::kFloat8E4M3FNUZ, 8},
    {"F8_E8M0", DType::kFloat8E8M0FNU, 8},
    {"F8_E4M3", DType::kFloat8E4M3FN, 8},
    {"F8_E5M2", DType::kFloat8E5M2, 8},
    {"I8", DType::kInt8, 8},
    {"U8", DType::kUInt8, 8},
    {"F4", DType::kFloat4E2M1FNx2, 4},
    {"BOOL", DType::kBool, 8},
};

const Named* Find(DType dtype) {
  for (const Named& named : kDTypes) {
    if (named.dtype == dtype) return &named;
  }
  return nullptr;
}

absl::Status Bad(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("safetensors_header: ", what));
}

// Takes the events of a header's JSON.
class HeaderReader {
 public:
  absl::Status On(const JsonEvent& event);
  SafetensorsHeader Take() { return std::move(header_); }

 private:
  enum class At { kStart, kRoot, kMetadata, kTensor, kNumbers, kOther };
  enum Field { kDType = 1, kShape = 2, kOffsets = 4, kUnknown = 8 };

  absl::Status OnRoot(const JsonEvent& event);
  absl::Status OnName(absl::string_view name);
  absl::Status OnMetadata(const JsonEvent& event);
  absl::Status OnTensor(const JsonEvent& event);
  absl::Status OnField(absl::string_view key);
  absl::Status OnDType(const JsonEvent& event);
  absl::Status OnNumber(const JsonEvent& event);
  absl::Status OnOther(const JsonEvent& event);
  absl::Status EndTensor();

  absl::Status BadTensor(absl::string_view what) const {
    return Bad(
        absl::StrCat("tensor ", QuotedRecordName(entry_.name), ": ", what));
  }

  SafetensorsHeader header_;
  At at_ = At::kStart;
  int64_t depth_ = 0;  // within a value that is passed over
  bool has_metadata_ = false;
  bool is_metadata_ = false;  // the key in the root that was read last
  std::string metadata_key_;
  SafetensorsEntry entry_;  // the tensor being read
  int fields_ = 0;          // those read
  Field field_ = kUnknown;
  std::vector<int64_t> offsets_;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
};

absl::Status HeaderReader::On(const JsonEvent& event) {
  switch (at_) {
    case At::kStart:
      if (event.kind != JsonKind::kBeginObject) return Bad("not an object");
      at_ = At::kRoot;
      return absl::OkStatus();
    case At::kRoot:
      return OnRoot(event);
    case At::kMetadata:
      return OnMetadata(event);
    case At::kTensor:
      return OnTensor(event);
    case At::kNumbers:
      return OnNumber(event);
    case At::kOther:
      return OnOther(event);
  }
  return absl::OkStatus();
}

absl::Status HeaderReader::OnRoot(const JsonEvent& event) {
  if (event.kind == JsonKind::kKey) return OnName(event.text);
  if (event.kind == JsonKind::kEndObject) return absl::OkStatus();
  if (is_metadata_) {
    if (event.kind == JsonKind::kNull) return absl::OkStatus();
    if (event.kind != JsonKind::kBeginObject) {
      return Bad("__metadata__ is not an object of strings");
    }
    at_ = At::kMetadata;
    return absl::OkStatus();
  }
  if (event.kind != JsonKind::kBeginObject) {
    return BadTensor("expected an object with dtype, shape and data_offsets");
  }
  fields_ = 0;
  at_ = At::kTensor;
  return absl::OkStatus();
}

absl::Status HeaderReader::OnName(absl::string_view name) {
  is_metadata_ = name == kSafetensorsMetadata;
  if (is_metadata_) {
    if (has_metadata_) return Bad("__metadata__ twice");
    has_metadata_ = true;
    return absl::OkStatus();
  }
  entry_ = {};
  entry_.name = std::string(name);
  if (absl::StrContains(name, '\0')) return BadTensor("NUL in its name");
  if (!names_.insert(entry_.name).second) return BadTensor("is there twice");
  return absl::OkStatus();
}

absl::Status HeaderReader::OnMetadata(const JsonEvent& event) {
  switch (event.kind) {
    case JsonKind::kEndObject:
      at_ = At::kRoot;
      return absl::OkStatus();
    case JsonKind::kKey:
      metadata_key_ = std::string(event.text);
      if (!metadata_keys_.insert(metadata_key_).second) {
        return Bad(absl::StrCat("__metadata__ has ",
                                QuotedRecordName(metadata_key_), " twice"));
      }
      return absl::OkStatus();
    case JsonKind::kString:
      header_.metadata.emplace_back(std::move(metadata_key_), event.text);
      return absl::OkStatus();
    default:
      return Bad(absl::StrCat("__metadata__: the value of ",
                              QuotedRecordName(metadata_key_),
                              " is not a string"));
  }
}

absl::Status HeaderReader::OnTensor(const JsonEvent& event) {
  if (event.kind == JsonKind::kKey) return OnField(event.text);
  if (event.kind == JsonKind::kEndObject) return EndTensor();
  switch (field_) {
    case kDType:
      return OnDType(event);
    case kShape:
    case kOffsets:
      if (event.kind != JsonKind::kBeginArray) {
        return BadTensor("shape and data_offsets must be arrays");
      }
      at_ = At::kNumbers;
      return absl::OkStatus();
    case kUnknown:
      break;
  }
  depth_ = 0;
  at_ = At::kOther;
  return OnOther(event);
}

absl::Status HeaderReader::OnField(absl::string_view key) {
  field_ = key == "dtype"          ? kDType
           : key == "shape"        ? kShape
           : key == "data_offsets" ? kOffsets
                                   : kUnknown;
  if (field_ == kUnknown) return absl::OkStatus();
  if ((fields_ & field_) != 0) return BadTensor(absl::StrCat(key, " twice"));
  fields_ |= field_;
  if (field_ == kOffsets) offsets_.clear();
  return absl::OkStatus();
}

absl::Status HeaderReader::OnDType(const JsonEvent& event) {
  if (event.kind != JsonKind::kString) {
    return BadTensor("its dtype is not a string");
  }
  for (const Named& named : kDTypes) {
    if (named.name != event.text) continue;
    entry_.dtype = named.dtype;
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrFormat(
      "safetensors_dtype: tensor %s: dtype %s, which torch does not have",
      QuotedRecordName(entry_.name), QuotedRecordName(event.text)));
}

absl::Status HeaderReader::OnNumber(const JsonEvent& event) {
  if (event.kind == JsonKind::kEndArray) {
    at_ = At::kTensor;
    return absl::OkStatus();
  }
  if (event.kind != JsonKind::kUnsigned || event.number > INT64_MAX) {
    return BadTensor(
        "shape and data_offsets must be integers from 0 to 2^63 - 1");
  }
  std::vector<int64_t>& numbers = field_ == kShape ? entry_.shape : offsets_;
  if (numbers.size() >= kMaxRank) {
    if (field_ == kOffsets) return BadTensor("data_offsets are not two");
    return absl::UnimplementedError(
        absl::StrFormat("safetensors_rank: tensor %s has over %d dimensions",
                        QuotedRecordName(entry_.name), kMaxRank));
  }
  numbers.push_back(static_cast<int64_t>(event.number));
  return absl::OkStatus();
}

absl::Status HeaderReader::OnOther(const JsonEvent& event) {
  if (event.kind == JsonKind::kBeginObject ||
      event.kind == JsonKind::kBeginArray) {
    ++depth_;
  } else if (event.kind == JsonKind::kEndObject ||
             event.kind == JsonKind::kEndArray) {
    --depth_;
  }
  if (depth_ == 0) at_ = At::kTensor;
  return absl::OkStatus();
}

absl::Status HeaderReader::EndTensor() {
  if (fields_ != (kDType | kShape | kOffsets)) {
    return BadTensor("dtype, shape or data_offsets is missing");
  }
  if (offsets_.size() != 2) return BadTensor("data_offsets are not two");
  entry_.begin = offsets_[0];
  entry_.end = offsets_[1];
  header_.tensors.push_back(std::move(entry_));
  at_ = At::kRoot;
  return absl::OkStatus();
}

// The bytes that a tensor of this dtype and shape has; nothing where the
// product overflows on the way, even if a 0 follows, or is no whole byte.
std::optional<int64_t> BytesOf(const SafetensorsEntry& entry) {
  std::optional<int64_t> product = 1;
  for (const int64_t size : entry.shape) {
    product = CheckedMultiply(*product, size);
    if (!product) return std::nullopt;
  }
  product = CheckedMultiply(*product, Find(entry.dtype)->bits);
  if (!product || *product % 8 != 0) return std::nullopt;
  return *product / 8;
}

absl::Status CheckEntry(const SafetensorsEntry& entry, int64_t expected_begin) {
  const std::string name = QuotedRecordName(entry.name);
  if (entry.begin != expected_begin || entry.end < entry.begin) {
    return absl::DataLossError(absl::StrFormat(
        "safetensors_offsets: tensor %s lies at [%d, %d), expected to begin "
        "at %d",
        name, entry.begin, entry.end, expected_begin));
  }
  const std::optional<int64_t> bytes = BytesOf(entry);
  if (!bytes) {
    return absl::DataLossError(absl::StrFormat(
        "safetensors_offsets: tensor %s: its shape overflows, or ends within "
        "a byte",
        name));
  }
  if (*bytes != entry.end - entry.begin) {
    return absl::DataLossError(absl::StrFormat(
        "safetensors_offsets: tensor %s has %d bytes, dtype and shape say %d",
        name, entry.end - entry.begin, *bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view SafetensorsName(DType dtype) {
  const Named* const named = Find(dtype);
  return named == nullptr ? absl::string_view() : named->name;
}

int SafetensorsRank(DType dtype) {
  const Named* const named = Find(dtype);
  PENSTOCK_CHECK(named != nullptr);
  return static_cast<int>(named - kDTypes);
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         int64_t data_bytes) {
  HeaderReader reader;
  const absl::Status read =
      ReadJson(json, kMaxDepth,
               [&reader](const JsonEvent& event) { return reader.On(event); });
  if (!read.ok()) {
    // The JSON reader knows nothing of the format that it reads for.
    return absl::StartsWith(read.message(), "safetensors_")
               ? read
               : Annotate(read, "safetensors_header");
  }
  SafetensorsHeader header = reader.Take();
  std::stable_sort(header.tensors.begin(), header.tensors.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::make_pair(a.begin, a.end) <
                            std::make_pair(b.begin, b.end);
                   });
  int64_t end = 0;
  for (SafetensorsEntry& entry : header.tensors) {
    PENSTOCK_RETURN_IF_ERROR(CheckEntry(entry, end));
    end = entry.end;
    if (entry.dtype != DType::kFloat4E2M1FNx2) continue;
    // No scalar: one nibble is no whole byte.
    if (entry.shape.back() % 2 != 0) {
      return absl::UnimplementedError(absl::StrFormat(
          "safetensors_dtype: tensor %s: F4 whose last dimension is odd, %d, "
          "which torch does not have",
          QuotedRecordName(entry.name), entry.shape.back()));
    }
    entry.shape.back() /= 2;
  }
  if (end != data_bytes) {
    return absl::DataLossError(absl::StrFormat(
        "safetensors_offsets: the tensors have %d bytes, behind the header "
        "stand %d",
        end, data_bytes));
  }
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(
    const RandomAccessFile& file) {
  uint8_t length[kLengthBytes];
  if (file.size_bytes() < kLengthBytes) {
    return Bad(absl::StrCat("the file has ", file.size_bytes(),
                            " bytes, fewer than the header's length"));
  }
  PENSTOCK_RETURN_IF_ERROR(file.Read(0, absl::MakeSpan(length)));
  uint64_t json_bytes = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) {
    json_bytes = json_bytes << 8 | length[i];
  }
  const int64_t left = file.size_bytes() - kLengthBytes;
  if (json_bytes > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return Bad(absl::StrFormat("its length is %d, the most is %d", json_bytes,
                               kMaxSafetensorsHeaderBytes));
  }
  if (json_bytes > static_cast<uint64_t>(left)) {
    return Bad(absl::StrFormat("its length is %d, the file has %d more bytes",
                               json_bytes, left));
  }
  std::string json(json_bytes, '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      kLengthBytes,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(json.data()), json.size())));
  const auto size = static_cast<int64_t>(json_bytes);
  PENSTOCK_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ParseSafetensorsHeader(json, left - size));
  header.data_offset = kLengthBytes + size;
  return header;
}

absl::StatusOr<std::string> FormatSafetensorsHeader(
    absl::Span<const SafetensorsEntry> tensors, const StringPairs& metadata) {
  std::string out(kLengthBytes, '\0');
  absl::string_view comma;
  out.push_back('{');
  if (!metadata.empty()) {
    absl::StrAppend(&out, "\"", kSafetensorsMetadata, "\":{");
    for (const auto& [key, value] : metadata) {
      absl::StrAppend(&out, comma);
      AppendJsonString(key, out);
      out.push_back(':');
      AppendJsonString(value, out);
      comma = ",";
    }
    out.push_back('}');
  }
  for (const SafetensorsEntry& entry : tensors) {
    absl::StrAppend(&out, comma);
    comma = ",";
    AppendJsonString(entry.name, out);
    absl::StrAppend(&out, ":{\"dtype\":\"", SafetensorsName(entry.dtype),
                    "\",\"shape\":[");
    for (size_t i = 0; i < entry.shape.size(); ++i) {
      const bool doubled =
          entry.dtype == DType::kFloat4E2M1FNx2 && i + 1 == entry.shape.size();
      absl::StrAppend(&out, i == 0 ? "" : ",",
                      entry.shape[i] * (doubled ? 2 : 1));
    }
    absl::StrAppend(&out, "],\"data_offsets\":[", entry.begin, ",", entry.end,
                    "]}");
  }
  out.push_back('}');
  out.resize(AlignUp(static_cast<int64_t>(out.size()), kLengthBytes), ' ');
  const auto json_bytes = static_cast<int64_t>(out.size()) - kLengthBytes;
  if (json_bytes > kMaxSafetensorsHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the safetensors header would have %d bytes, the most is %d",
        json_bytes, kMaxSafetensorsHeaderBytes));
  }
  for (int i = 0; i < kLengthBytes; ++i) {
    out[i] = static_cast<char>(json_bytes >> (8 * i) & 0xFF);
  }
  return out;
}

}  // namespace penstock
