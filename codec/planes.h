// Byte planes: byte i of every element, one plane behind the other, with the
// exponent moved into one byte first (codec.md 3).

#ifndef PENSTOCK_CODEC_PLANES_H_
#define PENSTOCK_CODEC_PLANES_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace penstock {

inline constexpr int kMaxPlanes = 8;

// What is done to each element before the split. Codes are frozen.
enum class Transform : uint8_t {
  kNone = 0,
  kSignMove = 1,  // 2 and 4 bytes: exponent to the top byte, sign below it
  kDelta = 2,     // 4 and 8 bytes: element minus the one before, modulo 2^width
};

// True where elements of `width` bytes (1, 2, 4 or 8) can have `transform`.
bool TransformFits(Transform transform, int width);

// Splits `raw` into `width` planes in `planes`, of raw.size() bytes. Plane 0
// holds the lowest byte. Where raw.size() is no multiple of `width`, the rest
// stands behind the planes as it is. TransformFits(transform, width) must hold.
// Every width and transform has one plain implementation that the compiler
// vectorises; results do not depend on the machine.
void SplitPlanes(absl::Span<const uint8_t> raw, int width, Transform transform,
                 uint8_t* planes);

// The inverse: `planes` of raw.size() bytes.
void MergePlanes(const uint8_t* planes, int width, Transform transform,
                 absl::Span<uint8_t> raw);

// Elements [begin, end) of a chunk.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// SplitPlanes of some elements of the chunk that begins at `raw`, with a place
// for each plane: planes[i] gets end - begin bytes. So a plane can go straight
// into the blocks of a frame. kDelta also reads the element before `begin`.
void SplitElements(const uint8_t* raw, ElementRange range, int width,
                   Transform transform,
                   const std::array<uint8_t*, kMaxPlanes>& planes);

// The inverse. Ranges in ascending order: kDelta reads what was merged before.
void MergeElements(const std::array<const uint8_t*, kMaxPlanes>& planes,
                   ElementRange range, int width, Transform transform,
                   uint8_t* raw);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_PLANES_H_
