#include "compat/dcp_tree.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/graph_rewrite.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxGaps = 1'000'000;  // in all lists

// The number that `key` is the one decimal text of.
bool IsDecimal(const std::string& key, int64_t& number) {
  return absl::SimpleAtoi(key, &number) && absl::StrCat(number) == key;
}

absl::Status TwoThings() {
  return absl::DataLossError(
      "dcp_metadata: its path says of a place that it is two things");
}

}  // namespace

absl::StatusOr<int64_t> DcpTree::Child(int64_t branch, const DcpStep& step) {
  const auto next = static_cast<int64_t>(branches_.size());
  const Kind kind = step.index < 0 ? Kind::kDict : Kind::kList;
  Branch& parent = branches_[branch];
  if (parent.kind == Kind::kUnknown) parent.kind = kind;
  if (parent.kind != kind) return TwoThings();
  if (kind == Kind::kList) {
    const auto [it, is_new] = parent.by_index.try_emplace(step.index, next);
    if (!is_new) return it->second;
  } else {
    const auto [it, is_new] = parent.by_key.try_emplace(step.key, next);
    if (!is_new) return it->second;
    parent.keys.push_back(step.key);
    parent.children.push_back(next);
  }
  branches_.emplace_back().under_state = step.key == "state";
  return next;
}

absl::Status DcpTree::Add(absl::Span<const DcpStep> path, NodeId leaf) {
  int64_t at = 0;
  for (const DcpStep& step : path) {
    PENSTOCK_ASSIGN_OR_RETURN(at, Child(at, step));
  }
  if (branches_[at].kind != Kind::kUnknown) return TwoThings();
  branches_[at].kind = Kind::kLeaf;
  branches_[at].leaf = leaf;
  return absl::OkStatus();
}

absl::StatusOr<NodeId> DcpTree::Emit(bool ints_under_state,
                                     GraphTables& tables) const {
  std::vector<NodeId> nodes(branches_.size(), kNoNode);
  int64_t gaps_left = kMaxGaps;
  NodeId none = kNoNode;
  for (size_t i = branches_.size(); i-- > 0;) {  // children before parents
    const Branch& branch = branches_[i];
    std::vector<NodeId> children;
    if (branch.kind == Kind::kLeaf) {
      nodes[i] = branch.leaf;
    } else if (branch.kind == Kind::kList) {
      for (const auto& [index, child] : branch.by_index) {
        const int64_t gap = index - static_cast<int64_t>(children.size());
        gaps_left -= gap;
        if (gaps_left < 0) {
          return absl::ResourceExhaustedError(
              absl::StrCat("pickle_limit: dcp_metadata: lists without ",
                           kMaxGaps, " of their items"));
        }
        if (gap > 0 && none == kNoNode) none = AddNone(tables);
        children.resize(index, none);
        children.push_back(nodes[child]);
      }
      nodes[i] = AddContainer(tables, NodeKind::kList, children);
    } else {
      for (size_t k = 0; k < branch.keys.size(); ++k) {
        int64_t number = 0;
        const bool is_int = ints_under_state && branch.under_state &&
                            IsDecimal(branch.keys[k], number);
        children.push_back(
            is_int ? AddInt(tables, number)
                   : AddText(tables, NodeKind::kStr, branch.keys[k]));
        children.push_back(nodes[branch.children[k]]);
      }
      nodes[i] = AddContainer(tables, NodeKind::kDict, children);
    }
  }
  return nodes[0];
}

}  // namespace penstock
