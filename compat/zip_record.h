// The bytes of one zip record. The only home of deflate.

#ifndef PENSTOCK_COMPAT_ZIP_RECORD_H_
#define PENSTOCK_COMPAT_ZIP_RECORD_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
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

// Refuses a deflated record that says it holds more than deflate can make of
// its bytes. Errors: kResourceExhausted (zip_bomb), without the record's name.
absl::Status CheckDeflateRatio(const ZipEntry& entry);

// Gives the bytes of a deflated record to `write`, piece by piece, never more
// than the directory says. They are good only once this has returned OK: the
// stream was whole, its length right, nothing stood behind it, and the CRC was
// that of the bytes (or 0). Memory: below 180 KiB.
//
// Errors, which name the record: kDataLoss (zip_bad_local, zip_crc_mismatch),
// the file's, those of `write`.
absl::Status InflateZipRecord(
    const RandomAccessFile& file, const ZipEntry& entry,
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_RECORD_H_
