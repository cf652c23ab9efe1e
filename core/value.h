// Value: everything a checkpoint can hold besides the bytes of its tensors.

#ifndef PENSTOCK_CORE_VALUE_H_
#define PENSTOCK_CORE_VALUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {

// Nodes by number, with sharing and cycles. Immutable, thread-safe.
class Graph {
 public:
  // Takes tables from anywhere, a hostile file included, and proves them: every
  // offset and number in bounds, kinds known, reserved fields 0, text valid,
  // every tensor within its storage (CheckView), dict keys unique, the one form
  // of GraphTables. Linear in their size.
  // Errors: kDataLoss, which says which entry of which table is wrong;
  // kResourceExhausted for more than kMaxNodes nodes.
  static absl::StatusOr<std::shared_ptr<const Graph>> Make(GraphTables tables);

  const GraphTables& tables() const { return tables_; }

  int64_t num_nodes() const;
  int64_t num_tensors() const;
  // Made on demand; the row was proven by Make.
  Tensor tensor(int64_t number) const;
  absl::Span<const std::shared_ptr<const Storage>> storages() const {
    return tables_.storages;
  }
  // The dtype of the first tensor (or typed bare storage) on each storage, in
  // order of number: what decides a storage's element width and its type in a
  // .pt. kUInt8 where nothing types it.
  std::vector<DType> StorageDTypes() const;

  // The same graph over other storages of the same sizes, for loading.
  // Errors: kInvalidArgument where a count or a size differs.
  absl::StatusOr<std::shared_ptr<const Graph>> WithStorages(
      std::vector<std::shared_ptr<const Storage>> storages) const;

 private:
  explicit Graph(GraphTables tables) : tables_(std::move(tables)) {}

  GraphTables tables_;
};

// A node of a graph, with shared ownership of the graph. Copying is cheap.
// Immutable. An accessor for another kind than the node's is a bug (CHECK).
class Value {
 public:
  Value() = default;  // no graph: operator bool is false
  Value(std::shared_ptr<const Graph> graph, NodeId id)
      : graph_(std::move(graph)), id_(id) {}

  explicit operator bool() const { return graph_ != nullptr; }
  const std::shared_ptr<const Graph>& graph() const { return graph_; }
  NodeId id() const { return id_; }
  NodeKind kind() const { return node().kind; }

  bool AsBool() const;
  int64_t AsInt() const;
  double AsFloat() const;
  double real() const;  // kComplex
  double imag() const;
  // kStr, kBytes, kByteArray, kPy2Str, kBigInt. Lives as long as the graph.
  absl::string_view AsBytes() const;
  Tensor AsTensor() const;
  uint8_t tensor_flags() const;
  const std::shared_ptr<const Storage>& AsStorage() const;
  // Element type of a bare storage; nothing for an untyped one.
  std::optional<DType> storage_dtype() const;

  // Items of a list, tuple, set or frozenset; pairs of a dict.
  int64_t size() const;
  Value item(int64_t index) const;
  Value key(int64_t index) const;
  Value value(int64_t index) const;
  // The value under a str key (Python 2's, too) of a dict, or of an object's
  // pairs; else nothing. Looks at every key.
  Value Find(absl::string_view key) const;

  absl::string_view module() const;  // kGlobal
  absl::string_view name() const;

  Construction construction() const;  // kObject
  // Nothing where absent.
  Value child(ObjectChild which) const;
  // True for an object whose callable is the global `module`.`name`.
  bool IsObjectOf(absl::string_view module, absl::string_view name) const;

 private:
  const Node& node() const { return graph_->tables().nodes[id_]; }
  const Node& node(NodeKind kind) const;  // CHECKs the kind
  absl::Span<const NodeId> children() const;
  Value at(NodeId id) const { return Value(graph_, id); }

  std::shared_ptr<const Graph> graph_;
  NodeId id_ = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_VALUE_H_
