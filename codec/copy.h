// Copying a chunk in tiles that fit a core's cache, so that hashing it costs no
// second trip to memory.

#ifndef PENSTOCK_CODEC_COPY_H_
#define PENSTOCK_CODEC_COPY_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"

namespace penstock {

// Of the first or second level of any cache in use.
inline constexpr int64_t kTileBytes = 64 << 10;

// Copies `bytes` to `to`, unless they are there, tile by tile, and calls
// `look(tile)` with each, in order, while it is in the cache.
template <typename Look>
void CopyInTiles(absl::Span<const uint8_t> bytes, uint8_t* to, Look look) {
  while (!bytes.empty()) {
    const absl::Span<const uint8_t> tile =
        bytes.first(std::min(kTileBytes, static_cast<int64_t>(bytes.size())));
    look(tile);
    if (tile.data() != to) std::memcpy(to, tile.data(), tile.size());
    to += tile.size();
    bytes.remove_prefix(tile.size());
  }
}

}  // namespace penstock

#endif  // PENSTOCK_CODEC_COPY_H_
