#include "compat/blob_scan.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "compat/file_kind.h"
#include "compat/tar_reader.h"
#include "core/glob.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

// Between two questions whether to go on.
constexpr int64_t kStepBytes = 512 << 10;
constexpr int64_t kWindowBytes = 1 << 20;
constexpr int64_t kNamesWindowBytes = 4 << 10;
// Looked for traces in at once, at least.
constexpr int64_t kLeastAhead = 64 << 10;
// Of walking, for each byte of a file: honest files take less than two.
constexpr int64_t kBudgetPerByte = 16;
constexpr int64_t kFreeBudget = 1 << 20;

}  // namespace

ScanRun::ScanRun(const ScanLimits& with, int64_t file_bytes)
    : limits(with),
      files(with.files == nullptr ? PosixFileSystem() : *with.files),
      inflated_left(
          std::max(with.max_inflated_bytes, with.max_growth * file_bytes)),
      inner_left(std::max(with.max_inner_bytes, with.max_growth * file_bytes)) {
  report.file_bytes = file_bytes;
}

void ScanRun::Add(ScanFinding finding) {
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

bool ScanRun::IsAccepted(const ScanFinding& finding) const {
  if (finding.kind != ScanKind::kGlobal ||
      finding.level != ScanLevel::kUnknown) {
    return false;
  }
  const std::string name = absl::StrCat(finding.module, ".", finding.name);
  return std::any_of(
      limits.allow.begin(), limits.allow.end(),
      [&](const std::string& glob) { return MatchesGlob(glob, name); });
}

absl::Status ScanRun::Work(int64_t num_bytes) {
  unasked_bytes_ += num_bytes;
  if (unasked_bytes_ < kStepBytes || !limits.progress) return absl::OkStatus();
  unasked_bytes_ = 0;
  return limits.progress({done_bytes, report.file_bytes}) == Proceed::kContinue
             ? absl::OkStatus()
             : absl::CancelledError("cancelled");
}

BlobScan::BlobScan(ScanRun& run, std::shared_ptr<const RandomAccessFile> file,
                   std::string path, int depth, WalkTrust trust)
    : run_(run),
      file_(std::move(file)),
      path_(std::move(path)),
      depth_(depth),
      trust_(trust),
      window_(*file_, kWindowBytes),
      names_(*file_, kNamesWindowBytes),
      budget_(kFreeBudget + kBudgetPerByte * file_->size_bytes()) {}

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
  run_.Add(std::move(finding));
}

void BlobScan::AddSurvey(const ZipSurvey& survey) {
  for (ScanFinding finding : survey.findings) {
    finding.record = PathOf(finding.record);
    run_.Add(std::move(finding));
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
  const auto& tensors = run_.limits.tensors;
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
    }
    if (depth_ == 0) run_.done_bytes = position_;
    PENSTOCK_RETURN_IF_ERROR(run_.Work(found));
  }
  return absl::OkStatus();
}

}  // namespace penstock
