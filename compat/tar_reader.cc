#include "compat/tar_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr int64_t kBlockBytes = 512;
constexpr int64_t kMaxExtensionBytes = 1 << 20;

// Where the fields of a header lie.
constexpr size_t kNameBytes = 100;
constexpr size_t kSizeAt = 124;
constexpr size_t kChecksumAt = 148;
constexpr size_t kTypeAt = 156;
constexpr size_t kPrefixAt = 345;

string_view UpToNul(string_view field) {
  return field.substr(0, std::min(field.find('\0'), field.size()));
}

// Octal digits between blanks; GNU's binary form where the first bit is set.
// Nothing for any other text, and for what does not fit.
std::optional<int64_t> ParseNumber(string_view field) {
  const bool is_binary = (field[0] & '\x80') != 0;
  std::optional<int64_t> value = 0;
  if (is_binary) {
    for (size_t i = 0; i < field.size() && value; ++i) {
      const auto byte = static_cast<uint8_t>(field[i]);
      value = CheckedMultiply(*value, 256);
      if (value) *value += i == 0 ? byte & 0x7f : byte;
    }
    return value;
  }
  for (const char digit : absl::StripAsciiWhitespace(UpToNul(field))) {
    if (digit < '0' || digit > '7') return std::nullopt;
    value = CheckedMultiply(*value, 8);
    if (!value) return std::nullopt;
    *value += digit - '0';
  }
  return value;
}

// The sum of the header's bytes, its checksum field taken as blanks.
bool HasRightChecksum(string_view header) {
  int64_t sum = 0;
  for (size_t i = 0; i < header.size(); ++i) {
    const bool is_field = i >= kChecksumAt && i < kChecksumAt + 8;
    sum += is_field ? ' ' : static_cast<uint8_t>(header[i]);
  }
  return ChecksumsMatch(ParseNumber(header.substr(kChecksumAt, 8)),
                        std::optional<int64_t>(sum));
}

// What extension headers say of the next member.
struct Overrides {
  std::optional<std::string> name;
  std::optional<int64_t> size_bytes;
};

// The steps of ReadTarDirectory. Thread-compatible.
class DirectoryReader {
 public:
  explicit DirectoryReader(const RandomAccessFile& file) : file_(file) {}

  absl::StatusOr<std::vector<TarMember>> Read();

 private:
  absl::Status Bad(string_view text) const {
    return absl::DataLossError(
        absl::StrFormat("tar_bad: header at offset %d: %s", position_, text));
  }
  absl::StatusOr<std::string> BytesAt(int64_t offset, int64_t size) const;
  absl::StatusOr<TarMember> ParseHeader(string_view header) const;
  absl::Status TakeExtension(const TarMember& member);
  absl::Status TakePax(string_view records, bool is_global);

  const RandomAccessFile& file_;
  int64_t position_ = 0;
  Overrides next_;
};

