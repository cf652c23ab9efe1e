#include "compat/pt_file.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/archive_storages.h"
#include "compat/extent_source.h"
#include "compat/pt2_file.h"
#include "compat/script_classes.h"
#include "compat/script_tree.h"
#include "compat/torch_package.h"
#include "compat/zip_name.h"
#include "compat/zip_reader.h"
#include "compat/zip_record.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

// `version` and its like are a few bytes.
constexpr int64_t kSmallRecordBytes = 4096;

// Of one file of TorchScript code.
constexpr int64_t kMaxSourceBytes = 256 << 20;

constexpr int64_t kMaxVersion = 10;

// Deflate makes a thousand bytes of one, and each may be a node of the tree:
// what a deflated pickle or source may need depends on what it takes in the
// file. The pickle of 70 000 named tensors shrinks 29 times.
constexpr int64_t kMinInflatedBytes = 8 << 20;
constexpr int64_t kInflatedBytesPerByte = 64;
constexpr int64_t kMinNodes = 250'000;
constexpr int64_t kNodesPerByte = 16;

int64_t MaxBytes(const ZipEntry& entry, int64_t limit) {
  if (!entry.deflated) return limit;
  return std::min(
      limit, kMinInflatedBytes +
                 kInflatedBytesPerByte * std::min(entry.stored_bytes, limit));
}

absl::Status ExplainDeflated(const ZipEntry& entry,
                             const absl::Status& status) {
  if (!entry.deflated || !absl::IsResourceExhausted(status)) return status;
  return absl::ResourceExhaustedError(absl::StrCat(
      status.message(),
      "; deflated records may make no more of their few bytes: if you trust "
      "the file, unpack it and pack it again without compression"));
}

// The steps of OpenPt. Thread-compatible.
class PtOpener {
 public:
  PtOpener(std::shared_ptr<const RandomAccessFile> file, const PtLimits& limits,
           NestedOpener open_nested)
      : limits_(limits),
        stored_(std::make_shared<StoredStorages>()),
        open_nested_(std::move(open_nested)),
        nested_(open_nested_, *stored_) {
    pt_.file = std::move(file);
    inflated_ = std::make_shared<InflatedRecords>(pt_.file, limits.inflate);
    stored_->files = {pt_.file, inflated_};
  }

  absl::StatusOr<ForeignFile> Open();

 private:
  const std::vector<ZipEntry>& entries() const { return directory_.entries(); }
  int64_t Find(absl::string_view record) const {
    return directory_.Find(absl::StrCat(archive_name_, "/", record));
  }
  int64_t FindStorage(absl::string_view pickle, absl::string_view key);
  void Warn(std::string text) { pt_.warnings.push_back(std::move(text)); }

  absl::Status FindPrefix();
  absl::StatusOr<ForeignFile> OpenContainer(bool is_package);
  absl::Status CheckKind();
  absl::Status ReadVersion();
  absl::Status ReadByteOrder();
  absl::Status CheckAlignmentText();
  absl::Status ReadTree();
  absl::StatusOr<Value> ReadPickled(absl::string_view name);
  absl::StatusOr<std::string> ReadSource(absl::string_view module);
  absl::StatusOr<std::shared_ptr<const Storage>> Resolve(
      absl::string_view pickle, const StorageReference& reference);
  void NoteOddRecords();
  void SetPlaces();
  void SetByteOrder(size_t num_records);

  const PtLimits& limits_;
  ZipDirectory directory_;
  std::string archive_name_;  // the prefix of every record
  // A place for each entry, then those of nested_.
  std::shared_ptr<StoredStorages> stored_;
  const NestedOpener open_nested_;
  NestedStorages nested_;
  ForeignFile pt_;
  bool is_script_ = false;  // TorchScript
  bool big_endian_ = false;
  std::vector<bool> used_;     // by entry: some storage is in it
  int64_t last_storage_ = -1;  // entry; -1: none was found
  std::string record_name_;    // scratch of FindStorage
  std::shared_ptr<InflatedRecords> inflated_;  // file 1 of stored_
  std::vector<int64_t> inflated_at_;  // by entry: where it begins in there
};

absl::Status UnsupportedZip(const std::vector<ZipEntry>& entries,
                            absl::string_view what) {
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(entries.size(), 5); ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ",
                    QuotedRecordName(entries[i].name));
  }
  return absl::UnimplementedError(absl::StrCat("unsupported_format: ", what,
                                               "; its first records are ",
                                               names.empty() ? "none" : names));
}

