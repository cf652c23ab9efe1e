// Rewritten: a graph from tables that were changed by hand.

#ifndef PENSTOCK_CORE_GRAPH_REWRITE_H_
#define PENSTOCK_CORE_GRAPH_REWRITE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/graph_tables.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

// The graph of what `root` reaches in `tables`, in the one form of GraphTables,
// which these need not have: nodes, children, bytes and rows may be unused, in
// any order, shared and appended. This is how a graph is edited with its
// sharing and cycles: copy the tables, let entries of `children` point
// elsewhere, shorten a container, add nodes, rewrite. Every number in them must
// be in bounds (a bug otherwise). Iterative.
//
// Errors: kInvalidArgument where Graph::Make takes the result for no graph, for
// instance for equal keys in a dict; kResourceExhausted.
absl::StatusOr<Value> Rewritten(const GraphTables& tables, NodeId root);

// Appends a node and returns its number.
NodeId AddNone(GraphTables& tables);
NodeId AddInt(GraphTables& tables, int64_t value);
// A kStr or kPy2Str of less than 4 GiB.
NodeId AddText(GraphTables& tables, NodeKind kind, absl::string_view text);
// A kList of items, or a kDict of key, value, key, value...
NodeId AddContainer(GraphTables& tables, NodeKind kind,
                    absl::Span<const NodeId> children);
// `storage`: a number in tables.storages.
NodeId AddTensor(GraphTables& tables, uint32_t storage, const Tensor& tensor,
                 uint8_t flags);

// Appends all nodes of `from`, whose storage i has the number
// storage_numbers[i] in `to`. Returns the number of its first node; node i has
// the i-th after it. Errors: kResourceExhausted for more than kMaxNodes nodes
// in all.
absl::StatusOr<NodeId> AppendTables(const GraphTables& from,
                                    absl::Span<const uint32_t> storage_numbers,
                                    GraphTables& to);

}  // namespace penstock

#endif  // PENSTOCK_CORE_GRAPH_REWRITE_H_
