// How to code a chunk, decided from a sample of its bytes (codec.md 4).

#ifndef PENSTOCK_CODEC_PLANE_CHOICE_H_
#define PENSTOCK_CODEC_PLANE_CHOICE_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "codec/compressor.h"
#include "codec/planes.h"
#include "core/dtype.h"

namespace penstock {

struct PlaneChoice {
  Transform transform = Transform::kNone;
  int width = 1;  // element width in bytes, and the number of planes
  std::array<PlaneMode, kMaxPlanes> modes{};  // of plane i; all raw: no gain
};

// Looks at up to 2048 elements (1024 of 4 or 8 bytes) spread over `raw`, plane
// by plane:
//
//   entropy below 0.9 bits, or one value only       -> kLz
//   entropy over 7.9 bits and no runs (see .cc)     -> kRaw
//   otherwise                                       -> kLiteral
//
// Booleans always are kLz. bfloat16 and float32 get their sign moved unless
// the sample has only one sign; integers of 4 and 8 bytes become differences
// where that takes half a bit an element off. Depends on the bytes and the
// dtype alone, in integer arithmetic, so every machine decides alike.
PlaneChoice ChoosePlanes(absl::Span<const uint8_t> raw, DType dtype);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_PLANE_CHOICE_H_
