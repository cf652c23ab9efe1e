#include "core/graph_tables.h"

namespace penstock {

bool HasBytes(NodeKind kind) {
  switch (kind) {
    case NodeKind::kBigInt:
    case NodeKind::kComplex:
    case NodeKind::kStr:
    case NodeKind::kBytes:
    case NodeKind::kByteArray:
    case NodeKind::kPy2Str:
      return true;
    default:
      return false;
  }
}

bool HasChildren(NodeKind kind) {
  switch (kind) {
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kDict:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
    case NodeKind::kGlobal:
    case NodeKind::kObject:
      return true;
    default:
      return false;
  }
}

int64_t NumChildren(const Node& node) {
  if (!HasChildren(node.kind)) return 0;
  return int64_t{node.size} * (node.kind == NodeKind::kDict ? 2 : 1);
}

absl::string_view BytesOf(const GraphTables& tables, const Node& node) {
  if (!HasBytes(node.kind)) return {};
  return absl::string_view(tables.bytes).substr(node.payload, node.size);
}

absl::Span<const NodeId> ChildrenOf(const GraphTables& tables,
                                    const Node& node) {
  const int64_t count = NumChildren(node);
  if (count == 0) return {};
  return absl::MakeConstSpan(tables.children).subspan(node.payload, count);
}

}  // namespace penstock
