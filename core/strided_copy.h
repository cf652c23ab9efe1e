// CopyElements: from one strided view to another.

#ifndef PENSTOCK_CORE_STRIDED_COPY_H_
#define PENSTOCK_CORE_STRIDED_COPY_H_

#include "absl/status/status.h"
#include "core/tensor.h"

namespace penstock {

// Whether CopyElements(source, target) has a meaning.
// Errors: kInvalidArgument where dtypes or shapes differ, where elements of
// `target` share a byte (stride 0, parts of a packed byte), and for packed
// dtypes that are not contiguous.
absl::Status CheckCopy(const Tensor& source, const Tensor& target);

// Copies each element of `source` to its place in `target`, whose storage is
// written although a Tensor gives it as const: the caller owns it. Whether the
// two overlap, is the caller's business too.
// Errors: as CheckCopy; kFailedPrecondition where bytes are still in a file.
absl::Status CopyElements(const Tensor& source, const Tensor& target);

}  // namespace penstock

#endif  // PENSTOCK_CORE_STRIDED_COPY_H_