absl::StatusOr<ForeignFile> PtOpener::Open() {
  PENSTOCK_ASSIGN_OR_RETURN(directory_,
                            ReadZipDirectory(*pt_.file, limits_.zip));
  pt_.warnings = directory_.warnings();
  used_.resize(entries().size());
  inflated_at_.resize(entries().size());
  if (open_nested_ != nullptr &&
      directory_.Find("serialized_exported_program.json") >= 0) {
    return OpenOldPt2(pt_.file, directory_, open_nested_);
  }
  PENSTOCK_RETURN_IF_ERROR(FindPrefix());
  const bool is_package = Find(".data/extern_modules") >= 0;
  const bool is_pt2 = Find("archive_format") >= 0;
  if (!is_package && !is_pt2) PENSTOCK_RETURN_IF_ERROR(CheckKind());
  PENSTOCK_RETURN_IF_ERROR(ReadVersion());
  PENSTOCK_RETURN_IF_ERROR(ReadByteOrder());
  if (is_package || is_pt2) return OpenContainer(is_package);
  PENSTOCK_RETURN_IF_ERROR(CheckAlignmentText());
  PENSTOCK_RETURN_IF_ERROR(ReadTree());
  nested_.Report(pt_);
  NoteOddRecords();
  SetPlaces();
  return std::move(pt_);
}

// What has the same frame and other trees.
absl::StatusOr<ForeignFile> PtOpener::OpenContainer(bool is_package) {
  const TorchArchive archive{pt_.file, std::move(directory_), archive_name_};
  absl::StatusOr<ForeignFile> opened =
      is_package ? OpenTorchPackage(archive, big_endian_, limits_.pickle,
                                    limits_.inflate)
                 : OpenPt2(archive, big_endian_, limits_.inflate);
  if (opened.ok()) {
    opened->warnings.insert(opened->warnings.begin(), pt_.warnings.begin(),
                            pt_.warnings.end());
  }
  return opened;
}

// torch takes the prefix from the first record and wants it on all.
absl::Status PtOpener::FindPrefix() {
  if (entries().empty()) return UnsupportedZip(entries(), "an empty zip file");
  const std::string& first = entries()[0].name;
  const size_t slash = first.find('/');
  if (slash == std::string::npos) {
    return UnsupportedZip(entries(),
                          "a zip file whose records lie in no folder");
  }
  archive_name_ = first.substr(0, slash);
  const absl::string_view prefix =
      absl::string_view(first).substr(0, slash + 1);
  for (const ZipEntry& entry : entries()) {
    if (!absl::StartsWith(entry.name, prefix)) {
      return absl::DataLossError(absl::StrFormat(
          "zip_prefix: record %s does not lie in folder %s, as every record of "
          "a torch.save file does; take it out and try again",
          QuotedRecordName(entry.name), QuotedRecordName(archive_name_)));
    }
  }
  return absl::OkStatus();
}

absl::Status PtOpener::CheckKind() {
  if (Find("model.json") >= 0) {
    return UnsupportedZip(entries(), "a TorchScript archive of 2018 or 2019");
  }
  if (Find("data.pkl") < 0) {
    return UnsupportedZip(entries(), "a zip file without data.pkl");
  }
  is_script_ = Find("constants.pkl") >= 0;
  return absl::OkStatus();
}

absl::Status PtOpener::ReadVersion() {
  int64_t entry = Find(".data/version");
  if (entry < 0) entry = Find("version");
  if (entry < 0) {
    return absl::DataLossError(
        "version_missing: the file has no record \"version\"; torch refuses it "
        "too");
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::string text,
      ReadZipRecord(*pt_.file, entries()[entry], kSmallRecordBytes));
  // As torch reads it: blanks before, anything behind.
  absl::string_view digits = absl::StripLeadingAsciiWhitespace(text);
  size_t num_digits = 0;
  while (num_digits < digits.size() &&
         absl::ascii_isdigit(digits[num_digits])) {
    ++num_digits;
  }
  digits = digits.substr(0, num_digits);
  if (digits.empty()) {
    return absl::DataLossError(absl::StrFormat(
        "version_missing: record %s holds no number, but %s",
        QuotedRecordName(entries()[entry].name), QuotedRecordName(text)));
  }
  int64_t version = 0;
  if (!absl::SimpleAtoi(digits, &version) || version < 1 ||
      version > kMaxVersion) {
    return absl::UnimplementedError(absl::StrFormat(
        "version_unsupported: container version %s, expected 1 to %d",
        digits.substr(0, 30), kMaxVersion));
  }
  pt_.writer = absl::StrCat(is_script_ ? "torch.jit.save" : "torch.save",
                            " (container version ", version, ")");
  return absl::OkStatus();
}

