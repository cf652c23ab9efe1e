// The bytes of one zip record. The only home of deflate.

#ifndef PENSTOCK_COMPAT_ZIP_RECORD_H_
#define PENSTOCK_COMPAT_ZIP_RECORD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "compat/zip_reader.h"
#include "core/file.h"

namespace penstock {

// The whole record, inflated where it is deflated, its CRC checked; a stored
// CRC of 0 passes as not computed. Errors: kResourceExhausted (over
// `max_bytes`, or more than deflate can inflate to), kDataLoss (CRC, deflate
// stream).
absl::StatusOr<std::string> ReadZipRecord(const RandomAccessFile& file,
                                          const ZipEntry& entry,
                                          int64_t max_bytes);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_RECORD_H_
