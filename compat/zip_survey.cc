#include "compat/zip_survey.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compat/zip_layout.h"
#include "core/bytes.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr string_view kLocalSignature("PK\3\4", 4);
constexpr string_view kCentralSignature("PK\1\2", 4);
constexpr string_view kEndSignature("PK\5\6", 4);
constexpr string_view kEnd64Signature("PK\6\6", 4);
constexpr string_view kLocatorSignature("PK\6\7", 4);
constexpr int64_t kMaxCommentBytes = 65535;
constexpr size_t kMaxFindings = 1000;

// Encrypted, patch data, strong encryption, masked headers: a reader that looks
// at them refuses the record, one that does not reads it.
constexpr int kHidingFlags = 0x2061;
constexpr int kEncrypted = 0x1;
constexpr int kDescriptor = 0x8;

uint16_t U16(string_view bytes, size_t at) {
  return LoadLittleEndian<uint16_t>(bytes.data() + at);
}
uint32_t U32(string_view bytes, size_t at) {
  return LoadLittleEndian<uint32_t>(bytes.data() + at);
}
int64_t U64(string_view bytes, size_t at) {
  // What does not fit lies behind every file.
  return static_cast<int64_t>(std::min<uint64_t>(
      LoadLittleEndian<uint64_t>(bytes.data() + at), uint64_t{1} << 62));
}

// The body of the extra field `id`; empty where there is none.
string_view ExtraField(string_view extra, uint16_t id) {
  while (extra.size() >= 4) {
    const size_t size = U16(extra, 2);
    if (U16(extra, 0) == id) return extra.substr(4, size);
    extra.remove_prefix(std::min(extra.size(), 4 + size));
  }
  return {};
}

// Fills the fields that are all ones from zip64's extra field, in its order.
void Widen(string_view extra, std::initializer_list<int64_t*> fields) {
  string_view body = ExtraField(extra, 1);
  for (int64_t* const field : fields) {
    if (*field != UINT32_MAX || body.size() < 8) continue;
    *field = U64(body, 0);
    body.remove_prefix(8);
  }
}

void Add(ZipSurvey& survey, const ZipRecordSeen& record, int64_t offset,
         string_view reason, ScanKind kind = ScanKind::kZip) {
  if (survey.findings.size() >= kMaxFindings) return;
  ScanFinding finding;
  finding.kind = kind;
  finding.level =
      kind == ScanKind::kZip ? ScanLevel::kDangerous : ScanLevel::kUnseen;
  finding.record = record.name.substr(0, kMaxScanNameBytes);
  finding.offset = offset;
  finding.reason = std::string(reason);
  survey.findings.push_back(std::move(finding));
}

// Where a directory begins, and what the file's offsets count from.
struct Directory {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t base = 0;
  int64_t num_entries = 0;
  bool contradicts = false;  // zip64 and plain end record
};

bool Holds(ByteWindow& window, int64_t offset, string_view signature) {
  return offset >= 0 && window.Get(offset, 4) == signature;
}

// The directory of the end record at `offset`, by zip64 where that is there.
std::optional<Directory> DirectoryOf(ByteWindow& window, int64_t offset) {
  const std::string end(window.Get(offset, kEndBytes));
  if (end.size() < kEndBytes) return std::nullopt;
  int64_t num_entries = U16(end, 10);
  int64_t size = U32(end, 12);
  int64_t begin = U32(end, 16);
  Directory found;
  found.end = offset;
  const int64_t locator = offset - kZip64LocatorBytes;
  if (Holds(window, locator, kLocatorSignature)) {
    int64_t end64 = U64(window.Get(locator, kZip64LocatorBytes), 8);
    // With bytes before the zip file, it is where it would be.
    if (!Holds(window, end64, kEnd64Signature))
      end64 = locator - kZip64EndBytes;
    if (Holds(window, end64, kEnd64Signature)) {
      const string_view wide = window.Get(end64, kZip64EndBytes);
      if (wide.size() < kZip64EndBytes) return std::nullopt;
      const int64_t wide_entries = U64(wide, 32);
      const int64_t wide_size = U64(wide, 40);
      const int64_t wide_begin = U64(wide, 48);
      found.contradicts =
          (num_entries != UINT16_MAX && num_entries != wide_entries) ||
          (size != UINT32_MAX && size != wide_size) ||
          (begin != UINT32_MAX && begin != wide_begin);
      num_entries = wide_entries;
      size = wide_size;
      begin = wide_begin;
      found.end = end64;
    }
  }
  found.num_entries = num_entries;
  found.begin = begin;
  // Offsets may count from where the zip file begins within this one.
  const int64_t adjacent = found.end - size;
  if (adjacent > begin && Holds(window, adjacent, kCentralSignature)) {
    found.base = adjacent - begin;
    found.begin = adjacent;
  } else if (!Holds(window, begin, kCentralSignature)) {
    return std::nullopt;
  }
  return found;
}

