#include "compat/native_scan.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/file_kind.h"
#include "compat/origin.h"
#include "compat/pickle_writer.h"
#include "compat/restored_file.h"
#include "compat/spool.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

void AddUnseen(string_view record, const absl::Status& why, ScanReport& into) {
  ScanFinding finding;
  finding.kind = ScanKind::kUnseen;
  finding.level = ScanLevel::kUnseen;
  finding.record = std::string(record);
  finding.reason = std::string(why.message());
  into.level = std::max(into.level, finding.level);
  into.unseen = true;
  into.findings.push_back(std::move(finding));
}

// Adds a part's findings under its name.
void Add(string_view record, ScanReport part, ScanReport& into) {
  into.level = std::max(into.level, part.level);
  into.unseen = into.unseen || part.unseen;
  into.unknown = into.unknown || part.unknown;
  into.num_pickles += part.num_pickles;
  into.num_left_out += part.num_left_out;
  for (ScanFinding& finding : part.findings) {
    if (static_cast<int64_t>(into.findings.size()) >= kMaxScanFindings) {
      ++into.num_left_out;
      continue;
    }
    finding.record = finding.record.empty()
                         ? std::string(record)
                         : absl::StrCat(record, "!", finding.record);
    into.findings.push_back(std::move(finding));
  }
}

absl::Status ScanTree(const NativeFile& native, const ScanLimits& limits,
                      ScanReport& report) {
  absl::StatusOr<PickledCheckpoint> pickled = WritePickle(native.root());
  if (!pickled.ok()) {
    AddUnseen("(tree)", pickled.status(), report);
    return absl::OkStatus();
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      ScanReport part,
      ScanFile(std::make_shared<TextFile>(std::move(pickled->pickle)), limits));
  Add("(tree)", std::move(part), report);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScanReport> ScanOrigin(const NativeFile& native,
                                      const ScanLimits& limits) {
  PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<RestoredFile> restored,
                            RestoredFile::Open(native));
  ScanLimits quick = limits;
  quick.tensors = restored->TensorRanges();
  return ScanFile(std::move(restored), quick);
}

absl::StatusOr<ScanReport> ScanAnyFile(
    std::shared_ptr<const RandomAccessFile> file, const ScanLimits& limits) {
  PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(*file));
  if (kind != FileKind::kNative) return ScanFile(std::move(file), limits);
  ScanReport report;
  report.file_bytes = file->size_bytes();
  const auto native = NativeFile::Open(file);
  if (!native.ok()) {
    PENSTOCK_ASSIGN_OR_RETURN(report, ScanFile(std::move(file), limits));
    AddUnseen("", native.status(), report);
    return report;
  }
  PENSTOCK_RETURN_IF_ERROR(ScanTree(**native, limits, report));
  const auto origin = OriginOf((*native)->index());
  if (origin.ok() && !origin->has_value()) return report;
  absl::StatusOr<std::unique_ptr<RestoredFile>> restored =
      RestoredFile::Open(**native);
  if (!restored.ok()) {
    AddUnseen("(origin)", restored.status(), report);
    return report;
  }
  absl::StatusOr<ScanReport> part = ScanFile(*std::move(restored), limits);
  if (absl::IsDataLoss(part.status())) {
    AddUnseen("(origin)", part.status(), report);
    return report;
  }
  PENSTOCK_RETURN_IF_ERROR(part.status());
  Add("(origin)", *std::move(part), report);
  return report;
}

}  // namespace penstock
