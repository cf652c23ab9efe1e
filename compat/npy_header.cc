#include "compat/npy_header.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
constexpr size_t kPrefixBytes = 8;  // magic and version

// Enough for almost every header, in one read.
constexpr int64_t kFirstReadBytes = 256;

constexpr int64_t kAlignment = 64;
// numpy leaves room for the first size to grow to this many digits.
constexpr int64_t kGrowthDigits = 21;

struct Descr {
  absl::string_view text;  // as numpy writes it on a little-endian machine
  DType dtype;
};
constexpr Descr kDescrs[] = {
    {"|b1", DType::kBool},      {"|u1", DType::kUInt8},
    {"|i1", DType::kInt8},      {"<u2", DType::kUInt16},
    {"<i2", DType::kInt16},     {"<u4", DType::kUInt32},
    {"<i4", DType::kInt32},     {"<u8", DType::kUInt64},
    {"<i8", DType::kInt64},     {"<f2", DType::kFloat16},
    {"<f4", DType::kFloat32},   {"<f8", DType::kFloat64},
    {"<c8", DType::kComplex64}, {"<c16", DType::kComplex128},
};

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 80;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kShown)),
                      text.size() > kShown ? "..." : "", "'");
}

absl::Status UnknownDType(absl::string_view descr) {
  absl::string_view kind = descr;
  if (!kind.empty() && absl::StrContains("<>=|", kind.substr(0, 1))) {
    kind.remove_prefix(1);
  }
  absl::string_view why = "which is no dtype of ours";
  switch (kind.empty() ? '\0' : kind[0]) {
    case '[':
    case '(':
      why = "a structure of several fields: save each as an array of its own";
      break;
    case 'O':
      why =
          "Python objects, a pickle that would have to be run: save numbers "
          "instead";
      break;
    case 'U':
    case 'S':
    case 'a':
      why = "text, not numbers";
      break;
    case 'M':
    case 'm':
      why = "times: save them as int64 (.view('i8'))";
      break;
    case 'V':
      why =
          "raw bytes whose meaning is not in the file (bfloat16 and float8 of "
          "ml_dtypes look so): save float32, or .view('u2') and .view('u1')";
      break;
    default:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("npy_dtype: descr ", Quoted(descr), ": ", why));
}

// Parses the dict of a header. Thread-compatible.
class DictParser {
 public:
  explicit DictParser(absl::string_view text) : text_(text) {}

  absl::Status Parse(NpyHeader& header);

 private:
  void SkipBlanks() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_]) &&
           text_[at_] != '\v') {
      ++at_;
    }
  }
  // Skips blanks, then `c` if it stands there.
  bool Take(char c) {
    SkipBlanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeWord(absl::string_view word) {
    SkipBlanks();
    if (!absl::StartsWith(text_.substr(at_), word)) return false;
    at_ += word.size();
    return true;
  }
  absl::Status Expected(absl::string_view what) const {
    return absl::DataLossError(absl::StrFormat(
        "npy_header: expected %s at byte %d of the dict, found %s", what, at_,
        at_ == text_.size() ? "its end" : Quoted(text_.substr(at_, 20))));
  }

  absl::StatusOr<absl::string_view> String();
  absl::Status ParseItem(NpyHeader& header);
  absl::Status ParseDescr(NpyHeader& header);
  absl::Status ParseOrder(NpyHeader& header);
  absl::Status ParseShape(NpyHeader& header);
  absl::StatusOr<int64_t> Size();

  absl::string_view text_;
  size_t at_ = 0;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

absl::Status DictParser::Parse(NpyHeader& header) {
  if (!Take('{')) return Expected("'{'");
  while (!Take('}')) {
    PENSTOCK_RETURN_IF_ERROR(ParseItem(header));
    if (Take(',')) continue;
    if (Take('}')) break;
    return Expected("',' or '}'");
  }
  SkipBlanks();
  if (at_ != text_.size()) return Expected("nothing behind the dict");
  if (!has_descr_ || !has_order_ || !has_shape_) {
    return absl::DataLossError(absl::StrFormat(
        "npy_header: the dict lacks '%s'", !has_descr_   ? "descr"
                                           : !has_order_ ? "fortran_order"
                                                         : "shape"));
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> DictParser::String() {
  SkipBlanks();
  if (absl::StartsWith(text_.substr(at_), "u'") ||
      absl::StartsWith(text_.substr(at_), "u\"")) {
    ++at_;
  }
  if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) {
    return Expected("a string");
  }
  const size_t end = text_.find(text_[at_], at_ + 1);
  if (end == text_.npos) return Expected("a string that ends");
  const absl::string_view value = text_.substr(at_ + 1, end - at_ - 1);
  if (value.find_first_of("\\\n\r") != value.npos) {
    return Expected("a string without escapes");
  }
  at_ = end + 1;
  return value;
}

absl::Status DictParser::ParseItem(NpyHeader& header) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view key, String());
  bool* has = key == "descr"           ? &has_descr_
              : key == "fortran_order" ? &has_order_
              : key == "shape"         ? &has_shape_
                                       : nullptr;
  if (has == nullptr || *has) {
    return absl::DataLossError(absl::StrFormat(
        "npy_header: the dict has %s key %s",
        has == nullptr ? "an unknown" : "twice the", Quoted(key)));
  }
  *has = true;
  if (!Take(':')) return Expected("':'");
  if (has == &has_descr_) return ParseDescr(header);
  return has == &has_order_ ? ParseOrder(header) : ParseShape(header);
}

