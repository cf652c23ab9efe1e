#include "compat/tolerant_inflate.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kPieceBytes = 64 << 10;

// A z_stream that ends with its scope.
struct Stream {
  ~Stream() { inflateEnd(&state); }
  z_stream state = {};
};

}  // namespace

absl::StatusOr<InflateEnd> InflateTolerantly(
    const RandomAccessFile& file, int64_t offset, DeflateWrapping wrapping,
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write) {
  Stream stream;
  z_stream& state = stream.state;
  const int bits =
      wrapping == DeflateWrapping::kRaw ? -MAX_WBITS : MAX_WBITS + 32;
  if (inflateInit2(&state, bits) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to inflate");
  }
  std::vector<uint8_t> in(kPieceBytes), out(kPieceBytes);
  InflateEnd end;
  bool between = false;  // streams: zeros may lie there
  int result = Z_OK;
  while (result == Z_OK) {
    if (state.avail_in == 0) {
      const int64_t size = std::min(kPieceBytes, file.size_bytes() - offset);
      if (size > 0) {
        PENSTOCK_RETURN_IF_ERROR(
            file.Read(offset, absl::MakeSpan(in).first(size)));
      }
      offset += std::max<int64_t>(size, 0);
      state.next_in = in.data();
      state.avail_in = static_cast<uInt>(std::max<int64_t>(size, 0));
    }
    while (between && state.avail_in > 0 && *state.next_in == 0) {
      ++state.next_in;
      --state.avail_in;
    }
    if (between && state.avail_in == 0 && offset < file.size_bytes()) continue;
    between = false;
    state.next_out = out.data();
    state.avail_out = static_cast<uInt>(kPieceBytes);
    result = inflate(&state, Z_NO_FLUSH);
    const size_t size = kPieceBytes - state.avail_out;
    if (size > 0) {
      PENSTOCK_RETURN_IF_ERROR(write(absl::MakeConstSpan(out).first(size)));
    }
    if (result != Z_STREAM_END) continue;
    end.whole = true;
    end.offset = offset - static_cast<int64_t>(state.avail_in);
    if (wrapping == DeflateWrapping::kRaw) break;
    between = true;
    result = inflateReset(&state);
  }
  return end;
}

}  // namespace penstock
