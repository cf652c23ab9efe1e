// DcpTree: dicts and lists out of paths.

#ifndef PENSTOCK_COMPAT_DCP_TREE_H_
#define PENSTOCK_COMPAT_DCP_TREE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "compat/dcp_metadata.h"
#include "core/graph_tables.h"

namespace penstock {

// Grows a tree from the paths of its leaves. Thread-compatible.
class DcpTree {
 public:
  DcpTree() : branches_(1) {}

  // Errors: kDataLoss (dcp_metadata) where the path leads through a leaf, ends
  // at what is there already, or takes a dict for a list.
  absl::Status Add(absl::Span<const DcpStep> path, NodeId leaf);

  // Appends the containers and keys; returns the root. A list's indices that no
  // path has are None, as in torch. Iterative.
  // Errors: kResourceExhausted (pickle_limit) for lists with millions of those.
  absl::StatusOr<NodeId> Emit(bool ints_under_state, GraphTables& tables) const;

 private:
  enum class Kind { kUnknown, kLeaf, kDict, kList };

  struct Branch {
    Kind kind = Kind::kUnknown;
    NodeId leaf = kNoNode;
    bool under_state = false;
    // Children, by number, each after its parent: of a dict in order.
    std::vector<std::string> keys;
    std::vector<int64_t> children;
    absl::flat_hash_map<std::string, int64_t> by_key;
    std::map<int64_t, int64_t> by_index;  // of a list
  };

  absl::StatusOr<int64_t> Child(int64_t branch, const DcpStep& step);

  std::vector<Branch> branches_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_DCP_TREE_H_
