#include "core/module_state_dict.h"

#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/graph_builder.h"
#include "core/graph_tables.h"
#include "core/state_dict.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<Value> ModuleStateDict(const Value& module) {
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict names,
                            StateDict::FromValue(module));
  GraphBuilder builder;
  const NodeId root = builder.OrderedDict();
  // A tensor of two names is one object.
  absl::flat_hash_map<int64_t, NodeId> made;
  for (const NamedTensor& entry : names.entries()) {
    // state_dict() detaches.
    const auto flags =
        static_cast<uint8_t>(entry.flags & ~TensorFlags::kRequiresGrad);
    NodeId id = kNoNode;
    if (const auto it = made.find(entry.number);
        entry.number >= 0 && it != made.end()) {
      id = it->second;
    } else {
      id = builder.Tensor(entry.tensor, flags);
      made.try_emplace(entry.number, id);
    }
    PENSTOCK_RETURN_IF_ERROR(
        builder.SetItem(root, builder.Str(entry.name), id));
  }
  return std::move(builder).Finish(root);
}

}  // namespace penstock
