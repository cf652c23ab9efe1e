// What tensors are wrapped in when Python pickles them (pytorch-format.md 5,
// 7).

#ifndef PENSTOCK_CORE_PYTHON_SHAPES_H_
#define PENSTOCK_CORE_PYTHON_SHAPES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

// A callable that gives a tensor for a tensor: its place shows that tensor.
struct Wrapper {
  absl::string_view module;
  absl::string_view name;
  int requires_grad;  // number of that argument; the tensor is number 0
  int state;          // number of the argument with attributes, or -1
};

// A pair of a mapping, and where it stands.
struct PlacedPair {
  Value key;
  Value value;
  NodeId holder;  // a dict, or the list of a constructor's [key, value] lists
  uint64_t edge;  // the entry of GraphTables::children that is the dict's
                  // value, or the list's [key, value]
};

bool IsGlobal(const Value& value, absl::string_view module,
              absl::string_view name);

// Null where `callable`, called with so many arguments, is none.
const Wrapper* FindWrapper(const Value& callable, int64_t num_args);

// _rebuild_from_type(_v2): calls a function, makes the result another type.
bool IsRetyped(const Value& callable, int64_t num_args);

// OrderedDict, defaultdict, Counter.
bool IsMappingClass(const Value& callable);

bool IsSequence(const Value& value);  // list or tuple

// A dict, or an object with pairs. False for no value.
bool IsMapping(const Value& value);

// An nn.Module: an object whose state has _parameters and _modules. Looks at
// every key of the state.
bool IsPickledModule(const Value& value);

// Where a list's, tuple's or dict's children begin in GraphTables::children.
uint64_t FirstChild(const Value& value);

// Of what IsMapping takes, in order.
std::vector<PlacedPair> PairsOf(const Value& mapping);

// The strings in a set, list or tuple, which may be a call of set([...]). None
// in anything else.
absl::flat_hash_set<absl::string_view> StringsOf(Value set);

// What _rebuild_tensor, _v2 and _v3 make of their arguments, where another call
// is told to run them. Nothing for another function or other arguments.
std::optional<Tensor> RebuiltTensor(const Value& function, const Value& args);

}  // namespace penstock

#endif  // PENSTOCK_CORE_PYTHON_SHAPES_H_
