// The tree of a checkpoint, for people and as JSON.

#ifndef PENSTOCK_CLI_TREE_H_
#define PENSTOCK_CLI_TREE_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/types/span.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

// "[2, 3]".
std::string ShapeText(absl::Span<const int64_t> shape);
// "float32[2, 3]".
std::string Describe(const Tensor& tensor);

// What is shown of a tree: real ones have cycles, and sharing can multiply
// their paths without end.
struct TreeLimits {
  int depth = 4;            // containers below containers
  int entries = 20;         // of one container; then "... and N more"
  int64_t nodes = 100'000;  // altogether
};

// One line an entry, indented; ends with a newline. Like the other, written as
// it is walked: paths may be many.
void PrintTreeText(const Value& root, const TreeLimits& limits, std::FILE* out);

// Scalars as JSON has them; int beyond 2^53 as text; others as an object with
// "kind": {"kind": "tensor", "dtype": ..., "shape": ...}. What the limits cut
// off is {"kind": "...", "cut": true}. Without a last newline; indented as in
// an object of the first level.
void PrintTreeJson(const Value& root, const TreeLimits& limits, std::FILE* out);

}  // namespace penstock

#endif  // PENSTOCK_CLI_TREE_H_
