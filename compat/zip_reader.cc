#include "compat/zip_reader.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "compat/read_window.h"
#include "compat/zip_end.h"
#include "compat/zip_layout.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Encrypted, strongly encrypted, masked headers; and "compressed patched data",
// which torch refuses too.
constexpr uint16_t kEncryptedFlags = 0x0001 | 0x0040 | 0x2000 | 0x0020;
// Deflate's two level bits.
constexpr uint16_t kHarmlessFlags =
    0x0002 | 0x0004 | kZipDescriptorFollows | kZipUtf8Names;
// Of the external attributes: a folder, as DOS marked it.
constexpr uint64_t kFolderAttribute = 0x10;

constexpr uint16_t kStored = 0;
constexpr uint16_t kDeflated = 8;

// What is read through on the way from header to header. A header of its own
// costs a disk as much as some 20 KiB of neighbours, if it was told before.
constexpr int64_t kSmallRecordBytes = 16 << 10;
// Behind the first byte of a header: as much as any has in practice.
constexpr int64_t kHeaderReadBytes = 1024;
constexpr int64_t kMaxDescriptorBytes = 24;
// Windows that are told at once; twice as many are under way.
constexpr int kWindowsTold = 128;

using Bytes = absl::Span<const uint8_t>;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(what);
}

// The data of the zip64 field in `extra`, empty where there is none; nothing
// where `extra` is malformed or has two.
std::optional<Bytes> FindZip64(Bytes extra) {
  std::optional<Bytes> found;
  while (!extra.empty()) {
    if (extra.size() < 4) return std::nullopt;
    const size_t size = ZipField(extra, 2, 2);
    if (size > extra.size() - 4) return std::nullopt;
    if (ZipField(extra, 0, 2) == kZip64ExtraId) {
      if (found) return std::nullopt;
      found = extra.subspan(4, size);
    }
    extra.remove_prefix(4 + size);
  }
  return found.value_or(Bytes());
}

// One for all names that are one name.
uint32_t HashOfName(absl::string_view name, bool ignores_case) {
  if (!ignores_case) return TextIndex::HashOf(name);
  char lower[kMaxRecordNameBytes];
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    lower[i] = static_cast<char>(c | (c >= 'A' && c <= 'Z' ? 0x20 : 0));
  }
  return TextIndex::HashOf(absl::string_view(lower, name.size()));
}

// The name of an entry that may be the wanted one.
struct Candidate {
  absl::string_view name;
  bool ignores_case;

  bool operator!=(absl::string_view wanted) const {
    return ignores_case ? !absl::EqualsIgnoreCase(name, wanted)
                        : name != wanted;
  }
};

}  // namespace

// The steps of ReadZipDirectory. Thread-compatible.
class ZipDirectoryReader {
 public:
  ZipDirectoryReader(const RandomAccessFile& file, const ZipLimits& limits)
      : file_(file), limits_(limits), window_(file) {}

  absl::StatusOr<ZipDirectory> Read();

 private:
  // What the directory says of a record and only the check needs.
  struct Header {
    uint16_t flags = 0;
    uint16_t method = 0;
  };

  absl::Status ReadCentral(const ZipEnd& end);
  absl::StatusOr<int64_t> ParseCentral(Bytes rest);
  absl::Status ResolveZip64(ZipEntry& entry, Bytes extra,
                            uint64_t (&numbers)[3]) const;
  absl::Status CheckLocals();
  absl::Status CheckLocal(int64_t index, int64_t ahead_end, bool& descriptor);
  absl::Status CheckLocalNumbers(const ZipEntry& entry, Bytes fixed,
                                 Bytes extra) const;
  absl::Status CheckDescriptor(int64_t index, int64_t size, int64_t ahead_end);
  size_t LastNearby(size_t place) const;
  void TellFrom(size_t place);
  int64_t HeaderOffset(size_t place) const {
    return directory_.entries_[in_file_order_[place]].header_offset;
  }
  absl::Status IndexNames();
  absl::Status Bad(absl::string_view kind, const ZipEntry& entry,
                   absl::string_view what) const;

  const RandomAccessFile& file_;
  const ZipLimits& limits_;
  ReadWindow window_;
  int64_t directory_offset_ = 0;
  std::vector<Header> headers_;
  std::vector<uint32_t> in_file_order_;
  size_t told_ = 0;  // places of which the file was told
  size_t tell_at_ = 0;
  ZipDirectory directory_;
};

absl::Status ZipDirectoryReader::Bad(absl::string_view kind,
                                     const ZipEntry& entry,
                                     absl::string_view what) const {
  return Damaged(absl::StrFormat("%s: record %s at offset %d %s", kind,
                                 QuotedRecordName(entry.name),
                                 entry.header_offset, what));
}

