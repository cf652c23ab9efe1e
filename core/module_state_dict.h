// ModuleStateDict: what a pickled nn.Module has inside.

#ifndef PENSTOCK_CORE_MODULE_STATE_DICT_H_
#define PENSTOCK_CORE_MODULE_STATE_DICT_H_

#include "absl/status/statusor.h"
#include "core/value.h"

namespace penstock {

// The state_dict of a pickled nn.Module (IsPickledModule of
// core/python_shapes.h) without its class: an OrderedDict from the names of
// StateDict::FromValue to tensors, in that order, ties kept, nothing requiring
// grad, without `_metadata`, which classes make (pytorch-format.md 7).
// Errors: kResourceExhausted.
absl::StatusOr<Value> ModuleStateDict(const Value& module);

}  // namespace penstock

#endif  // PENSTOCK_CORE_MODULE_STATE_DICT_H_
