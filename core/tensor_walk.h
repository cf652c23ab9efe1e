// WalkTensors: every tensor of a checkpoint, under its path.

#ifndef PENSTOCK_CORE_TENSOR_WALK_H_
#define PENSTOCK_CORE_TENSOR_WALK_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

struct WalkedTensor {
  absl::string_view path;  // valid during the call; not unique
  Tensor tensor;
  uint8_t flags;   // TensorFlags
  int64_t number;  // of the tensor in the graph; -1 for one made from arguments
};

// Calls `visit` for all that StateDict::FromValue names, in the same order;
// stops at its first error and returns it. Iterative; cycles end. Where sharing
// multiplies paths, the work stays within a small multiple of the graph's size
// plus `max_tensors`.
//
// Errors: kResourceExhausted beyond that work, beyond `max_tensors` visits, and
// beyond 1 GiB of paths.
absl::Status WalkTensors(
    const Value& root, int64_t max_tensors,
    const std::function<absl::Status(WalkedTensor)>& visit);

}  // namespace penstock

#endif  // PENSTOCK_CORE_TENSOR_WALK_H_
