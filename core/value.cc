#include "core/value.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "core/graph_proof.h"
#include "core/status_macros.h"

namespace penstock {
absl::StatusOr<std::shared_ptr<const Graph>> Graph::Make(GraphTables tables) {
  // Proven where they stay: the proof keeps views of the texts.
  auto graph = std::shared_ptr<const Graph>(new Graph(std::move(tables)));
  PENSTOCK_RETURN_IF_ERROR(CheckTables(graph->tables_));
  return graph;
}

int64_t Graph::num_nodes() const {
  return static_cast<int64_t>(tables_.nodes.size());
}

int64_t Graph::num_tensors() const {
  return static_cast<int64_t>(tables_.tensors.size());
}

Tensor Graph::tensor(int64_t number) const {
  PENSTOCK_CHECK(number >= 0 && number < num_tensors());
  const TensorRow& row = tables_.tensors[number];
  const auto dims =
      absl::MakeConstSpan(tables_.dims).subspan(row.dims, 2 * row.rank);
  return Tensor(tables_.storages[row.storage], static_cast<DType>(row.dtype),
                dims.first(row.rank), dims.last(row.rank), row.offset);
}

std::vector<DType> Graph::StorageDTypes() const {
  std::vector<DType> dtypes(tables_.storages.size(), DType::kUInt8);
  std::vector<bool> typed(dtypes.size());
  for (const Node& node : tables_.nodes) {
    uint64_t storage = node.payload;
    int code = node.detail - 1;
    if (node.kind == NodeKind::kTensor) {
      storage = tables_.tensors[node.payload].storage;
      code = tables_.tensors[node.payload].dtype;
    } else if (node.kind != NodeKind::kStorage || code < 0) {
      continue;
    }
    if (!typed[storage]) dtypes[storage] = static_cast<DType>(code);
    typed[storage] = true;
  }
  return dtypes;
}

absl::StatusOr<std::shared_ptr<const Graph>> Graph::WithStorages(
    std::vector<std::shared_ptr<const Storage>> storages) const {
  if (storages.size() != tables_.storages.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d storages, expected %d", storages.size(), tables_.storages.size()));
  }
  for (size_t i = 0; i < storages.size(); ++i) {
    const int64_t expected = tables_.storages[i]->size_bytes();
    if (storages[i] == nullptr || storages[i]->size_bytes() != expected) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "storage %d of %d bytes, expected %d", i,
          storages[i] == nullptr ? 0 : storages[i]->size_bytes(), expected));
    }
  }
  GraphTables tables = tables_;
  tables.storages = std::move(storages);
  return std::shared_ptr<const Graph>(new Graph(std::move(tables)));
}

const Node& Value::node(NodeKind kind) const {
  PENSTOCK_CHECK(graph_ != nullptr && node().kind == kind);
  return node();
}

absl::Span<const NodeId> Value::children() const {
  return ChildrenOf(graph_->tables(), node());
}

bool Value::AsBool() const { return node(NodeKind::kBool).payload != 0; }

int64_t Value::AsInt() const {
  return static_cast<int64_t>(node(NodeKind::kInt).payload);
}

double Value::AsFloat() const {
  double value;
  std::memcpy(&value, &node(NodeKind::kFloat).payload, sizeof(value));
  return value;
}

double Value::real() const {
  const Node& complex = node(NodeKind::kComplex);
  double value;
  std::memcpy(&value, graph_->tables().bytes.data() + complex.payload,
              sizeof(value));
  return value;
}

double Value::imag() const {
  const Node& complex = node(NodeKind::kComplex);
  double value;
  std::memcpy(&value,
              graph_->tables().bytes.data() + complex.payload + sizeof(value),
              sizeof(value));
  return value;
}

absl::string_view Value::AsBytes() const {
  PENSTOCK_CHECK(HasBytes(kind()) && kind() != NodeKind::kComplex);
  return BytesOf(graph_->tables(), node());
}

Tensor Value::AsTensor() const {
  return graph_->tensor(static_cast<int64_t>(node(NodeKind::kTensor).payload));
}

uint8_t Value::tensor_flags() const {
  return graph_->tables().tensors[node(NodeKind::kTensor).payload].flags;
}

const std::shared_ptr<const Storage>& Value::AsStorage() const {
  return graph_->tables().storages[node(NodeKind::kStorage).payload];
}

std::optional<DType> Value::storage_dtype() const {
  return DTypeFromCode(int64_t{node(NodeKind::kStorage).detail} - 1);
}

int64_t Value::size() const {
  PENSTOCK_CHECK(kind() >= NodeKind::kList && kind() <= NodeKind::kFrozenSet);
  return node().size;
}

Value Value::item(int64_t index) const {
  PENSTOCK_CHECK(kind() != NodeKind::kDict && index >= 0 && index < size());
  return at(children()[index]);
}

Value Value::key(int64_t index) const {
  PENSTOCK_CHECK(index >= 0 && index < node(NodeKind::kDict).size);
  return at(children()[2 * index]);
}

Value Value::value(int64_t index) const {
  PENSTOCK_CHECK(index >= 0 && index < node(NodeKind::kDict).size);
  return at(children()[2 * index + 1]);
}

Value Value::Find(absl::string_view key) const {
  if (kind() == NodeKind::kObject) {
    const Value pairs = child(ObjectChild::kPairs);
    return pairs ? pairs.Find(key) : Value();
  }
  PENSTOCK_CHECK(kind() == NodeKind::kDict);
  const GraphTables& tables = graph_->tables();
  const auto pairs = children();
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const Node& candidate = tables.nodes[pairs[i]];
    const bool is_text =
        candidate.kind == NodeKind::kStr || candidate.kind == NodeKind::kPy2Str;
    if (is_text && BytesOf(tables, candidate) == key) return at(pairs[i + 1]);
  }
  return Value();
}

absl::string_view Value::module() const {
  PENSTOCK_CHECK(kind() == NodeKind::kGlobal);
  return at(children()[0]).AsBytes();
}

absl::string_view Value::name() const {
  PENSTOCK_CHECK(kind() == NodeKind::kGlobal);
  return at(children()[1]).AsBytes();
}

Construction Value::construction() const {
  return static_cast<Construction>(node(NodeKind::kObject).detail);
}

Value Value::child(ObjectChild which) const {
  PENSTOCK_CHECK(kind() == NodeKind::kObject);
  const NodeId id = children()[static_cast<int>(which)];
  return id == kNoNode ? Value() : at(id);
}

bool Value::IsObjectOf(absl::string_view module, absl::string_view name) const {
  if (kind() != NodeKind::kObject) return false;
  const Value callable = child(ObjectChild::kCallable);
  return callable.kind() == NodeKind::kGlobal && callable.name() == name &&
         callable.module() == module;
}

}  // namespace penstock
