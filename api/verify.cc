#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/diff.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "codec/reporting_source.h"
#include "compat/restored_file.h"
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

constexpr size_t kMaxFindings = 100;

void AddDifferences(const DiffReport& diff, VerifyReport& report) {
  std::vector<std::string> found;
  for (const TensorDiff& tensor : diff.changed) {
    found.push_back(absl::StrCat("tensor \"", tensor.name, "\" differs"));
  }
  for (const LoneTensor& tensor : diff.removed) {
    found.push_back(absl::StrCat("tensor \"", tensor.name, "\" is not in it"));
  }
  for (const LoneTensor& tensor : diff.added) {
    found.push_back(absl::StrCat("tensor \"", tensor.name, "\" is only in it"));
  }
  for (const ValueDiff& value : diff.values) {
    found.push_back(absl::StrCat(value.path, " differs"));
  }
  const size_t total = found.size();
  if (total > kMaxFindings) {
    found.resize(kMaxFindings);
    found.push_back(absl::StrCat("and ", total - kMaxFindings, " more"));
  }
  for (const std::string& what : found) {
    report.findings.push_back(absl::StrCat("origin: ", what));
  }
}

// Compares what restoring would write with the tree. That its size is that of
// skeleton and extents is LayOutOrigin's to check.
absl::Status CompareOrigin(const Checkpoint& checkpoint,
                           const RunOptions& options, VerifyReport& report) {
  absl::StatusOr<std::unique_ptr<RestoredFile>> restored =
      RestoredFile::Open(*checkpoint.opened().native);
  if (!restored.ok()) return restored.status();
  const absl::StatusOr<Checkpoint> origin =
      Checkpoint::Open(*std::move(restored), options);
  const absl::StatusCode code = origin.status().code();
  if (code == absl::StatusCode::kUnimplemented ||
      code == absl::StatusCode::kInvalidArgument) {
    return absl::DataLossError(origin.status().message());
  }
  PENSTOCK_RETURN_IF_ERROR(origin.status());
  if (origin->format() != checkpoint.origin()->format) {
    return absl::DataLossError(absl::StrCat(
        "origin: it is ", std::string(NameOf(origin->format())), ", not ",
        std::string(NameOf(checkpoint.origin()->format))));
  }
  const absl::Status same = CompareValues(checkpoint.root(), origin->root());
  if (!same.ok()) {
    report.findings.push_back(
        absl::StrCat("origin: its tree differs: ", same.message()));
  }
  DiffOptions how;
  how.run = options;
  PENSTOCK_ASSIGN_OR_RETURN(const DiffReport diff,
                            Diff(checkpoint, *origin, how));
  AddDifferences(diff, report);
  return absl::OkStatus();
}

// `path`: of the checkpoint that `file` is, or stands for.
absl::StatusOr<VerifyReport> VerifyFile(
    std::shared_ptr<const RandomAccessFile> file, const std::string& path,
    const VerifyOptions& verify_options) {
  const RunOptions& options = verify_options.run;
  const Clock::time_point start = Clock::now();
  VerifyReport report;
  report.file_bytes = file->size_bytes();
  PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(*file));
  Checkpoint::Opened opened;
  opened.options = options;
  opened.path = path;
  if (kind != FileKind::kNative) opened.format = Format::kPt;
  const absl::Status is_open = opened.OpenAs(kind, file);
  report.format = opened.format;
  report.file_bytes += opened.file_bytes;  // of the files that it names
  PENSTOCK_RETURN_IF_ERROR(FindingOrError(is_open, report));
  if (is_open.ok()) {
    if (verify_options.origin && !opened.origin.has_value()) {
      return absl::NotFoundError(
          absl::StrCat(path, ": it has no origin to compare"));
    }
    PENSTOCK_RETURN_IF_ERROR(VerifyPayload(opened, report));
    if (opened.native != nullptr) {
      PENSTOCK_RETURN_IF_ERROR(
          FindingOrError(opened.native->VerifyGlue(), report));
    }
    if (verify_options.origin && report.findings.empty()) {
      PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                                Checkpoint::Open(std::move(file), options));
      PENSTOCK_RETURN_IF_ERROR(
          FindingOrError(CompareOrigin(checkpoint, options, report), report));
      report.compared_origin = true;
    }
  }
  report.seconds = SecondsSince(start);
  return report;
}

}  // namespace

absl::StatusOr<VerifyReport> Verify(const std::string& path,
                                    const RunOptions& options) {
  return Verify(path, VerifyOptions{false, options});
}

absl::StatusOr<VerifyReport> Verify(const std::string& path,
                                    const VerifyOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            OpenPath(path, options.run));
  return VerifyFile(std::move(file), path, options);
}

absl::StatusOr<VerifyReport> Verify(
    std::shared_ptr<const RandomAccessFile> file,
    const VerifyOptions& options) {
  const std::string path = file->path();
  return VerifyFile(std::move(file), path, options);
}

absl::Status Compare(const Value& a, const Value& b) {
  return CompareValues(a, b);
}

}  // namespace penstock