absl::StatusOr<ZipDirectory> ZipDirectoryReader::Read() {
  uint8_t signature[4];
  if (file_.size_bytes() < 4) {
    return Damaged("not_torch: no zip file, fewer than 4 bytes");
  }
  PENSTOCK_RETURN_IF_ERROR(file_.Read(0, absl::MakeSpan(signature)));
  if (ZipField(signature, 0, 4) != kZipLocalSignature) {
    return Damaged(absl::StrFormat(
        "not_torch: no zip file, it begins with %02x %02x %02x %02x instead of "
        "50 4b 03 04",
        signature[0], signature[1], signature[2], signature[3]));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const ZipEnd end, FindZipEnd(file_));
  if (end.bytes_behind > 0) {
    directory_.warnings_.push_back(
        absl::StrFormat("%d bytes behind the end of the zip file are ignored",
                        end.bytes_behind));
  }
  PENSTOCK_RETURN_IF_ERROR(ReadCentral(end));
  PENSTOCK_RETURN_IF_ERROR(IndexNames());
  PENSTOCK_RETURN_IF_ERROR(CheckLocals());
  return std::move(directory_);
}

absl::Status ZipDirectoryReader::ReadCentral(const ZipEnd& end) {
  directory_offset_ = end.directory_offset;
  if (end.num_records > limits_.max_records ||
      end.directory_bytes > limits_.max_directory_bytes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "zip_limit: %d records, directory of %d bytes; at most %d and %d",
        end.num_records, end.directory_bytes, limits_.max_records,
        limits_.max_directory_bytes));
  }
  if (end.num_records > end.directory_bytes / kCentralHeaderBytes) {
    return Damaged(absl::StrFormat(
        "zip_bad_central: %d records cannot stand in a directory of %d bytes",
        end.num_records, end.directory_bytes));
  }
  std::vector<uint8_t> central(end.directory_bytes);
  PENSTOCK_RETURN_IF_ERROR(
      file_.Read(end.directory_offset, absl::MakeSpan(central)));
  directory_.entries_.reserve(end.num_records);
  headers_.reserve(end.num_records);
  Bytes rest(central);
  for (int64_t i = 0; i < end.num_records; ++i) {
    absl::StatusOr<int64_t> size = ParseCentral(rest);
    if (!size.ok()) {
      return Annotate(size.status(),
                      absl::StrFormat("central directory entry %d", i));
    }
    rest.remove_prefix(*size);
  }
  if (!rest.empty()) {
    return Damaged(absl::StrFormat(
        "zip_bad_central: %d bytes too many behind the %d records of the "
        "directory",
        rest.size(), end.num_records));
  }
  return absl::OkStatus();
}

// Returns the bytes of the entry at the start of `rest`.
absl::StatusOr<int64_t> ZipDirectoryReader::ParseCentral(Bytes rest) {
  const int64_t available = static_cast<int64_t>(rest.size());
  if (available < kCentralHeaderBytes ||
      ZipField(rest, 0, 4) != kZipCentralSignature) {
    return Damaged("zip_bad_central: no entry where one should begin");
  }
  const int64_t name_bytes = ZipField(rest, 28, 2);
  const int64_t extra_bytes = ZipField(rest, 30, 2);
  const int64_t size =
      kCentralHeaderBytes + name_bytes + extra_bytes + ZipField(rest, 32, 2);
  if (size > available) {
    return Damaged("zip_bad_central: an entry runs past the directory");
  }
  ZipEntry entry;
  const Bytes name = rest.subspan(kCentralHeaderBytes, name_bytes);
  entry.name.assign(name.begin(), name.end());
  if (absl::string_view problem = RecordNameProblem(entry.name);
      !problem.empty()) {
    return Bad("zip_bad_name", entry, absl::StrCat("- its name ", problem));
  }
  Header header;
  header.flags = ZipField(rest, 8, 2);
  header.method = ZipField(rest, 10, 2);
  if (header.flags & kEncryptedFlags) {
    return absl::UnimplementedError(
        absl::StrFormat("zip_encrypted: record %s is encrypted (flags %#06x)",
                        QuotedRecordName(entry.name), header.flags));
  }
  if (header.flags & ~kHarmlessFlags ||
      (header.method != kStored && header.method != kDeflated)) {
    return absl::UnimplementedError(absl::StrFormat(
        "zip_method: record %s has method %d, flags %#06x; expected stored (0) "
        "or deflated (8)",
        QuotedRecordName(entry.name), header.method, header.flags));
  }
  if (ZipField(rest, 34, 2) != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "zip_multidisk: record %s lies on disk %d of a split zip",
        QuotedRecordName(entry.name), ZipField(rest, 34, 2)));
  }
  entry.deflated = header.method == kDeflated;
  entry.crc32 = ZipField(rest, 16, 4);
  uint64_t numbers[] = {ZipField(rest, 24, 4), ZipField(rest, 20, 4),
                        ZipField(rest, 42, 4)};
  PENSTOCK_RETURN_IF_ERROR(ResolveZip64(
      entry, rest.subspan(kCentralHeaderBytes + name_bytes, extra_bytes),
      numbers));
  // torch's reader (miniz) takes such a record for a folder and leaves the
  // buffer that it should fill as it was.
  if (ZipField(rest, 38, 4) & kFolderAttribute && entry.size_bytes != 0) {
    return Bad("zip_bad_central", entry,
               absl::StrFormat("is a folder by its attributes, with %d bytes "
                               "where a folder has none",
                               entry.size_bytes));
  }
  directory_.entries_.push_back(std::move(entry));
  headers_.push_back(header);
  return size;
}

