#include "core/graph_rewrite.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

class Rewriting {
 public:
  explicit Rewriting(const GraphTables& from)
      : from_(from),
        numbers_(from.nodes.size(), kNoNode),
        storage_numbers_(from.storages.size(), kNoNode) {
    to_.strings_by_identity = from.strings_by_identity;
  }

  GraphTables Run(NodeId root) {
    const std::vector<NodeId> order = NumberFrom(root);
    to_.nodes.reserve(order.size());
    for (const NodeId id : order) Emit(from_.nodes[id]);
    return std::move(to_);
  }

 private:
  // What `root` reaches, in order of first visit.
  std::vector<NodeId> NumberFrom(NodeId root) {
    std::vector<NodeId> order;
    std::vector<NodeId> stack = {root};
    while (!stack.empty()) {
      const NodeId id = stack.back();
      stack.pop_back();
      if (numbers_[id] != kNoNode) continue;
      numbers_[id] = static_cast<NodeId>(order.size());
      order.push_back(id);
      const auto ids = ChildrenOf(from_, from_.nodes[id]);
      for (size_t i = ids.size(); i-- > 0;) {
        if (ids[i] != kNoNode) stack.push_back(ids[i]);
      }
    }
    return order;
  }

  void Emit(Node node) {
    if (HasBytes(node.kind)) {
      const absl::string_view bytes = BytesOf(from_, node);
      node.payload = to_.bytes.size();
      to_.bytes.append(bytes.data(), bytes.size());
    } else if (HasChildren(node.kind)) {
      const auto ids = ChildrenOf(from_, node);
      node.payload = to_.children.size();
      for (const NodeId id : ids) {
        to_.children.push_back(id == kNoNode ? kNoNode : numbers_[id]);
      }
    } else if (node.kind == NodeKind::kStorage) {
      node.payload = StorageNumber(static_cast<uint32_t>(node.payload));
    } else if (node.kind == NodeKind::kTensor) {
      TensorRow row = from_.tensors[node.payload];
      const auto dims = from_.dims.begin() + static_cast<int64_t>(row.dims);
      row.storage = StorageNumber(row.storage);
      row.dims = to_.dims.size();
      to_.dims.insert(to_.dims.end(), dims, dims + 2 * row.rank);
      node.payload = to_.tensors.size();
      to_.tensors.push_back(row);
    }
    to_.nodes.push_back(node);
  }

  uint32_t StorageNumber(uint32_t old_number) {
    uint32_t& number = storage_numbers_[old_number];
    if (number == kNoNode) {
      number = static_cast<uint32_t>(to_.storages.size());
      to_.storages.push_back(from_.storages[old_number]);
    }
    return number;
  }

  const GraphTables& from_;
  GraphTables to_;
  std::vector<NodeId> numbers_;
  std::vector<uint32_t> storage_numbers_;
};

}  // namespace

absl::StatusOr<Value> Rewritten(const GraphTables& tables, NodeId root) {
  absl::StatusOr<std::shared_ptr<const Graph>> graph =
      Graph::Make(Rewriting(tables).Run(root));
  if (absl::IsDataLoss(graph.status())) {
    return absl::InvalidArgumentError(graph.status().message());
  }
  PENSTOCK_RETURN_IF_ERROR(graph.status());
  return Value(*std::move(graph), 0);
}

NodeId AddNone(GraphTables& tables) {
  tables.nodes.emplace_back();
  return static_cast<NodeId>(tables.nodes.size() - 1);
}

NodeId AddText(GraphTables& tables, NodeKind kind, absl::string_view text) {
  Node node;
  node.kind = kind;
  node.size = static_cast<uint32_t>(text.size());
  node.payload = tables.bytes.size();
  tables.bytes.append(text.data(), text.size());
  tables.nodes.push_back(node);
  return static_cast<NodeId>(tables.nodes.size() - 1);
}

}  // namespace penstock
