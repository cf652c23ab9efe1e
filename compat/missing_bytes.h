// MissingBytes: how much of a file was cut off.

#ifndef PENSTOCK_COMPAT_MISSING_BYTES_H_
#define PENSTOCK_COMPAT_MISSING_BYTES_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "compat/file_kind.h"
#include "core/file.h"

namespace penstock {

// At least so many bytes are missing at the end of a file of this kind, from
// what its front says of what should follow: the header of safetensors, the
// pickle and local headers of a zip, the pickles of a legacy stream. 0 where it
// is long enough; nothing where the front does not tell. For messages: nothing
// of the file is trusted beyond the number. Reads at most 256 MiB.
// Errors: those of reading.
absl::StatusOr<std::optional<int64_t>> MissingBytes(
    FileKind kind, const RandomAccessFile& file);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_MISSING_BYTES_H_
