// ScriptStateDict: the tensors of a TorchScript archive by name.

#ifndef PENSTOCK_COMPAT_SCRIPT_TREE_H_
#define PENSTOCK_COMPAT_SCRIPT_TREE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compat/script_classes.h"
#include "core/value.h"

namespace penstock {

// And, whatever they say, 20 000 names and 16 MiB more than 4 names and 256
// bytes for each node of the two pickles.
struct ScriptTreeLimits {
  int64_t max_names = 4'000'000;  // and modules; sharing can multiply both
  int64_t max_name_bytes = int64_t{256} << 20;  // of all names together
};

// A dict of all plain tensors that data.pkl (`module`) and constants.pkl
// (`constants`) reach (conversion.md 6): first those of torch's own
// state_dict(), under its names and in its order; then the others of the module
// as "attributes.PATH", each once; then "constants.N". A name that is taken
// gets "~2", "~3"... Nobody's gradient is required, as in state_dict().
//
// `warnings` gets what had to stay out: tensors of other kinds (quantised).
// Nothing recurses. Errors: those of `classes`; kResourceExhausted (limits).
absl::StatusOr<Value> ScriptStateDict(const Value& module,
                                      const Value& constants,
                                      ScriptClasses& classes,
                                      std::vector<std::string>& warnings,
                                      const ScriptTreeLimits& limits = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SCRIPT_TREE_H_
