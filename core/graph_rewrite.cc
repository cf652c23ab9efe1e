#include "core/graph_rewrite.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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

NodeId AddNode(const Node& node, GraphTables& tables) {
  tables.nodes.push_back(node);
  return static_cast<NodeId>(tables.nodes.size() - 1);
}

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

NodeId AddNone(GraphTables& tables) { return AddNode(Node(), tables); }

NodeId AddInt(GraphTables& tables, int64_t value) {
  Node node;
  node.kind = NodeKind::kInt;
  node.payload = static_cast<uint64_t>(value);
  return AddNode(node, tables);
}

NodeId AddText(GraphTables& tables, NodeKind kind, absl::string_view text) {
  Node node;
  node.kind = kind;
  node.size = static_cast<uint32_t>(text.size());
  node.payload = tables.bytes.size();
  tables.bytes.append(text.data(), text.size());
  return AddNode(node, tables);
}

NodeId AddContainer(GraphTables& tables, NodeKind kind,
                    absl::Span<const NodeId> children) {
  Node node;
  node.kind = kind;
  node.size = static_cast<uint32_t>(
      kind == NodeKind::kDict ? children.size() / 2 : children.size());
  node.payload = tables.children.size();
  tables.children.insert(tables.children.end(), children.begin(),
                         children.end());
  return AddNode(node, tables);
}

NodeId AddTensor(GraphTables& tables, uint32_t storage, const Tensor& tensor,
                 uint8_t flags) {
  TensorRow row;
  row.storage = storage;
  row.dtype = static_cast<uint8_t>(tensor.dtype());
  row.flags = flags;
  row.rank = static_cast<uint16_t>(tensor.shape().size());
  row.dims = tables.dims.size();
  row.offset = tensor.offset();
  for (const auto& dims : {tensor.shape(), tensor.strides()}) {
    tables.dims.insert(tables.dims.end(), dims.begin(), dims.end());
  }
  Node node;
  node.kind = NodeKind::kTensor;
  node.payload = tables.tensors.size();
  tables.tensors.push_back(row);
  return AddNode(node, tables);
}

absl::StatusOr<NodeId> AppendTables(const GraphTables& from,
                                    absl::Span<const uint32_t> storage_numbers,
                                    GraphTables& to) {
  if (static_cast<int64_t>(to.nodes.size() + from.nodes.size()) > kMaxNodes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("over ", kMaxNodes, " values: beyond the limit"));
  }
  const auto first = static_cast<NodeId>(to.nodes.size());
  for (Node node : from.nodes) {
    if (HasBytes(node.kind)) {
      node.payload += to.bytes.size();
    } else if (HasChildren(node.kind)) {
      node.payload += to.children.size();
    } else if (node.kind == NodeKind::kStorage) {
      node.payload = storage_numbers[node.payload];
    } else if (node.kind == NodeKind::kTensor) {
      node.payload += to.tensors.size();
    }
    to.nodes.push_back(node);
  }
  for (const NodeId child : from.children) {
    to.children.push_back(child == kNoNode ? kNoNode : first + child);
  }
  for (TensorRow row : from.tensors) {
    row.storage = storage_numbers[row.storage];
    row.dims += to.dims.size();
    to.tensors.push_back(row);
  }
  to.dims.insert(to.dims.end(), from.dims.begin(), from.dims.end());
  to.bytes += from.bytes;
  return first;
}

}  // namespace penstock
