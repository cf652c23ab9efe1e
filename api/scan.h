// Scan: what a file could do to who loads it with Python.
//
// A pickle names functions, and loading it calls them. Penstock never does;
// torch.load(weights_only=False), pickle.load and numpy.load(allow_pickle=True)
// do. Scan lists every name, says of each what it means, and looks where
// somebody would hide one: in records that no loader should touch, behind
// pickles that are broken on purpose, in files that no strict reader opens.
//
//   absl::StatusOr<ScanReport> report = Scan("download.pt");
//   if (report->level > ScanLevel::kUnknown) { ... }
//
// Levels: compat/scan.h; the rules: docs/SCAN.md.

#ifndef PENSTOCK_API_SCAN_H_
#define PENSTOCK_API_SCAN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/penstock.h"
#include "compat/scan.h"
#include "core/file.h"

namespace penstock {

struct ScanOptions {
  // Globs over "module.name", such as "models.*": what is unknown and matches
  // one is allowed. What is dangerous stays so.
  std::vector<std::string> allow;
  RunOptions run;
};

// Scans any file. That it is damaged, or no checkpoint at all, is no error.
// Errors: those of reading; kCancelled.
absl::StatusOr<ScanReport> Scan(const std::string& path,
                                const ScanOptions& options = {});
// A file that is open already.
absl::StatusOr<ScanReport> Scan(std::shared_ptr<const RandomAccessFile> file,
                                const ScanOptions& options);

}  // namespace penstock

#endif  // PENSTOCK_API_SCAN_H_
