// LeavesOf: all of a checkpoint that is no tensor. Private to api/.

#ifndef PENSTOCK_API_VALUE_LEAVES_H_
#define PENSTOCK_API_VALUE_LEAVES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

struct ValueLeaf {
  std::string path;  // joined by '.', as StateDict's names
  std::string text;  // as Python prints it; long ones by beginning, size, hash
};

// A storage that hangs in the tree without a tensor, as one of its bytes.
struct StorageLeaf {
  std::string path;
  Tensor bytes;
};

struct Leaves {
  std::vector<ValueLeaf> values;
  std::vector<StorageLeaf> storages;
};

// Scalars, text, empty containers, and the classes of objects, each with its
// path; two at one path get "~2", "~3"... Containers are what is in them:
// OrderedDict, dict and other mappings are one, so are list and tuple. What
// only makes a tensor (a Parameter, its hooks) is left out. Cycles end; no
// recursion.
// Errors: kResourceExhausted where sharing multiplies the paths beyond a small
// multiple of the graph's size.
absl::StatusOr<Leaves> LeavesOf(const Value& root);

}  // namespace penstock

#endif  // PENSTOCK_API_VALUE_LEAVES_H_
