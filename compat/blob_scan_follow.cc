#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/blob_scan.h"
#include "compat/file_kind.h"
#include "compat/spool.h"
#include "compat/sub_file.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

// Decoded texts of pickles that are files of their own.
constexpr int64_t kMaxDecodedBytes = 128 << 20;
// Magic number, version, system, object, keys: what torch reads.
constexpr int kLegacyPickles = 5;
// The first of them.
constexpr string_view kLegacyMagic(
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
// What one more file within files costs at least.
constexpr int64_t kInnerCost = 4 << 10;
// So much decides whether a pickle that breaks off could be text.
constexpr int64_t kTextBytes = 4 << 10;

// Whether arrays are as long as the walk took them for is not sure.
int64_t SeenUpTo(const PickleWalk& walk) {
  return walk.first_array < 0 ? walk.end : walk.first_array;
}

}  // namespace

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
  PENSTOCK_RETURN_IF_ERROR(run_.Work(walk.end - walk.begin));
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
      run_.Add(std::move(finding));
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
  Spool spool(run_.files, run_.limits.temporary_directory);
  bool too_much = false;
  const absl::StatusOr<InflateEnd> inflated = InflateTolerantly(
      *file_, offset, wrapping, [&](absl::Span<const uint8_t> piece) {
        const int64_t size = static_cast<int64_t>(piece.size());
        run_.inflated_left -= size;
        too_much = run_.inflated_left < 0;
        if (too_much) return absl::OutOfRangeError("");
        PENSTOCK_RETURN_IF_ERROR(run_.Work(size));
        return spool.Append(piece);
      });
  if (too_much) {
    run_.inflated_left = 0;
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
  if (depth_ + 1 > run_.limits.max_depth) {
    Unseen({0, 0, std::string(name)}, "files within files, too deep");
    return absl::OkStatus();
  }
  if (run_.inner_left <= 0) {
    if (!std::exchange(run_.told_inner, true)) {
      Unseen({0, 0, std::string(name)},
             "more files within files than are looked at");
    }
    return absl::OkStatus();
  }
  run_.inner_left -= std::max(file->size_bytes(), kInnerCost);
  return BlobScan(run_, std::move(file), PathOf(name), depth_ + 1, trust).Run();
}

// The pickles from `begin` on, one behind the other; `trust` is in the first
// `num_trusted`.
absl::Status BlobScan::Chain(int64_t begin, const ScanStart& start,
                             WalkTrust trust, int num_trusted) {
  while (begin < start.end) {
    PickleWalk walk = Walk(begin);
    PENSTOCK_RETURN_IF_ERROR(run_.Work(walk.end - walk.begin));
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
    run_.Add(std::move(finding));
  }
  if (walk.how == PickleWalk::End::kStop || names) ++run_.report.num_pickles;
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
    run_.Add(std::move(finding));
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

}  // namespace penstock
