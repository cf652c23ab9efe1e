#include <string>
#include <vector>

#include "api/opened.h"
#include "api/penstock.h"
#include "codec/reporting_source.h"
#include "core/status_macros.h"
#include "core/value_compare.h"

namespace penstock {
namespace {

// Reads all payload of an open checkpoint; damage goes to report.findings.
absl::Status VerifyPayload(const Checkpoint::Opened& opened,
                           VerifyReport& report) {
  const Plan plan =
      opened.native != nullptr ? opened.native->FilePlan() : opened.TreePlan();
  const Checkpoint::Opened::Run run = opened.NewRun();
  ReportingSource source(*run.source, NamesFor(plan, opened.names()),
                         ReportingSource::OnDamage::kCollect);
  NullSink sink;
  PENSTOCK_RETURN_IF_ERROR(
      Pump(plan, source, sink, PumpOptionsOf(opened.options)).status());
  report.findings = source.Findings();
  report.raw_bytes = StorageBytesOf(*opened.root.graph());
  report.num_tensors = opened.state_dict().size();
  if (run.foreign != nullptr) {
    report.unverified_bytes = run.foreign->unverified_bytes();
  }
  return absl::OkStatus();
}

// kDataLoss is what verify is there to find.
absl::Status FindingOrError(const absl::Status& status, VerifyReport& report) {
  if (status.code() != absl::StatusCode::kDataLoss) return status;
  report.findings.push_back(std::string(status.message()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<VerifyReport> Verify(const std::string& path,
                                    const RunOptions& options) {
  const Clock::time_point start = Clock::now();
  VerifyReport report;
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            OpenPath(path, options));
  report.file_bytes = file->size_bytes();
  PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(*file));
  Checkpoint::Opened opened;
  opened.options = options;
  opened.path = path;
  if (kind != FileKind::kNative) opened.format = Format::kPt;
  const absl::Status is_open = opened.OpenAs(kind, std::move(file));
  report.format = opened.format;
  report.file_bytes += opened.file_bytes;  // of the files that it names
  PENSTOCK_RETURN_IF_ERROR(FindingOrError(is_open, report));
  if (is_open.ok()) {
    PENSTOCK_RETURN_IF_ERROR(VerifyPayload(opened, report));
    if (opened.native != nullptr) {
      PENSTOCK_RETURN_IF_ERROR(
          FindingOrError(opened.native->VerifyGlue(), report));
    }
  }
  report.seconds = SecondsSince(start);
  return report;
}

absl::Status Compare(const Value& a, const Value& b) {
  return CompareValues(a, b);
}

}  // namespace penstock
