// ScanAnyFile: ScanFile, also of the two truths of a .pstk.

#ifndef PENSTOCK_COMPAT_NATIVE_SCAN_H_
#define PENSTOCK_COMPAT_NATIVE_SCAN_H_

#include <memory>

#include "absl/status/statusor.h"
#include "codec/native_file.h"
#include "compat/file_scan.h"
#include "compat/scan.h"
#include "core/file.h"

namespace penstock {

// Of a .pstk that opens: its tree as `convert --format pt` would write it
// (record "(tree)"), and its origin as it would be restored ("(origin)"); of
// any other file, ScanFile. Errors: ScanFile's.
absl::StatusOr<ScanReport> ScanAnyFile(
    std::shared_ptr<const RandomAccessFile> file, const ScanLimits& limits);

// What restoring the origin would write, but for the bytes of tensors: no
// program takes those for a pickle, and reading them takes longest. Errors:
// ScanFile's; kDataLoss, kNotFound as LayOutOrigin.
absl::StatusOr<ScanReport> ScanOrigin(const NativeFile& native,
                                      const ScanLimits& limits);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NATIVE_SCAN_H_
