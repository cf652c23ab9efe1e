// CheckTables: whether tables that came from anywhere are a graph.

#ifndef PENSTOCK_CORE_GRAPH_PROOF_H_
#define PENSTOCK_CORE_GRAPH_PROOF_H_

#include "absl/status/status.h"
#include "core/graph_tables.h"

namespace penstock {

// What Graph::Make promises; hostile tables are the normal case. Linear in the
// size of the tables, iterative.
// Errors: kDataLoss, which says which entry of which table is wrong;
// kResourceExhausted for more than kMaxNodes nodes.
absl::Status CheckTables(const GraphTables& tables);

}  // namespace penstock

#endif  // PENSTOCK_CORE_GRAPH_PROOF_H_
