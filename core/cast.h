// Casts between floating-point dtypes.

#ifndef PENSTOCK_CORE_CAST_H_
#define PENSTOCK_CORE_CAST_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/dtype.h"

namespace penstock {

// True from float64, float32, float16 or bfloat16 to float32, float16 or
// bfloat16; also where both are one.
bool CanCast(DType from, DType to);

// Casts numbers, little-endian on both sides, without alignment; the two do not
// overlap. One rounding, to nearest, ties to even, subnormals included. NaN
// becomes the quiet NaN of the target with the sign of the source and no
// payload (between equal dtypes bytes are copied). What is beyond the largest
// number becomes infinite. Returns how many finite numbers did.
//
// CanCast(from, to); `in` has n numbers of `from`, `out` room for exactly n of
// `to`. Anything else is a bug (CHECK).
int64_t Cast(DType from, DType to, absl::Span<const uint8_t> in,
             absl::Span<uint8_t> out);

}  // namespace penstock

#endif  // PENSTOCK_CORE_CAST_H_