absl::Status PtOpener::ReadByteOrder() {
  const int64_t entry = Find("byteorder");
  if (entry < 0) return absl::OkStatus();  // little, says torch from 2.1 on
  std::string text = "over 4096 bytes";
  if (entries()[entry].size_bytes <= kSmallRecordBytes) {
    PENSTOCK_ASSIGN_OR_RETURN(
        text, ReadZipRecord(*pt_.file, entries()[entry], kSmallRecordBytes));
  }
  big_endian_ = text == "big";
  if (!big_endian_ && text != "little") {
    return absl::DataLossError(absl::StrFormat(
        "byteorder_bad: expected \"little\" or \"big\", found %s",
        QuotedRecordName(text)));
  }
  return absl::OkStatus();
}

// Nothing here depends on it, but torch.load fails where it is no number.
absl::Status PtOpener::CheckAlignmentText() {
  const int64_t entry = Find(".storage_alignment");
  if (entry < 0) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::string text,
      ReadZipRecord(*pt_.file, entries()[entry], kSmallRecordBytes));
  int64_t alignment;
  if (!absl::SimpleAtoi(text, &alignment)) {
    Warn(absl::StrCat("record .storage_alignment holds no number, but ",
                      QuotedRecordName(text), "; torch.load will refuse it"));
  }
  return absl::OkStatus();
}

absl::Status PtOpener::ReadTree() {
  stored_->places.resize(entries().size());
  PENSTOCK_ASSIGN_OR_RETURN(pt_.root, ReadPickled("data"));
  if (!is_script_) return absl::OkStatus();
  const Value module = pt_.root;
  PENSTOCK_ASSIGN_OR_RETURN(const Value constants, ReadPickled("constants"));
  ScriptClasses classes(
      [this](absl::string_view name) { return ReadSource(name); });
  PENSTOCK_ASSIGN_OR_RETURN(
      pt_.root, ScriptStateDict(module, constants, classes, pt_.warnings));
  return absl::OkStatus();
}

// NAME.pkl, whose storages are the records NAME/KEY.
absl::StatusOr<Value> PtOpener::ReadPickled(absl::string_view name) {
  const std::string record = absl::StrCat(name, ".pkl");
  const ZipEntry& entry = entries()[Find(record)];
  absl::StatusOr<std::string> read = ReadZipRecord(
      *pt_.file, entry, MaxBytes(entry, limits_.pickle.max_pickle_bytes));
  if (!read.ok()) return ExplainDeflated(entry, read.status());
  const std::string pickle = *std::move(read);
  PickleLimits limits = limits_.pickle;
  if (entry.deflated) {
    limits.max_nodes =
        std::min(limits.max_nodes,
                 kMinNodes + kNodesPerByte * std::min(entry.stored_bytes,
                                                      limits.max_nodes));
  }
  PickleInput input;
  input.bytes = absl::Span<const uint8_t>(
      reinterpret_cast<const uint8_t*>(pickle.data()), pickle.size());
  PickleSurroundings around;
  around.storages = [&](const StorageReference& reference) {
    return Resolve(name, reference);
  };
  around.nested = nested_.resolver();
  absl::StatusOr<PickleResult> result = ReadPickle(input, around, limits);
  if (!result.ok()) {
    return Annotate(ExplainDeflated(entry, result.status()), record);
  }
  for (std::string& global : result->globals) {
    pt_.globals.push_back(std::move(global));
  }
  for (std::string& warning : result->warnings) Warn(std::move(warning));
  if (result->consumed_bytes < static_cast<int64_t>(pickle.size())) {
    Warn(absl::StrFormat(
        "%s: %d bytes behind the end of the pickle are ignored", record,
        static_cast<int64_t>(pickle.size()) - result->consumed_bytes));
  }
  return std::move(result->root);
}

// Of "__torch__.a.b" the record code/__torch__/a/b.py.
absl::StatusOr<std::string> PtOpener::ReadSource(absl::string_view module) {
  const int64_t entry = Find(
      absl::StrCat("code/", absl::StrReplaceAll(module, {{".", "/"}}), ".py"));
  if (entry < 0) return std::string();
  return ReadZipRecord(*pt_.file, entries()[entry],
                       MaxBytes(entries()[entry], kMaxSourceBytes));
}

