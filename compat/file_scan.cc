#include "compat/file_scan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/byte_window.h"
#include "compat/file_kind.h"
#include "compat/pickle_traces.h"
#include "compat/pickle_walk.h"
#include "compat/scan_start.h"
#include "compat/spool.h"
#include "compat/sub_file.h"
#include "compat/tar_reader.h"
#include "compat/tolerant_inflate.h"
#include "compat/zip_survey.h"
#include "core/glob.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

constexpr int64_t kWindowBytes = 1 << 20;
constexpr int64_t kNamesWindowBytes = 4 << 10;
// Looked for traces in at once, at least.
constexpr int64_t kLeastAhead = 64 << 10;
// Decoded texts of pickles that are files of their own.
constexpr int64_t kMaxDecodedBytes = 128 << 20;
// Of walking, for each byte of a file: honest files take less than two.
constexpr int64_t kBudgetPerByte = 16;
constexpr int64_t kFreeBudget = 1 << 20;
// Magic number, version, system, object, keys: what torch reads.
constexpr int kLegacyPickles = 5;
// The first of them.
constexpr string_view kLegacyMagic(
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
// What one more file within files costs at least.
constexpr int64_t kInnerCost = 4 << 10;
// So much decides whether a pickle that breaks off could be text.
constexpr int64_t kTextBytes = 4 << 10;

// What all the files within a file share.
struct Shared {
  const ScanLimits& limits;
  FileSystem& files;
  int64_t inflated_left;
  int64_t inner_left;
  bool told_inner = false;
  ScanReport report;

  bool IsAccepted(const ScanFinding& finding) const {
    if (finding.kind != ScanKind::kGlobal ||
        finding.level != ScanLevel::kUnknown) {
      return false;
    }
    const std::string name = absl::StrCat(finding.module, ".", finding.name);
    return std::any_of(
        limits.allow.begin(), limits.allow.end(),
        [&](const std::string& glob) { return MatchesGlob(glob, name); });
  }

  void Add(ScanFinding finding) {
    if (IsAccepted(finding)) {
      finding.level = ScanLevel::kAllow;
      finding.reason.clear();
    }
    report.level = std::max(report.level, finding.level);
    report.unseen = report.unseen || finding.level == ScanLevel::kUnseen;
    report.unknown = report.unknown || finding.level == ScanLevel::kUnknown;
    if (static_cast<int64_t>(report.findings.size()) >= kMaxScanFindings) {
      ++report.num_left_out;
      return;
    }
    report.findings.push_back(std::move(finding));
  }
};

// Whether arrays are as long as the walk took them for is not sure.
int64_t SeenUpTo(const PickleWalk& walk) {
  return walk.first_array < 0 ? walk.end : walk.first_array;
}

// One file, or one within another.
class BlobScan {
 public:
  // `trust`: in a pickle that begins it, whatever it looks like.
  BlobScan(Shared& shared, std::shared_ptr<const RandomAccessFile> file,
           std::string path, int depth, WalkTrust trust)
      : shared_(shared),
        file_(std::move(file)),
        path_(std::move(path)),
        depth_(depth),
        trust_(trust),
        window_(*file_, kWindowBytes),
        names_(*file_, kNamesWindowBytes),
        budget_(kFreeBudget + kBudgetPerByte * file_->size_bytes()) {}

  absl::Status Run();

 private:
  void FindStarts();
  absl::Status Sweep();
  absl::Status SweepTo(int64_t end);
  std::pair<int64_t, int64_t> TensorFrom(int64_t offset) const;
  absl::Status Follow(int64_t offset);
  absl::Status FollowHeader(int64_t offset);
  absl::Status FollowDirectory(int64_t offset);
  absl::Status FollowLegacy(int64_t offset);
  PickleWalk Walk(int64_t begin);
  bool Believes(const PickleWalk& walk, const ScanStart& start,
                WalkTrust trust);
  absl::Status Anchor(const ScanStart& start);
  absl::StatusOr<bool> Unpack(const ScanStart& start, string_view head);
  absl::Status Chain(int64_t begin, const ScanStart& start, WalkTrust trust,
                     int num_trusted);
  absl::Status Commit(const PickleWalk& walk, const ScanStart& start);
  absl::Status ScanPayload(const PickleText& text, const ScanStart& start);
  absl::Status Inflate(int64_t offset, DeflateWrapping wrapping,
                       const ScanStart& start, bool& something);
  absl::Status ScanInner(std::shared_ptr<const RandomAccessFile> file,
                         string_view name,
                         WalkTrust trust = WalkTrust::kAnchored);
  void AddSurvey(const ZipSurvey& survey);
  void Unseen(const ScanStart& start, string_view reason);
  std::string PathOf(string_view name) const;
  const ScanStart& StartBefore(int64_t offset) const;
  int64_t end() const { return file_->size_bytes(); }

  Shared& shared_;
  const std::shared_ptr<const RandomAccessFile> file_;
  const std::string path_;
  const int depth_;
  const WalkTrust trust_;
  ByteWindow window_;
  ByteWindow names_;
  int64_t budget_;
  bool told_budget_ = false;

  std::vector<ScanStart> starts_;             // ascending
  absl::flat_hash_set<int64_t> headers_;      // local ones that were seen
  absl::flat_hash_set<int64_t> directories_;  // end records, likewise
  // Twice where it began, plus one for what was inflated.
  absl::flat_hash_set<int64_t> anchored_;
  absl::flat_hash_set<int64_t> reported_;  // opcodes
  int64_t position_ = 0;                   // of the sweep
};

std::string BlobScan::PathOf(string_view name) const {
  if (path_.empty() || name.empty()) return absl::StrCat(path_, name);
  return absl::StrCat(path_, "!", name);
}

void BlobScan::Unseen(const ScanStart& start, string_view reason) {
  ScanFinding finding;
  finding.kind = ScanKind::kUnseen;
  finding.level = ScanLevel::kUnseen;
  finding.record = PathOf(start.name);
  finding.reason = std::string(reason);
  shared_.Add(std::move(finding));
}

void BlobScan::AddSurvey(const ZipSurvey& survey) {
  for (ScanFinding finding : survey.findings) {
    finding.record = PathOf(finding.record);
    shared_.Add(std::move(finding));
  }
  for (const ZipRecordSeen& record : survey.records) {
    headers_.insert(record.header_offset);
  }
}

void BlobScan::FindStarts() {
  const std::string head(window_.Get(0, 512));
  ZipSurvey survey;
  for (const int64_t offset : SurveyTail(window_, survey)) {
    directories_.insert(offset);
  }
  AddSurvey(survey);
  for (const ZipRecordSeen& record : survey.records) {
    starts_.push_back(StartOf(record, end()));
  }
  if (KindOf(head, end()) == FileKind::kTar) {
    const auto members = ReadTarDirectory(*file_);
    if (!members.ok()) {
      Unseen({0, 0, ""}, "a damaged tar file: not all its members are known");
    } else {
      for (const TarMember& member : *members) {
        starts_.push_back(
            {member.offset, member.offset + member.size_bytes, member.name});
      }
    }
  }
  if (!directories_.empty()) {
    const ScanStart behind =
        StartBehindZip(window_, *absl::c_max_element(directories_));
    if (behind.begin < end()) starts_.push_back(behind);
  }
  starts_.push_back({0, end(), ""});
  std::stable_sort(
      starts_.begin(), starts_.end(),
      [](const ScanStart& a, const ScanStart& b) { return a.begin < b.begin; });
}

absl::Status BlobScan::Run() {
  FindStarts();
  PENSTOCK_RETURN_IF_ERROR(Sweep());
  PENSTOCK_RETURN_IF_ERROR(window_.status());
  return names_.status();
}

// The last start that begins at or before `offset`.
const ScanStart& BlobScan::StartBefore(int64_t offset) const {
  const auto behind = std::upper_bound(
      starts_.begin(), starts_.end(), offset,
      [](int64_t at, const ScanStart& start) { return at < start.begin; });
  return *(behind - 1);
}

// The first range of ScanLimits::tensors that ends behind `offset`.
std::pair<int64_t, int64_t> BlobScan::TensorFrom(int64_t offset) const {
  const auto& tensors = shared_.limits.tensors;
  const auto range = std::upper_bound(
      tensors.begin(), tensors.end(), offset,
      [](int64_t at, const auto& one) { return at < one.second; });
  if (depth_ > 0 || range == tensors.end()) return {INT64_MAX, INT64_MAX};
  return *range;
}

absl::Status BlobScan::Sweep() {
  for (size_t i = 0; i < starts_.size(); ++i) {
    position_ = std::max(position_, starts_[i].begin);
    // What a pickle has swallowed begins all the same.
    const int64_t next = i + 1 < starts_.size() ? starts_[i + 1].begin : end();
    if (TensorFrom(starts_[i].begin).first > starts_[i].begin) {
      PENSTOCK_RETURN_IF_ERROR(Anchor(starts_[i]));
    }
    position_ = std::min(position_, next);
    PENSTOCK_RETURN_IF_ERROR(SweepTo(next));
  }
  return absl::OkStatus();
}

absl::Status BlobScan::SweepTo(int64_t limit) {
  limit = std::min(limit, end());
  while (position_ < limit) {
    const auto [tensor_begin, tensor_end] = TensorFrom(position_);
    if (tensor_begin <= position_) {
      position_ = std::min(limit, tensor_end);
      continue;
    }
    const int64_t stop = std::min(limit, tensor_begin);
    const string_view bytes = window_.GetAhead(
        position_,
        std::min(stop - position_ + int64_t{kTraceBytes}, kLeastAhead),
        kWindowBytes);
    if (bytes.empty()) break;
    const int64_t size = static_cast<int64_t>(bytes.size());
    // Near the end of the window too little is seen ahead.
    const int64_t sure =
        position_ + size == end() ? size : size - int64_t{kTraceBytes};
    const int64_t most = std::min(sure, stop - position_);
    const int64_t found = static_cast<int64_t>(NextTrace(bytes, 0, most));
    position_ += found;
    if (found < most) {
      const int64_t trace = position_++;
      PENSTOCK_RETURN_IF_ERROR(Follow(trace));
      position_ = std::min(position_, limit);
    } else if (depth_ == 0 && shared_.limits.progress) {
      if (shared_.limits.progress({position_, end()}) == Proceed::kCancel) {
        return absl::CancelledError("cancelled");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status BlobScan::Follow(int64_t offset) {
  const string_view ahead = window_.Get(offset, 4);
  if (absl::StartsWith(ahead, "PK\3")) return FollowHeader(offset);
  if (absl::StartsWith(ahead, "PK\5")) return FollowDirectory(offset);
  if (window_.Get(offset, kLegacyMagic.size()) == kLegacyMagic) {
    return FollowLegacy(offset);
  }
  if (budget_ <= 0) {
    if (!told_budget_) {
      Unseen(StartBefore(offset),
             "more beginnings of pickles than are followed");
    }
    told_budget_ = true;
    return absl::OkStatus();
  }
  const PickleWalk walk = Walk(offset);
  if (!Believes(walk, StartBefore(offset), WalkTrust::kFound)) {
    return absl::OkStatus();
  }
  if (walk.how == PickleWalk::End::kStop) position_ = SeenUpTo(walk);
  return Commit(walk, StartBefore(offset));
}

// A record that no directory names: of a zip file that was cut off, or within
// another file.
absl::Status BlobScan::FollowHeader(int64_t offset) {
  if (!headers_.insert(offset).second) return absl::OkStatus();
  const auto record = LocalHeaderAt(window_, offset);
  if (!record.has_value() || record->name.empty() ||
      (record->method != 0 && record->method != 8)) {
    return absl::OkStatus();
  }
  position_ = std::max(position_, record->data_begin);
  return Anchor(StartOf(*record, end()));
}

absl::Status BlobScan::FollowDirectory(int64_t offset) {
  if (budget_ <= 0 || !directories_.insert(offset).second) {
    return absl::OkStatus();
  }
  ZipSurvey survey;
  SurveyDirectory(window_, offset, survey);
  budget_ -= 64 * static_cast<int64_t>(survey.records.size());
  AddSurvey(survey);
  for (const ZipRecordSeen& record : survey.records) {
    PENSTOCK_RETURN_IF_ERROR(Anchor(StartOf(record, end())));
  }
  return absl::OkStatus();
}

// Programs save several checkpoints into one stream.
absl::Status BlobScan::FollowLegacy(int64_t offset) {
  if (!anchored_.insert(2 * offset).second) return absl::OkStatus();
  return Chain(offset, StartBefore(offset), WalkTrust::kSure, kLegacyPickles);
}

PickleWalk BlobScan::Walk(int64_t begin) {
  return WalkBothWays(window_, names_, budget_, begin);
}

bool BlobScan::Believes(const PickleWalk& walk, const ScanStart& start,
                        WalkTrust trust) {
  const int64_t size =
      std::min({walk.end + 1 - walk.begin, start.end - walk.begin, kTextBytes});
  return IsBelievable(
      walk, trust,
      walk.findings.empty() || IsText(window_.Get(walk.begin, size))
          ? WalkedOver::kText
          : WalkedOver::kBytes);
}

absl::Status BlobScan::Anchor(const ScanStart& start) {
  const bool packed = start.method != 0;
  if (start.begin >= end() ||
      !anchored_.insert(2 * start.begin + (packed ? 1 : 0)).second) {
    return absl::OkStatus();
  }
  const std::string head(window_.Get(
      start.begin, std::min<int64_t>(512, start.end - start.begin)));
  PENSTOCK_ASSIGN_OR_RETURN(const bool done, Unpack(start, head));
  if (done) return absl::OkStatus();
  WalkTrust trust = start.begin == 0 ? trust_ : WalkTrust::kAnchored;
  const FileKind kind = KindOf(head, start.end - start.begin);
  // Bytes that are packed are no pickle as they lie, whatever their name.
  if (!packed && (IsNamedPickle(start.name) ||
                  (start.name.empty() && (kind == FileKind::kPickle ||
                                          kind == FileKind::kLegacyStream)))) {
    trust = WalkTrust::kSure;
  }
  // As a pickle it would begin with a persistent id, which only a program that
  // knows such ids goes beyond.
  if (kind == FileKind::kZip) return absl::OkStatus();
  if (kind == FileKind::kTar) {
    // The name of its first member is the beginning of a pickle, or of none.
    const PickleWalk walk = Walk(start.begin);
    return Believes(walk, start, WalkTrust::kFound) ? Commit(walk, start)
                                                    : absl::OkStatus();
  }
  if (kind == FileKind::kNpy) {
    return Chain(start.begin + NpyHeaderBytes(head), start,
                 MayHoldObjects(head) ? WalkTrust::kSure : trust, 1);
  }
  return Chain(start.begin, start, trust,
               kind == FileKind::kLegacyStream ? kLegacyPickles : 1);
}

// True where what is there is another file, which has been scanned.
absl::StatusOr<bool> BlobScan::Unpack(const ScanStart& start,
                                      string_view head) {
  if (start.encrypted) {
    Unseen(start, "encrypted");
    return true;
  }
  bool something = false;
  if (start.method == 8) {
    PENSTOCK_RETURN_IF_ERROR(
        Inflate(start.begin, DeflateWrapping::kRaw, start, something));
    if (!something) {
      Unseen(start, start.flagged ? "encrypted" : "its compression is damaged");
    } else if (start.flagged) {
      ScanFinding finding;
      finding.kind = ScanKind::kZip;
      finding.level = ScanLevel::kDangerous;
      finding.record = PathOf(start.name);
      finding.reason = "flags that make some programs skip it";
      shared_.Add(std::move(finding));
    }
    // As it lies there it may be something, too.
    return false;
  }
  if (start.method != 0) {
    Unseen(start, absl::StrCat("compressed by method ", start.method,
                               ", which is not known here"));
    return false;
  }
  const FileKind kind = KindOf(head, start.end - start.begin);
  const bool is_whole = start.begin == 0 && start.end == end();
  switch (kind) {
    case FileKind::kZip:
    case FileKind::kTar:
      // Behind an empty record the next one begins.
      if (is_whole || (start.empty && headers_.contains(start.begin))) {
        return false;
      }
      position_ = std::max(position_, start.end);
      PENSTOCK_RETURN_IF_ERROR(
          ScanInner(std::make_shared<SubFile>(file_, start.begin,
                                              start.end - start.begin),
                    start.name));
      return true;
    case FileKind::kBzip2:
      // Its three bytes begin many a tensor.
      if (!is_whole && !IsBzip2Block(head)) return false;
      [[fallthrough]];
    case FileKind::kXz:
    case FileKind::kZstd:
    case FileKind::kLz4:
    case FileKind::kLzma:
    case FileKind::kSevenZip:
    case FileKind::kRar:
      Unseen(start, absl::StrCat(TextOf(kind).what, ": ", TextOf(kind).advice));
      return false;
    default:
      break;
  }
  if (kind == FileKind::kGzip || IsZlib(head)) {
    PENSTOCK_RETURN_IF_ERROR(
        Inflate(start.begin, DeflateWrapping::kZlibOrGzip, start, something));
  }
  return false;
}

absl::Status BlobScan::Inflate(int64_t offset, DeflateWrapping wrapping,
                               const ScanStart& start, bool& something) {
  Spool spool(shared_.files, shared_.limits.temporary_directory);
  bool too_much = false;
  const absl::StatusOr<InflateEnd> inflated = InflateTolerantly(
      *file_, offset, wrapping, [&](absl::Span<const uint8_t> piece) {
        shared_.inflated_left -= static_cast<int64_t>(piece.size());
        too_much = shared_.inflated_left < 0;
        if (too_much) return absl::OutOfRangeError("");
        return spool.Append(piece);
      });
  if (too_much) {
    shared_.inflated_left = 0;
    Unseen(start, "it inflates to more than is looked at");
  } else {
    PENSTOCK_RETURN_IF_ERROR(inflated.status());
  }
  something = too_much || spool.size_bytes() > 0 || inflated->whole;
  // Packed bytes look like anything; as they lie, no program takes them.
  if (inflated.ok() && inflated->whole) {
    position_ = std::max(position_, inflated->offset);
  }
  if (spool.size_bytes() == 0) return absl::OkStatus();
  return ScanInner(std::move(spool).Finish(), start.name);
}

absl::Status BlobScan::ScanInner(std::shared_ptr<const RandomAccessFile> file,
                                 string_view name, WalkTrust trust) {
  if (depth_ + 1 > shared_.limits.max_depth) {
    Unseen({0, 0, std::string(name)}, "files within files, too deep");
    return absl::OkStatus();
  }
  if (shared_.inner_left <= 0) {
    if (!std::exchange(shared_.told_inner, true)) {
      Unseen({0, 0, std::string(name)},
             "more files within files than are looked at");
    }
    return absl::OkStatus();
  }
  shared_.inner_left -= std::max(file->size_bytes(), kInnerCost);
  return BlobScan(shared_, std::move(file), PathOf(name), depth_ + 1, trust)
      .Run();
}

// The pickles from `begin` on, one behind the other; `trust` is in the first
// `num_trusted`.
absl::Status BlobScan::Chain(int64_t begin, const ScanStart& start,
                             WalkTrust trust, int num_trusted) {
  while (begin < start.end) {
    PickleWalk walk = Walk(begin);
    // Who reads the record finds its end there.
    if (walk.how == PickleWalk::End::kStop && walk.end > start.end) {
      walk.how = PickleWalk::End::kCut;
    }
    if (Believes(walk, start, trust)) {
      PENSTOCK_RETURN_IF_ERROR(Commit(walk, start));
    }
    if (walk.how != PickleWalk::End::kStop || walk.num_opcodes < 2) break;
    begin = walk.end;
    position_ = std::max(position_, SeenUpTo(walk));
    // As for what is not sure, all the file's bytes may follow.
    if (--num_trusted <= 0) trust = WalkTrust::kAnchored;
  }
  return absl::OkStatus();
}

absl::Status BlobScan::Commit(const PickleWalk& walk, const ScanStart& start) {
  bool names = false;
  for (ScanFinding finding : walk.findings) {
    names = true;
    if (finding.kind == ScanKind::kGlobal &&
        !reported_.insert(finding.offset).second) {
      continue;
    }
    finding.record = PathOf(start.name);
    finding.offset -= start.begin;
    shared_.Add(std::move(finding));
  }
  if (walk.how == PickleWalk::End::kStop || names) ++shared_.report.num_pickles;
  if (walk.how == PickleWalk::End::kLimit) {
    Unseen(start, "a pickle beyond the limits of the scan");
  } else if (walk.how != PickleWalk::End::kStop && names &&
             reported_.insert(-1 - walk.end).second) {
    ScanFinding finding;
    finding.kind = ScanKind::kPickle;
    finding.level = ScanLevel::kDangerous;
    finding.record = PathOf(start.name);
    finding.offset = walk.end - start.begin;
    finding.reason = walk.how == PickleWalk::End::kCut
                         ? "the pickle is cut off behind what it names"
                         : "the pickle is broken behind what it names";
    shared_.Add(std::move(finding));
  }
  for (const PickleText& payload : walk.payloads) {
    PENSTOCK_RETURN_IF_ERROR(ScanPayload(payload, start));
  }
  return absl::OkStatus();
}

absl::Status BlobScan::ScanPayload(const PickleText& text,
                                   const ScanStart& start) {
  const WalkTrust trust = text.loaded ? WalkTrust::kSure : WalkTrust::kAnchored;
  const std::string name =
      absl::StrCat(start.name, start.name.empty() ? "" : "!", "bytes at ",
                   text.offset - start.begin);
  if (text.coding == PickleCoding::kRaw) {
    return ScanInner(
        std::make_shared<SubFile>(file_, text.offset, text.size_bytes), name,
        trust);
  }
  if (text.size_bytes > kMaxDecodedBytes) {
    Unseen({0, 0, name}, "a file as text, longer than is looked at");
    return absl::OkStatus();
  }
  std::optional<std::string> bytes =
      DecodePickleText(names_, text, kMaxDecodedBytes);
  if (!bytes.has_value()) return absl::OkStatus();
  return ScanInner(std::make_shared<TextFile>(*std::move(bytes)), name, trust);
}

}  // namespace

absl::StatusOr<ScanReport> ScanFile(
    std::shared_ptr<const RandomAccessFile> file, const ScanLimits& limits) {
  const int64_t size = file->size_bytes();
  Shared shared{limits,
                limits.files == nullptr ? PosixFileSystem() : *limits.files,
                std::max(limits.max_inflated_bytes, limits.max_growth * size),
                std::max(limits.max_inner_bytes, limits.max_growth * size),
                false,
                {}};
  shared.report.file_bytes = size;
  PENSTOCK_RETURN_IF_ERROR(
      BlobScan(shared, std::move(file), "", 0, WalkTrust::kAnchored).Run());
  return std::move(shared.report);
}

}  // namespace penstock
