#include "api/scan.h"

#include <memory>
#include <utility>

#include "api/opened.h"
#include "compat/native_scan.h"
#include "core/status_macros.h"

namespace penstock {

ScanLimits ScanLimitsOf(const RunOptions& options) {
  ScanLimits limits;
  limits.files = options.files;
  limits.temporary_directory = options.temporary_directory;
  limits.progress = options.progress;
  return limits;
}

absl::StatusOr<ScanReport> Scan(const std::string& path,
                                const ScanOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            FilesOf(options.run).OpenRead(path));
  return Scan(std::move(file), options);
}

absl::StatusOr<ScanReport> Scan(std::shared_ptr<const RandomAccessFile> file,
                                const ScanOptions& options) {
  ScanLimits limits = ScanLimitsOf(options.run);
  limits.allow = options.allow;
  return ScanAnyFile(std::move(file), limits);
}

}  // namespace penstock
