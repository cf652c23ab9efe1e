// ScanFile: every pickle that a file may hold, and what it could do.

#ifndef PENSTOCK_COMPAT_FILE_SCAN_H_
#define PENSTOCK_COMPAT_FILE_SCAN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compat/scan.h"
#include "core/file.h"
#include "core/progress.h"

namespace penstock {

struct ScanLimits {
  FileSystem* files = nullptr;  // null: the operating system's
  // For what was inflated, from 16 MiB on.
  std::string temporary_directory = "/var/tmp";
  // Of all that is inflated: this much, or max_growth times the file.
  int64_t max_inflated_bytes = int64_t{4} << 30;
  int64_t max_growth = 16;
  // Of all files within files: this much, or max_growth times the file.
  int64_t max_inner_bytes = int64_t{1} << 30;
  int max_depth = 8;  // of files within files
  // Globs over "module.name": what is unknown and matches is allowed.
  std::vector<std::string> allow;
  ProgressCallback progress;  // may be null; can cancel
  // Ranges [begin, end), ascending, of bytes that are known for tensors: not
  // looked at.
  std::vector<std::pair<int64_t, int64_t>> tensors;
};

// Scans any file; that no reader would open it is no obstacle. Finds pickles
// where programs look for them (the file's start, the start of each record of
// zip and tar files however their headers lie, behind the end of another
// pickle, in what _load_from_bytes gets, behind the header of a .npy, in what
// is deflated) and where they are hidden: at any offset, by what they begin
// with. Of a .pstk: the tree as it would be written, and the origin as it would
// be restored.
//
// Time is linear in the size of the file and of what is inflated; memory at
// most 500 MiB, for honest files a few. What is over a limit is a finding.
//
// Errors: those of reading; kCancelled; kResourceExhausted (no space for a
// temporary).
absl::StatusOr<ScanReport> ScanFile(
    std::shared_ptr<const RandomAccessFile> file, const ScanLimits& limits);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FILE_SCAN_H_
