// InflateTolerantly: as much of a deflate stream as comes out of it.

#ifndef PENSTOCK_COMPAT_TOLERANT_INFLATE_H_
#define PENSTOCK_COMPAT_TOLERANT_INFLATE_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/file.h"

namespace penstock {

enum class DeflateWrapping { kRaw, kZlibOrGzip };

// Inflates from `offset` on to the end of the stream, to its first fault or to
// the end of the file: no size and no checksum is compared, which is what some
// programs do. Returns whether the stream came to its end.
// Errors: those of reading and of `write`.
absl::StatusOr<bool> InflateTolerantly(
    const RandomAccessFile& file, int64_t offset, DeflateWrapping wrapping,
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TOLERANT_INFLATE_H_