// `numbers`: size, stored size and header offset as 32 bits.
absl::Status ZipDirectoryReader::ResolveZip64(ZipEntry& entry, Bytes extra,
                                              uint64_t (&numbers)[3]) const {
  const std::optional<Bytes> zip64 = FindZip64(extra);
  if (!zip64) {
    return Bad("zip_bad_central", entry, "has a malformed extra field");
  }
  Bytes wide = *zip64;
  if (!wide.empty()) {
    for (uint64_t& number : numbers) {
      if (number != 0xFFFFFFFF) continue;
      if (wide.size() < 8) {
        return Bad("zip_bad_central", entry, "has a zip64 field too short");
      }
      number = ZipField(wide, 0, 8);
      wide.remove_prefix(8);
    }
    if (!wide.empty()) {
      return Bad("zip_bad_central", entry, "has a zip64 field too long");
    }
  }
  if (std::max({numbers[0], numbers[1], numbers[2]}) > INT64_MAX) {
    return Bad("zip_bad_central", entry, "has a number over 2^63");
  }
  entry.size_bytes = static_cast<int64_t>(numbers[0]);
  entry.stored_bytes = static_cast<int64_t>(numbers[1]);
  entry.header_offset = static_cast<int64_t>(numbers[2]);
  if (!entry.deflated && entry.size_bytes != entry.stored_bytes) {
    return Bad("zip_bad_central", entry,
               absl::StrFormat("is stored, but has %d bytes for %d",
                               entry.stored_bytes, entry.size_bytes));
  }
  if (entry.name.back() == '/' && entry.size_bytes != 0) {
    return Bad("zip_bad_name", entry, "is a folder with content");
  }
  if (!RangeFits(entry.header_offset, kLocalHeaderBytes, directory_offset_) ||
      !RangeFits(entry.header_offset + kLocalHeaderBytes, entry.stored_bytes,
                 directory_offset_)) {
    return Bad("zip_bad_central", entry,
               absl::StrFormat("of %d bytes does not lie before the directory "
                               "at offset %d",
                               entry.stored_bytes, directory_offset_));
  }
  return absl::OkStatus();
}

absl::Status ZipDirectoryReader::IndexNames() {
  const std::vector<ZipEntry>& entries = directory_.entries_;
  const bool ignores_case = limits_.ignores_case;
  directory_.ignores_case_ = ignores_case;
  const auto hashed_of = [&](uint32_t i) {
    const absl::string_view name = entries[i].name;
    return std::make_optional(
        TextIndex::Hashed{name, HashOfName(name, ignores_case)});
  };
  const auto name_of = [&](uint32_t i) {
    return Candidate{entries[i].name, ignores_case};
  };
  const auto num_entries = static_cast<uint32_t>(entries.size());
  const uint32_t number =
      directory_.by_name_.Fill(num_entries, hashed_of, name_of);
  if (number == num_entries) return absl::OkStatus();
  const ZipEntry& entry = entries[number];
  const ZipEntry& first = entries[directory_.by_name_.Find(
      entry.name, HashOfName(entry.name, ignores_case), name_of)];
  return Bad(
      "zip_duplicate", entry,
      absl::StrFormat("has the name of %s at offset %d, and torch "
                      "ignores case",
                      QuotedRecordName(first.name), first.header_offset));
}

