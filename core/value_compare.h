// Whether two checkpoints are the same.

#ifndef PENSTOCK_CORE_VALUE_COMPARE_H_
#define PENSTOCK_CORE_VALUE_COMPARE_H_

#include "absl/status/status.h"
#include "core/value.h"

namespace penstock {

// OK where `a` and `b` are equal to the last bit: kinds, order, numbers (floats
// by their bits), text, dtypes, shapes, strides, offsets, flags; what is shared
// on one side is shared on the other (containers, objects, tensors, storages;
// equal strings and tuples may be one object or two, as Python pleases); and
// the bytes of storages, where both sides have them in memory.
//
// Errors: kFailedPrecondition, naming the first difference found and its path.
// Iterative; linear in the size of the graphs.
absl::Status CompareValues(const Value& a, const Value& b);

}  // namespace penstock

#endif  // PENSTOCK_CORE_VALUE_COMPARE_H_