absl::StatusOr<std::string> DirectoryReader::BytesAt(int64_t offset,
                                                     int64_t size) const {
  std::string bytes(size, '\0');
  PENSTOCK_RETURN_IF_ERROR(file_.Read(
      offset,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  return bytes;
}

absl::StatusOr<TarMember> DirectoryReader::ParseHeader(
    string_view header) const {
  if (!HasRightChecksum(header)) return Bad("its checksum is wrong");
  TarMember member;
  member.type = header[kTypeAt];
  if (member.type == '\0' || member.type == '7') member.type = '0';
  member.name = std::string(UpToNul(header.substr(0, kNameBytes)));
  const string_view prefix = UpToNul(header.substr(kPrefixAt, 155));
  // GNU's header has other things there.
  if (header.substr(257, 6) == string_view("ustar\0", 6) && !prefix.empty()) {
    member.name = absl::StrFormat("%s/%s", prefix, member.name);
  }
  const std::optional<int64_t> size = ParseNumber(header.substr(kSizeAt, 12));
  if (!size) return Bad("its size is no number");
  member.header_offset = position_;
  member.offset = position_ + kBlockBytes;
  member.size_bytes = *size;
  return member;
}

// Lines "30 path=name\n", each with its own length.
absl::Status DirectoryReader::TakePax(string_view records, bool is_global) {
  while (!records.empty()) {
    const size_t blank = records.find(' ');
    size_t length = 0;
    if (blank == records.npos || blank > 8 ||
        !absl::SimpleAtoi(records.substr(0, blank), &length) ||
        length < blank + 2 || length > records.size() ||
        records[length - 1] != '\n') {
      return Bad("its pax records are none");
    }
    const string_view record = records.substr(blank + 1, length - blank - 2);
    records.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == record.npos) return Bad("a pax record without '='");
    const string_view key = record.substr(0, equals);
    const string_view value = record.substr(equals + 1);
    const bool is_ours = key == "path" || key == "size";
    if ((is_ours && is_global) || absl::StartsWith(key, "GNU.sparse")) {
      return Bad(absl::StrFormat("pax record %s", QuotedRecordName(key)));
    }
    int64_t size = 0;
    if (key == "path") next_.name = std::string(value);
    if (key != "size") continue;
    if (!absl::c_all_of(value, absl::ascii_isdigit) ||
        !absl::SimpleAtoi(value, &size)) {
      return Bad("the size in a pax record is no number");
    }
    next_.size_bytes = size;
  }
  return absl::OkStatus();
}

absl::Status DirectoryReader::TakeExtension(const TarMember& member) {
  if (member.size_bytes > kMaxExtensionBytes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "tar_bad: header at offset %d: %d bytes about one member, the limit is "
        "%d",
        position_, member.size_bytes, kMaxExtensionBytes));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::string bytes,
                            BytesAt(member.offset, member.size_bytes));
  if (member.type == 'x') return TakePax(bytes, /*is_global=*/false);
  if (member.type == 'g') return TakePax(bytes, /*is_global=*/true);
  if (member.type == 'L') next_.name = std::string(UpToNul(bytes));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TarMember>> DirectoryReader::Read() {
  std::vector<TarMember> members;
  const int64_t file_bytes = file_.size_bytes();
  int64_t num_headers = 0;
  while (position_ < file_bytes) {
    if (!RangeFits(position_, kBlockBytes, file_bytes)) {
      return Bad("the file is cut off within it");
    }
    if (++num_headers > kMaxTarMembers) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "tar_bad: over %d headers in one tar file", kMaxTarMembers));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const std::string header,
                              BytesAt(position_, kBlockBytes));
    if (absl::c_all_of(header, [](char c) { return c == '\0'; })) break;
    PENSTOCK_ASSIGN_OR_RETURN(TarMember member, ParseHeader(header));
    const bool is_extension = member.type == 'x' || member.type == 'L' ||
                              member.type == 'K' || member.type == 'g';
    if (!is_extension) {
      Overrides next = std::exchange(next_, {});
      if (next.name) member.name = *std::move(next.name);
      if (next.size_bytes) member.size_bytes = *next.size_bytes;
    }
    if (!RangeFits(member.offset, member.size_bytes, file_bytes)) {
      return Bad(absl::StrFormat(
          "a member of %d bytes, but only %d follow: the file is cut off, or "
          "the size is wrong",
          member.size_bytes, file_bytes - member.offset));
    }
    if (is_extension) PENSTOCK_RETURN_IF_ERROR(TakeExtension(member));
    const int64_t end = member.offset + member.size_bytes;
    position_ = AlignUp(end, kBlockBytes);
    if (!is_extension) members.push_back(std::move(member));
  }
  return members;
}

}  // namespace

absl::StatusOr<std::vector<TarMember>> ReadTarDirectory(
    const RandomAccessFile& file) {
  return DirectoryReader(file).Read();
}

}  // namespace penstock
