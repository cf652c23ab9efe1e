// The end of a zip file: where its directory lies.

#ifndef PENSTOCK_COMPAT_ZIP_END_H_
#define PENSTOCK_COMPAT_ZIP_END_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

struct ZipEnd {
  int64_t directory_offset = 0;
  int64_t directory_bytes = 0;
  int64_t num_records = 0;
  int64_t bytes_behind = 0;  // after the end record and its comment
};

// Reads the end of central directory and its zip64 form, in the last 64 KiB as
// torch does. A signature may also stand in a comment or in payload: whatever
// fits counts, and two that fit are one too many; so is one behind it that has
// its directory right before it, which zipfile and others would take. The
// directory ends exactly where the end records begin; its entries are not
// looked at.
// Errors: kDataLoss, kUnimplemented (several disks).
absl::StatusOr<ZipEnd> FindZipEnd(const RandomAccessFile& file);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_END_H_