bool IsOddName(string_view name) {
  if (name.find('\0') != string_view::npos) return true;
  if (absl::StartsWith(name, "/")) return true;
  for (const string_view part : absl::StrSplit(name, '/')) {
    if (part == "..") return true;
  }
  return false;
}

// What a central header says of its record against what the local one does.
void Compare(const ZipRecordSeen& central, string_view extra,
             const ZipRecordSeen& local, ZipSurvey& survey) {
  const auto add = [&](string_view reason) {
    Add(survey, central, local.header_offset, reason);
  };
  if (central.name != local.name) add("its two headers name it differently");
  if (central.method != local.method) {
    add("its two headers differ in the compression");
  }
  // Of what is deflated, whether it inflates says if it is encrypted.
  int hiding = (central.flags | local.flags) & kHidingFlags;
  if (central.deflated() || central.encrypted()) hiding &= ~kEncrypted;
  if (hiding != 0) {
    add("flags that make some programs skip it");
  }
  if ((local.flags & kDescriptor) == 0 && local.stored_bytes != 0 &&
      local.stored_bytes != central.stored_bytes) {
    add("its two headers differ in the size");
  }
  if (central.method == 0 && !central.encrypted() &&
      central.stored_bytes != central.size_bytes) {
    add("it is not compressed and has two sizes");
  }
  const string_view unicode = ExtraField(extra, 0x7075);
  if (unicode.size() > 5 && unicode.substr(5) != central.name) {
    add("it has two names");
  }
}

// Names that a reader without regard for case takes for one, and data of two
// records in one place.
void FindClashes(absl::Span<const ZipRecordSeen> records, ZipSurvey& survey) {
  absl::flat_hash_map<std::string, int64_t> names;
  std::vector<const ZipRecordSeen*> order;
  for (const ZipRecordSeen& record : records) {
    order.push_back(&record);
    if (!names.try_emplace(absl::AsciiStrToLower(record.name), 0).second) {
      Add(survey, record, record.header_offset, "two records have this name");
    }
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->data_begin < b->data_begin;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->header_offset <
        order[i - 1]->data_begin + order[i - 1]->stored_bytes) {
      Add(survey, *order[i], order[i]->header_offset,
          "it overlaps another record");
    }
  }
}

}  // namespace

bool ZipRecordSeen::encrypted() const {
  if (method == 99) return true;
  if ((flags & kEncrypted) == 0) return false;
  // The classic cipher puts 12 bytes before the data.
  return method == 0 ? stored_bytes == size_bytes + 12 : false;
}

std::optional<ZipRecordSeen> LocalHeaderAt(ByteWindow& window, int64_t offset) {
  if (!Holds(window, offset, kLocalSignature)) return std::nullopt;
  const string_view head = window.Get(offset, kLocalHeaderBytes);
  if (head.size() < kLocalHeaderBytes) return std::nullopt;
  ZipRecordSeen record;
  record.header_offset = offset;
  record.flags = U16(head, 6);
  record.method = U16(head, 8);
  record.stored_bytes = U32(head, 18);
  record.size_bytes = U32(head, 22);
  const int64_t name_bytes = U16(head, 26);
  const int64_t extra_bytes = U16(head, 28);
  record.data_begin = offset + kLocalHeaderBytes + name_bytes + extra_bytes;
  if (record.data_begin > window.file_bytes()) return std::nullopt;
  const string_view rest =
      window.Get(offset + kLocalHeaderBytes, name_bytes + extra_bytes);
  record.name = std::string(rest.substr(0, name_bytes));
  Widen(rest.substr(std::min<size_t>(rest.size(), name_bytes)),
        {&record.size_bytes, &record.stored_bytes});
  return record;
}