// The last of the neighbourhood of small records that begins with the header
// number `place` in file order: worth one read.
size_t ZipDirectoryReader::LastNearby(size_t place) const {
  const int64_t limit = HeaderOffset(place) + kReadWindowBytes;
  while (place + 1 < in_file_order_.size() &&
         directory_.entries_[in_file_order_[place]].stored_bytes <=
             kSmallRecordBytes &&
         HeaderOffset(place + 1) < limit) {
    ++place;
  }
  return place;
}

// Tells the file, some reads before they come, where the headers behind `place`
// lie. Of a cold file each would wait for the disk by itself otherwise, which
// takes longer for all of them than reading the payload.
void ZipDirectoryReader::TellFrom(size_t place) {
  if (place < tell_at_) return;
  tell_at_ = told_;
  for (int i = 0; i < kWindowsTold && told_ < in_file_order_.size(); ++i) {
    const size_t last = LastNearby(told_);
    const int64_t begin =
        std::max<int64_t>(0, HeaderOffset(told_) - kMaxDescriptorBytes);
    file_.WillRead(begin, std::min(HeaderOffset(last) + kHeaderReadBytes,
                                   file_.size_bytes()) -
                              begin);
    told_ = last + 1;
  }
}

// In file order: each header begins where the record before it ends.
absl::Status ZipDirectoryReader::CheckLocals() {
  std::vector<ZipEntry>& entries = directory_.entries_;
  in_file_order_.resize(entries.size());
  std::iota(in_file_order_.begin(), in_file_order_.end(), 0);
  const auto lies_before = [&](uint32_t a, uint32_t b) {
    return entries[a].header_offset < entries[b].header_offset;
  };
  if (!absl::c_is_sorted(in_file_order_, lies_before)) {
    absl::c_stable_sort(in_file_order_, lies_before);
  }
  int64_t previous = -1;
  int64_t payload_end = 0;
  bool descriptor = false;
  for (size_t place = 0; place <= in_file_order_.size(); ++place) {
    const bool at_end = place == in_file_order_.size();
    const int64_t index = at_end ? -1 : in_file_order_[place];
    const int64_t next =
        at_end ? directory_offset_ : entries[index].header_offset;
    const int64_t gap = next - payload_end;
    int64_t ahead_end = next;
    if (!at_end && !window_.Holds(payload_end, gap + kHeaderReadBytes)) {
      TellFrom(place);
      ahead_end = HeaderOffset(LastNearby(place)) + kHeaderReadBytes;
    }
    if (gap < 0) {
      return Bad("zip_overlap", entries[previous],
                 absl::StrFormat("ends at %d, but the next header is at %d",
                                 payload_end, next));
    }
    if (descriptor) {
      PENSTOCK_RETURN_IF_ERROR(CheckDescriptor(previous, gap, ahead_end));
    } else if (gap > 0) {
      return Damaged(absl::StrFormat(
          "zip_bad_local: %d bytes at offset %d belong to no record", gap,
          payload_end));
    }
    if (at_end) break;
    PENSTOCK_RETURN_IF_ERROR(CheckLocal(index, ahead_end, descriptor));
    payload_end = entries[index].payload_offset + entries[index].stored_bytes;
    previous = index;
  }
  return absl::OkStatus();
}

// Says in `descriptor` whether one follows the payload.
absl::Status ZipDirectoryReader::CheckLocal(int64_t index, int64_t ahead_end,
                                            bool& descriptor) {
  ZipEntry& entry = directory_.entries_[index];
  const Header& header = headers_[index];
  PENSTOCK_ASSIGN_OR_RETURN(
      Bytes fixed,
      window_.Get(entry.header_offset, kLocalHeaderBytes, ahead_end));
  if (ZipField(fixed, 0, 4) != kZipLocalSignature) {
    return Bad("zip_bad_local", entry, "has no local header there");
  }
  const uint16_t flags = ZipField(fixed, 6, 2);
  if (flags & ~kHarmlessFlags) {
    return absl::UnimplementedError(absl::StrFormat(
        "zip_encrypted: record %s at offset %d has flags %#06x "
        "in its local header",
        QuotedRecordName(entry.name), entry.header_offset, flags));
  }
  if (ZipField(fixed, 8, 2) != header.method) {
    return Bad("zip_bad_local", entry,
               absl::StrFormat("has method %d in the directory, %d locally",
                               header.method, ZipField(fixed, 8, 2)));
  }
  const int64_t name_bytes = ZipField(fixed, 26, 2);
  const int64_t extra_bytes = ZipField(fixed, 28, 2);
  const int64_t header_bytes = kLocalHeaderBytes + name_bytes + extra_bytes;
  entry.payload_offset = entry.header_offset + header_bytes;
  if (!RangeFits(entry.payload_offset, entry.stored_bytes, directory_offset_)) {
    return Bad("zip_overlap", entry,
               absl::StrFormat("of %d bytes at %d reaches into the directory "
                               "at offset %d",
                               entry.stored_bytes, entry.payload_offset,
                               directory_offset_));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const Bytes all,
      window_.Get(entry.header_offset, header_bytes, ahead_end));
  const Bytes name = all.subspan(kLocalHeaderBytes, name_bytes);
  if (!std::equal(
          name.begin(), name.end(), entry.name.begin(), entry.name.end(),
          [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); })) {
    return Bad(
        "zip_bad_local", entry,
        absl::StrCat("is called ",
                     QuotedRecordName(std::string(name.begin(), name.end())),
                     " in its local header"));
  }
  descriptor = (flags & kZipDescriptorFollows) != 0;
  return CheckLocalNumbers(
      entry, all, all.subspan(kLocalHeaderBytes + name_bytes, extra_bytes));
}

