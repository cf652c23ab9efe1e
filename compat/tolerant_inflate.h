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

struct InflateEnd {
  bool whole = false;  // the stream came to its end
  int64_t offset = 0;  // then: behind its last byte
};

// Inflates from `offset` on to the end of the stream, to its first fault or to
// the end of the file: no size and no checksum is compared, which is what some
// programs do. Streams of zlib or gzip that follow at once, or behind zeros,
// are part of the first, as for Python's gzip and joblib. Errors: those of
// reading and of `write`.
absl::StatusOr<InflateEnd> InflateTolerantly(
    const RandomAccessFile& file, int64_t offset, DeflateWrapping wrapping,
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TOLERANT_INFLATE_H_