void SurveyDirectory(ByteWindow& window, int64_t offset, ZipSurvey& survey) {
  const std::optional<Directory> directory = DirectoryOf(window, offset);
  if (!directory.has_value()) return;
  if (directory->contradicts) {
    Add(survey, {}, offset, "two end records that differ");
  }
  const size_t first = survey.records.size();
  int64_t position = directory->begin;
  int64_t count = 0;
  ByteWindow locals(window.file(), 1 << 10);
  while (position + kCentralHeaderBytes <= directory->end &&
         Holds(window, position, kCentralSignature)) {
    if (static_cast<int64_t>(survey.records.size()) >= kMaxSurveyEntries) {
      Add(survey, {}, offset, "more records than are looked at",
          ScanKind::kUnseen);
      break;
    }
    const string_view head = window.Get(position, kCentralHeaderBytes);
    ZipRecordSeen record;
    record.flags = U16(head, 8);
    record.method = U16(head, 10);
    record.stored_bytes = U32(head, 20);
    record.size_bytes = U32(head, 24);
    record.header_offset = U32(head, 42);
    const int64_t name_bytes = U16(head, 28);
    const int64_t extra_bytes = U16(head, 30);
    const int64_t next = position + kCentralHeaderBytes + name_bytes +
                         extra_bytes + U16(head, 32);
    const string_view rest =
        window.Get(position + kCentralHeaderBytes, name_bytes + extra_bytes);
    record.name = std::string(rest.substr(0, name_bytes));
    const std::string extra(
        rest.substr(std::min<size_t>(rest.size(), name_bytes)));
    Widen(extra,
          {&record.size_bytes, &record.stored_bytes, &record.header_offset});
    record.header_offset += directory->base;
    position = next;
    ++count;
    const auto local = LocalHeaderAt(locals, record.header_offset);
    if (IsOddName(record.name)) {
      Add(survey, record, record.header_offset,
          "a name that programs understand differently");
    }
    if (!local.has_value()) {
      Add(survey, record, record.header_offset, "it has no local header");
      continue;
    }
    Compare(record, extra, *local, survey);
    record.data_begin = local->data_begin;
    record.flags |= local->flags;
    if (local->deflated()) record.method = 8;
    survey.records.push_back(std::move(record));
  }
  window.Note(locals.status());
  if (count != directory->num_entries &&
      count % 65536 != directory->num_entries) {
    Add(survey, {}, offset, "the end record counts other records");
  }
  FindClashes(absl::MakeConstSpan(survey.records).subspan(first), survey);
}

std::vector<int64_t> SurveyTail(ByteWindow& window, ZipSurvey& survey) {
  std::vector<int64_t> offsets;
  const int64_t begin =
      std::max<int64_t>(0, window.file_bytes() - kMaxCommentBytes - kEndBytes);
  const std::string held(window.Get(begin, window.file_bytes() - begin));
  const string_view tail = held;
  // From the end: the first one that has a directory is what readers take.
  for (size_t at = tail.rfind(kEndSignature); at != string_view::npos;
       at = at == 0 ? string_view::npos : tail.rfind(kEndSignature, at - 1)) {
    const int64_t offset = begin + static_cast<int64_t>(at);
    if (!DirectoryOf(window, offset).has_value()) continue;
    const size_t comment = at + kEndBytes;
    // One in the comment of another: readers from the front and from the back
    // take different ones.
    if (!offsets.empty() && comment <= tail.size() &&
        offsets.back() < offset + kEndBytes + U16(tail, at + 20)) {
      Add(survey, {}, offset, "an end record within another's comment");
    }
    offsets.push_back(offset);
    SurveyDirectory(window, offset, survey);
    if (offsets.size() >= 8) break;
  }
  return offsets;
}

}  // namespace penstock
