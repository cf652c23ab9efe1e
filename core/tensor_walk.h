// WalkTensors: every tensor of a checkpoint, under its path.

#ifndef PENSTOCK_CORE_TENSOR_WALK_H_
#define PENSTOCK_CORE_TENSOR_WALK_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

// From a node to a child on the way to a tensor.
struct WalkStep {
  enum class Kind : uint8_t {
    kPair,  // a mapping's value (PlacedPair of core/python_shapes.h)
    kItem,  // of a list or tuple, or of an object that is a list
    kPart,  // anything that belongs to its object: an argument, a wrapped
            // tensor, an item of a set; the root itself
  };
  Kind kind = Kind::kPart;
  // Where it hangs, of kPair and kItem: a node, and the entry of
  // GraphTables::children that is the pair's value (or listed pair) or the
  // item.
  NodeId holder = kNoNode;
  uint64_t edge = 0;
  // Its part of the path; empty at the same place where it adds none.
  size_t begin = 0;
  size_t end = 0;
};

struct WalkedTensor {
  absl::string_view path;  // valid during the call; not unique
  Tensor tensor;
  uint8_t flags;   // TensorFlags
  int64_t number;  // of the tensor in the graph; -1 for one made from arguments
  absl::Span<const WalkStep> way;  // from the root; valid during the call
};

// Calls `visit` for all that StateDict::FromValue names, in the same order;
// stops at its first error and returns it. Iterative; cycles end. Where sharing
// multiplies paths, the work stays within a small multiple of the graph's size
// plus `max_tensors`.
//
// Errors: kResourceExhausted beyond that work, beyond `max_tensors` visits or 4
// for each node of the graph and 20 000, and beyond 1 GiB of paths or 8 times
// the graph's size and 16 MiB.
absl::Status WalkTensors(
    const Value& root, int64_t max_tensors,
    const std::function<absl::Status(WalkedTensor)>& visit);

// True where one pass over the tables shows that WalkTensors visits at most
// `max_tensors` of this graph, from its first node on, and fails only where
// `visit` does: no container and no tensor is in two places, and paths are
// short. Almost any checkpoint without tied tensors is so. False says nothing.
bool HasFewPaths(const Graph& graph, int64_t max_tensors);

// What WalkTensors meets first under `path`, which need not be a tensor: a
// dict, a list, an object that may hold some. Of a wrapped tensor the wrapper.
// Errors: kNotFound; kResourceExhausted, as WalkTensors.
absl::StatusOr<Value> FindPath(const Value& root, absl::string_view path);

}  // namespace penstock

#endif  // PENSTOCK_CORE_TENSOR_WALK_H_