absl::Status ZipDirectoryReader::CheckLocalNumbers(const ZipEntry& entry,
                                                   Bytes fixed,
                                                   Bytes extra) const {
  const std::optional<Bytes> zip64 = FindZip64(extra);
  if (!zip64) {
    return Bad("zip_bad_local", entry, "has a malformed local extra field");
  }
  uint64_t sizes[] = {ZipField(fixed, 22, 4), ZipField(fixed, 18, 4)};
  Bytes wide = *zip64;
  for (uint64_t& size : sizes) {
    if (size == 0xFFFFFFFF && wide.size() >= 8) {
      size = ZipField(wide, 0, 8);
      wide.remove_prefix(8);
    }
  }
  struct Pair {
    uint64_t local, central;
  };
  const Pair pairs[] = {{ZipField(fixed, 14, 4), entry.crc32},
                        {sizes[0], static_cast<uint64_t>(entry.size_bytes)},
                        {sizes[1], static_cast<uint64_t>(entry.stored_bytes)}};
  // Where a descriptor follows, zeros hold its place.
  const bool descriptor = (ZipField(fixed, 6, 2) & kZipDescriptorFollows) != 0;
  for (const Pair& pair : pairs) {
    if (pair.local == pair.central || (descriptor && pair.local == 0)) continue;
    return Bad("zip_bad_local", entry,
               absl::StrFormat("has %#x in its local header, %#x in the "
                               "directory",
                               pair.local, pair.central));
  }
  return absl::OkStatus();
}

// The `size` bytes between a payload and what follows it: 12 or 20, with a
// signature 16 or 24, so that no length has two readings.
absl::Status ZipDirectoryReader::CheckDescriptor(int64_t index, int64_t size,
                                                 int64_t ahead_end) {
  const ZipEntry& entry = directory_.entries_[index];
  if (size != 12 && size != 16 && size != 20 && size != 24) {
    return Bad(
        "zip_bad_local", entry,
        absl::StrFormat("is followed by %d bytes, no data descriptor", size));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      Bytes bytes,
      window_.Get(entry.payload_offset + entry.stored_bytes, size, ahead_end));
  const bool with_signature = size == 16 || size == 24;
  const int width = size >= 20 ? 8 : 4;
  if (with_signature && ZipField(bytes, 0, 4) != kZipDescriptorSignature) {
    return Bad("zip_bad_local", entry, "has a descriptor without signature");
  }
  if (with_signature) bytes.remove_prefix(4);
  if (ZipField(bytes, 0, 4) != entry.crc32 ||
      ZipField(bytes, 4, width) != static_cast<uint64_t>(entry.stored_bytes) ||
      ZipField(bytes, 4 + width, width) !=
          static_cast<uint64_t>(entry.size_bytes)) {
    return Bad("zip_bad_local", entry,
               "has a descriptor that differs from the directory");
  }
  return absl::OkStatus();
}

int64_t ZipDirectory::Find(absl::string_view name) const {
  if (static_cast<int64_t>(name.size()) > kMaxRecordNameBytes) return -1;
  const uint32_t number =
      by_name_.Find(name, HashOfName(name, ignores_case_), [this](uint32_t i) {
        return Candidate{entries_[i].name, ignores_case_};
      });
  if (number == TextIndex::kNone || entries_[number].name != name) return -1;
  return number;
}

absl::StatusOr<ZipDirectory> ReadZipDirectory(const RandomAccessFile& file,
                                              const ZipLimits& limits) {
  return ZipDirectoryReader(file, limits).Read();
}

}  // namespace penstock