absl::Status DictParser::ParseDescr(NpyHeader& header) {
  SkipBlanks();
  if (at_ < text_.size() && (text_[at_] == '[' || text_[at_] == '(')) {
    return UnknownDType(text_.substr(at_));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view descr, String());
  absl::string_view name = descr;
  if (!name.empty() && absl::StrContains("<>=|", name.substr(0, 1))) {
    name.remove_prefix(1);
  }
  for (const Descr& known : kDescrs) {
    if (known.text.substr(1) != name) continue;
    header.dtype = known.dtype;
    header.big_endian = descr[0] == '>' && InfoOf(known.dtype).word_bytes > 1;
    return absl::OkStatus();
  }
  return UnknownDType(descr);
}

absl::Status DictParser::ParseOrder(NpyHeader& header) {
  header.fortran_order = TakeWord("True");
  if (header.fortran_order || TakeWord("False")) return absl::OkStatus();
  return Expected("True or False");
}

absl::Status DictParser::ParseShape(NpyHeader& header) {
  if (!Take('(')) return Expected("'('");
  bool comma = true;
  while (!Take(')')) {
    if (!comma) return Expected("',' or ')'");
    if (header.shape.size() == kMaxRank) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "npy_limit: a shape of more than %d sizes", kMaxRank));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t size, Size());
    header.shape.push_back(size);
    comma = Take(',');
  }
  // (3) is a number in brackets.
  if (header.shape.size() == 1 && !comma) return Expected("a tuple before it");
  return absl::OkStatus();
}

absl::StatusOr<int64_t> DictParser::Size() {
  SkipBlanks();
  const size_t begin = at_;
  if (at_ < text_.size() && text_[at_] == '-') ++at_;
  while (at_ < text_.size() && absl::ascii_isdigit(text_[at_])) ++at_;
  const absl::string_view digits = text_.substr(begin, at_ - begin);
  if (digits.empty() || digits == "-" ||
      (digits.size() > 1 && digits[0] == '0')) {
    at_ = begin;
    return Expected("a size");
  }
  int64_t size = 0;
  if (!absl::SimpleAtoi(digits, &size) || size < 0) {
    return absl::DataLossError(
        absl::StrCat("npy_shape: expected sizes from 0 to 2^63 - 1, found ",
                     digits.substr(0, 30)));
  }
  if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2's long
  return size;
}

absl::StatusOr<int64_t> DataBytes(const NpyHeader& header) {
  std::optional<int64_t> count = InfoOf(header.dtype).size_bytes;
  bool is_empty = false;
  // Sizes beside a 0 count too: strides are made of them.
  for (int64_t size : header.shape) {
    is_empty |= size == 0;
    if (count && size != 0) count = CheckedMultiply(*count, size);
  }
  if (!count) {
    return absl::DataLossError(absl::StrCat("npy_shape: (",
                                            absl::StrJoin(header.shape, ", "),
                                            ") has more than 2^63 - 1 bytes"));
  }
  return is_empty ? 0 : *count;
}

