#include "compat/file_scan.h"

#include <utility>

#include "compat/blob_scan.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<ScanReport> ScanFile(
    std::shared_ptr<const RandomAccessFile> file, const ScanLimits& limits) {
  ScanRun run(limits, file->size_bytes());
  PENSTOCK_RETURN_IF_ERROR(
      BlobScan(run, std::move(file), "", 0, WalkTrust::kAnchored).Run());
  return std::move(run.report);
}

}  // namespace penstock
