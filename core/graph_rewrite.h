// Rewritten: a graph from tables that were changed by hand.

#ifndef PENSTOCK_CORE_GRAPH_REWRITE_H_
#define PENSTOCK_CORE_GRAPH_REWRITE_H_

#include "absl/status/statusor.h"
#include "core/graph_tables.h"
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
// A kStr or kPy2Str of less than 4 GiB.
NodeId AddText(GraphTables& tables, NodeKind kind, absl::string_view text);

}  // namespace penstock

#endif  // PENSTOCK_CORE_GRAPH_REWRITE_H_