// Length of the whole header. `bytes` has its first twelve bytes, or all that
// there are.
absl::StatusOr<int64_t> HeaderBytes(absl::string_view bytes) {
  if (!absl::StartsWith(bytes, kMagic.substr(0, bytes.size()))) {
    return absl::DataLossError(
        absl::StrCat("npy_magic: expected it to begin with \\x93NUMPY, found ",
                     Quoted(bytes.substr(0, kMagic.size()))));
  }
  const absl::Status truncated = absl::DataLossError(absl::StrFormat(
      "npy_truncated: the header ends after %d bytes", bytes.size()));
  if (bytes.size() < kPrefixBytes) return truncated;
  const int major = static_cast<uint8_t>(bytes[6]);
  const int minor = static_cast<uint8_t>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return absl::UnimplementedError(
        absl::StrFormat("npy_version: format version %d.%d, expected 1.0, 2.0 "
                        "or 3.0",
                        major, minor));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  if (bytes.size() < kPrefixBytes + length_bytes) return truncated;
  int64_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    length |= int64_t{static_cast<uint8_t>(bytes[kPrefixBytes + i])} << 8 * i;
  }
  const int64_t total =
      static_cast<int64_t>(kPrefixBytes + length_bytes) + length;
  if (total > kMaxNpyHeaderBytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("npy_limit: a header of %d bytes, at most %d are read",
                        total, kMaxNpyHeaderBytes));
  }
  return total;
}

}  // namespace

std::vector<int64_t> NpyHeader::Strides() const {
  if (!fortran_order) return {};
  std::vector<int64_t> strides;
  int64_t stride = 1;
  for (int64_t size : shape) {
    strides.push_back(stride);
    stride *= std::max<int64_t>(size, 1);
  }
  return strides;
}

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view bytes,
                                         int64_t size_bytes) {
  NpyHeader header;
  PENSTOCK_ASSIGN_OR_RETURN(header.header_bytes, HeaderBytes(bytes));
  if (header.header_bytes > static_cast<int64_t>(bytes.size())) {
    return absl::DataLossError(
        absl::StrFormat("npy_truncated: a header of %d bytes, %d are there",
                        header.header_bytes, bytes.size()));
  }
  const size_t dict = kPrefixBytes + (bytes[6] == 1 ? 2 : 4);
  PENSTOCK_RETURN_IF_ERROR(
      DictParser(bytes.substr(dict, header.header_bytes - dict)).Parse(header));
  PENSTOCK_ASSIGN_OR_RETURN(header.data_bytes, DataBytes(header));
  if (header.data_bytes > size_bytes - header.header_bytes) {
    return absl::DataLossError(absl::StrFormat(
        "npy_truncated: %s of shape (%s) needs %d bytes behind the header, %d "
        "are there",
        InfoOf(header.dtype).name, absl::StrJoin(header.shape, ", "),
        header.data_bytes, size_bytes - header.header_bytes));
  }
  header.crc32 = Crc32(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), header.header_bytes));
  return header;
}

absl::StatusOr<NpyHeader> ReadNpyHeader(const RandomAccessFile& file,
                                        int64_t offset, int64_t size_bytes) {
  std::string bytes;
  int64_t wanted = kFirstReadBytes;
  do {
    bytes.resize(std::min(wanted, size_bytes));
    PENSTOCK_RETURN_IF_ERROR(file.Read(
        offset, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()),
                               bytes.size())));
    PENSTOCK_ASSIGN_OR_RETURN(wanted, HeaderBytes(bytes));
  } while (wanted > static_cast<int64_t>(bytes.size()) &&
           static_cast<int64_t>(bytes.size()) < size_bytes);
  return ParseNpyHeader(bytes, size_bytes);
}

absl::string_view NpyDescrOf(DType dtype) {
  for (const Descr& known : kDescrs) {
    if (known.dtype == dtype) return known.text;
  }
  return "";
}

std::string MakeNpyHeader(DType dtype, absl::Span<const int64_t> shape) {
  const absl::string_view descr = NpyDescrOf(dtype);
  PENSTOCK_CHECK(!descr.empty());
  std::string dict = absl::StrCat(
      "{'descr': '", descr, "', 'fortran_order': False, 'shape': (",
      absl::StrJoin(shape, ", "), shape.size() == 1 ? "," : "", "), }");
  if (!shape.empty()) {
    const int64_t digits = static_cast<int64_t>(absl::StrCat(shape[0]).size());
    dict.append(kGrowthDigits - digits, ' ');
  }
  const int64_t unpadded =
      static_cast<int64_t>(kPrefixBytes + 2 + dict.size() + 1);
  dict.append(AlignUp(unpadded, kAlignment) - unpadded, ' ');
  dict += '\n';
  std::string header(kMagic);
  header.push_back(1);  // version 1.0
  header.push_back(0);
  header.push_back(static_cast<char>(dict.size() & 0xFF));
  header.push_back(static_cast<char>(dict.size() >> 8));
  return header + dict;
}

}  // namespace penstock