// Most often it is the record behind the one before, which spares a search.
int64_t PtOpener::FindStorage(absl::string_view pickle, absl::string_view key) {
  record_name_.clear();
  absl::StrAppend(&record_name_, archive_name_, "/", pickle, "/", key);
  const auto next = static_cast<size_t>(last_storage_ + 1);
  const bool is_next =
      next < entries().size() && entries()[next].name == record_name_;
  last_storage_ = is_next ? last_storage_ + 1 : directory_.Find(record_name_);
  return last_storage_;
}

absl::StatusOr<std::shared_ptr<const Storage>> PtOpener::Resolve(
    absl::string_view pickle, const StorageReference& reference) {
  const int64_t number = FindStorage(pickle, reference.key);
  std::shared_ptr<Storage> storage;
  if (number < 0) {
    if (reference.size_bytes != 0) {
      return absl::DataLossError(absl::StrFormat(
          "storage_missing: no record %s for a storage of %d bytes",
          QuotedRecordName(absl::StrCat(pickle, "/", reference.key)),
          reference.size_bytes));
    }
    PENSTOCK_ASSIGN_OR_RETURN(storage, Storage::Allocate(0));
  } else {
    const ZipEntry& entry = entries()[number];
    if (entry.size_bytes != reference.size_bytes) {
      return absl::DataLossError(absl::StrFormat(
          "storage_size: record %s at offset %d has %d bytes, %s.pkl says %d",
          QuotedRecordName(absl::StrCat(pickle, "/", reference.key)),
          entry.payload_offset, entry.size_bytes, pickle,
          reference.size_bytes));
    }
    if (entry.deflated) {
      PENSTOCK_ASSIGN_OR_RETURN(inflated_at_[number], inflated_->Add(entry));
    }
    storage = Storage::InFile(entry.size_bytes, number);
    used_[number] = true;
  }
  storage->set_location(reference.location);
  return storage;
}

void PtOpener::NoteOddRecords() {
  const std::string folder = absl::StrCat(archive_name_, "/data/");
  int64_t num_unused = 0;
  int64_t num_unchecked = 0;
  absl::string_view unused;
  for (size_t i = 0; i < entries().size(); ++i) {
    const ZipEntry& entry = entries()[i];
    if (entry.crc32 == 0 && entry.size_bytes > 0) ++num_unchecked;
    const absl::string_view name = entry.name;
    const absl::string_view record = name.substr(archive_name_.size() + 1);
    const bool other_pickle =
        absl::EndsWith(record, ".pkl") && record != "data.pkl" && !is_script_;
    const bool in_folder = absl::StartsWith(name, folder) && name != folder;
    if (!used_[i] && (in_folder || other_pickle)) {
      if (num_unused++ == 0) unused = name;
    }
  }
  if (num_unused > 0) {
    Warn(absl::StrFormat("%d records that data.pkl does not use: %s%s",
                         num_unused, QuotedRecordName(unused),
                         num_unused > 1 ? "..." : ""));
  }
  if (num_unchecked > 0) {
    Warn(absl::StrFormat("%d records have no CRC-32: damage there goes unseen",
                         num_unchecked));
  }
}

void PtOpener::SetPlaces() {
  std::vector<ZipEntry> records = std::move(directory_).TakeEntries();
  for (size_t i = 0; i < records.size(); ++i) {
    ZipEntry& entry = records[i];
    StoredAt& place = stored_->places[i];
    place.name = std::move(entry.name);
    place.file = entry.deflated ? 1 : 0;
    place.offset = entry.deflated ? inflated_at_[i] : entry.payload_offset;
    place.size_bytes = entry.size_bytes;
    place.crc32 = entry.crc32;
  }
  if (big_endian_) SetByteOrder(records.size());
  SetStored(stored_, pt_);
}

// torch goes by the storage's own type and so leaves untyped ones unswapped;
// the first tensor's type is right for both.
void PtOpener::SetByteOrder(size_t num_records) {
  const Graph& graph = *pt_.root.graph();
  const std::vector<DType> dtypes = graph.StorageDTypes();
  for (size_t i = 0; i < dtypes.size(); ++i) {
    const Storage& storage = *graph.storages()[i];
    if (!storage.in_file() ||
        storage.file_number() >= static_cast<int64_t>(num_records)) {
      continue;
    }
    stored_->places[storage.file_number()].swap_bytes =
        InfoOf(dtypes[i]).word_bytes;
  }
}

}  // namespace

absl::StatusOr<ForeignFile> OpenPt(std::shared_ptr<const RandomAccessFile> file,
                                   const PtLimits& limits,
                                   NestedOpener open_nested) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> pt =
      PtOpener(std::move(file), limits, std::move(open_nested)).Open();
  if (!pt.ok()) return Annotate(pt.status(), path);
  return pt;
}

}  // namespace penstock
