// Boxes that tile a tensor: the chunks of a distributed checkpoint.

#ifndef PENSTOCK_COMPAT_TILING_H_
#define PENSTOCK_COMPAT_TILING_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace penstock {

// A part of a tensor, in elements: along dimension d from begin[d] on, size[d]
// of them.
struct Box {
  std::vector<int64_t> begin;
  std::vector<int64_t> size;
};

// Joins each dimension that no box divides with the one before it, so that runs
// get as long as they are. At least one dimension is left. The boxes, of the
// shape's rank, lie within it, and its elements can be counted.
void JoinDimensions(std::vector<int64_t>& shape, absl::Span<Box> boxes);

// That every element of the shape is in exactly one box. Linear in the boxes,
// and in 2 to the power of the dimensions, so join them first.
//
// Errors: kDataLoss (tensor_bounds) for elements in no box or in several;
// kUnimplemented for millions of corners.
absl::Status CheckTiling(absl::Span<const int64_t> shape,
                         absl::Span<const Box> boxes);

// How many elements of `box` stand before element `index` of the shape, in C
// order; `index` may be the number of all. Runs of the shape are runs of a box.
int64_t ElementsBefore(absl::Span<const int64_t> shape, const Box& box,
                       int64_t index);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TILING_H_
