#include "core/graph_builder.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/python_keys.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr uint64_t kMaxSize = std::numeric_limits<uint32_t>::max();

bool Grows(NodeKind kind) {
  return kind == NodeKind::kList || kind == NodeKind::kDict ||
         kind == NodeKind::kSet;
}

uint64_t BitsOf(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

absl::Status WrongKind(absl::string_view action, NodeKind kind) {
  return absl::InvalidArgumentError(
      absl::StrCat(action, " a node of kind ", static_cast<int>(kind)));
}

}  // namespace

GraphBuilder::GraphBuilder(int64_t max_nodes)
    : max_nodes_(std::min(max_nodes, kMaxNodes)) {}

NodeId GraphBuilder::None() { return Add(NodeKind::kNone, 0, 0); }

NodeId GraphBuilder::Bool(bool value) {
  return Add(NodeKind::kBool, 0, value ? 1 : 0);
}

NodeId GraphBuilder::Int(int64_t value) {
  return Add(NodeKind::kInt, 0, static_cast<uint64_t>(value));
}

NodeId GraphBuilder::BigInt(absl::string_view twos_complement) {
  while (twos_complement.size() > sizeof(int64_t)) {
    if (IsMinimalBigInt(twos_complement)) {
      return AddBytes(NodeKind::kBigInt, twos_complement);
    }
    twos_complement.remove_suffix(1);
  }
  const bool negative = !twos_complement.empty() &&
                        static_cast<uint8_t>(twos_complement.back()) >= 0x80;
  uint64_t value = negative ? ~uint64_t{0} : 0;
  for (size_t i = twos_complement.size(); i-- > 0;) {
    value = (value << 8) | static_cast<uint8_t>(twos_complement[i]);
  }
  return Int(static_cast<int64_t>(value));
}

NodeId GraphBuilder::Float(double value) {
  return Add(NodeKind::kFloat, 0, BitsOf(value));
}

NodeId GraphBuilder::Complex(double real, double imag) {
  char bytes[2 * sizeof(double)];
  std::memcpy(bytes, &real, sizeof(real));
  std::memcpy(bytes + sizeof(real), &imag, sizeof(imag));
  return AddBytes(NodeKind::kComplex, absl::string_view(bytes, sizeof(bytes)));
}

NodeId GraphBuilder::Str(absl::string_view utf8) {
  return AddBytes(NodeKind::kStr, utf8);
}

NodeId GraphBuilder::Bytes(absl::string_view bytes) {
  return AddBytes(NodeKind::kBytes, bytes);
}

NodeId GraphBuilder::ByteArray(absl::string_view bytes) {
  return AddBytes(NodeKind::kByteArray, bytes);
}

NodeId GraphBuilder::Py2Str(absl::string_view bytes) {
  return AddBytes(NodeKind::kPy2Str, bytes);
}

NodeId GraphBuilder::List(absl::Span<const NodeId> items) {
  return AddGrowing(NodeKind::kList, items);
}

NodeId GraphBuilder::Tuple(absl::Span<const NodeId> items) {
  return AddFixed(NodeKind::kTuple, items);
}

NodeId GraphBuilder::Dict() { return AddGrowing(NodeKind::kDict, {}); }

NodeId GraphBuilder::Set(absl::Span<const NodeId> items) {
  return AddGrowing(NodeKind::kSet, items);
}

NodeId GraphBuilder::FrozenSet(absl::Span<const NodeId> items) {
  return AddFixed(NodeKind::kFrozenSet, items);
}

NodeId GraphBuilder::Tensor(const penstock::Tensor& tensor, uint8_t flags) {
  return Tensor(tensor.storage(), tensor.dtype(), tensor.shape(),
                tensor.strides(), tensor.offset(), flags);
}

NodeId GraphBuilder::Tensor(
    const std::shared_ptr<const penstock::Storage>& storage, DType dtype,
    absl::Span<const int64_t> shape, absl::Span<const int64_t> strides,
    int64_t offset, uint8_t flags) {
  const NodeId id = Add(NodeKind::kTensor, 0, tensors_.size());
  if (id == kNoNode) return id;
  TensorRow row;
  row.storage = StorageNumber(storage);
  row.dtype = static_cast<uint8_t>(dtype);
  row.flags = flags;
  row.rank = static_cast<uint16_t>(shape.size());
  row.dims = dims_.size();
  row.offset = offset;
  tensors_.push_back(row);
  dims_.insert(dims_.end(), shape.begin(), shape.end());
  dims_.insert(dims_.end(), strides.begin(), strides.end());
  return id;
}

NodeId GraphBuilder::Storage(std::shared_ptr<const penstock::Storage> storage,
                             std::optional<DType> dtype) {
  const int detail = dtype.has_value() ? static_cast<int>(*dtype) + 1 : 0;
  const uint32_t number = StorageNumber(storage);
  return Add(NodeKind::kStorage, 0, number, static_cast<uint8_t>(detail));
}

NodeId GraphBuilder::Global(absl::string_view module, absl::string_view name) {
  const NodeId module_id = Str(module);
  return GlobalOf(module_id, Str(name));
}

NodeId GraphBuilder::GlobalOf(NodeId module, NodeId name) {
  const NodeId both[] = {module, name};
  if (!AllExist(both)) return kNoNode;
  PENSTOCK_CHECK(kind(module) == NodeKind::kStr);
  PENSTOCK_CHECK(kind(name) == NodeKind::kStr);
  return AddFixed(NodeKind::kGlobal, both);
}

NodeId GraphBuilder::Object(Construction how, NodeId callable, NodeId args,
                            NodeId kwargs) {
  const bool has_kwargs = how == Construction::kNewObjEx;
  const NodeId given[] = {callable, args, has_kwargs ? kwargs : args};
  if (!AllExist(given)) return kNoNode;
  PENSTOCK_CHECK(kind(args) == NodeKind::kTuple);
  if (has_kwargs) {
    PENSTOCK_CHECK(kind(kwargs) == NodeKind::kDict);
  } else {
    PENSTOCK_CHECK(kwargs == kNoNode);
  }
  const NodeId id = Add(NodeKind::kObject, kNumObjectChildren, fixed_.size(),
                        static_cast<uint8_t>(how));
  if (id == kNoNode) return id;
  fixed_.insert(fixed_.end(),
                {callable, args, kwargs, kNoNode, kNoNode, kNoNode});
  return id;
}

NodeId GraphBuilder::OrderedDict() {
  if (ordered_dict_ == kNoNode) {
    ordered_dict_ = Global("collections", "OrderedDict");
  }
  return Object(Construction::kReduce, ordered_dict_, Tuple());
}

absl::Status GraphBuilder::Append(NodeId container, NodeId item) {
  if (!AllExist({container, item})) return CheckRoom();
  if (kind(container) == NodeKind::kObject) {
    PENSTOCK_ASSIGN_OR_RETURN(container,
                              ObjectContainer(container, ObjectChild::kItems));
  } else if (kind(container) != NodeKind::kList &&
             kind(container) != NodeKind::kSet) {
    return WrongKind("cannot append to", kind(container));
  }
  if (growing(container).size() >= kMaxSize) {
    return absl::ResourceExhaustedError("over 2^32 - 1 items");
  }
  growing(container).push_back(item);
  return absl::OkStatus();
}

absl::Status GraphBuilder::SetItem(NodeId mapping, NodeId key, NodeId value) {
  if (!AllExist({mapping, key, value})) return CheckRoom();
  if (!IsHashable(kind(key))) return WrongKind("cannot use as key", kind(key));
  if (kind(mapping) == NodeKind::kObject) {
    PENSTOCK_ASSIGN_OR_RETURN(mapping,
                              ObjectContainer(mapping, ObjectChild::kPairs));
  } else if (kind(mapping) != NodeKind::kDict) {
    return WrongKind("cannot set an item of", kind(mapping));
  }
  if (growing(mapping).size() / 2 >= kMaxSize) {
    return absl::ResourceExhaustedError("over 2^32 - 1 pairs");
  }
  growing(mapping).insert(growing(mapping).end(), {key, value});
  return absl::OkStatus();
}

absl::Status GraphBuilder::SetState(NodeId object, NodeId state) {
  if (!AllExist({object, state})) return CheckRoom();
  if (kind(object) != NodeKind::kObject) {
    return WrongKind("cannot attach state to", kind(object));
  }
  if (object_child(object, ObjectChild::kState) != kNoNode) {
    return absl::InvalidArgumentError("the object has state already");
  }
  fixed_[nodes_[object].payload + static_cast<int>(ObjectChild::kState)] =
      state;
  return absl::OkStatus();
}

NodeKind GraphBuilder::kind(NodeId id) const {
  PENSTOCK_CHECK(id < nodes_.size());
  return nodes_[id].kind;
}

int64_t GraphBuilder::AsInt(NodeId id) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kInt);
  return static_cast<int64_t>(nodes_[id].payload);
}

double GraphBuilder::AsFloat(NodeId id) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kFloat);
  double value;
  std::memcpy(&value, &nodes_[id].payload, sizeof(value));
  return value;
}

bool GraphBuilder::AsBool(NodeId id) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kBool);
  return nodes_[id].payload != 0;
}

absl::string_view GraphBuilder::AsBytes(NodeId id) const {
  PENSTOCK_CHECK(HasBytes(kind(id)));
  return absl::string_view(bytes_).substr(nodes_[id].payload, nodes_[id].size);
}

absl::Span<const NodeId> GraphBuilder::children(NodeId id) const {
  if (!HasChildren(kind(id))) return {};
  const Node& node = nodes_[id];
  if (Grows(node.kind)) return growing_[node.payload];
  return absl::MakeConstSpan(fixed_).subspan(node.payload, node.size);
}

const std::shared_ptr<const penstock::Storage>& GraphBuilder::AsStorage(
    NodeId id) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kStorage);
  return storages_[nodes_[id].payload];
}

std::optional<DType> GraphBuilder::storage_dtype(NodeId id) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kStorage);
  if (nodes_[id].detail == 0) return std::nullopt;
  return static_cast<DType>(nodes_[id].detail - 1);
}

NodeId GraphBuilder::object_child(NodeId id, ObjectChild which) const {
  PENSTOCK_CHECK(kind(id) == NodeKind::kObject);
  return fixed_[nodes_[id].payload + static_cast<int>(which)];
}

int64_t GraphBuilder::num_nodes() const {
  return static_cast<int64_t>(nodes_.size());
}

absl::StatusOr<Value> GraphBuilder::Finish(NodeId root) && {
  PENSTOCK_RETURN_IF_ERROR(CheckRoom());
  PENSTOCK_CHECK(root < nodes_.size());
  std::vector<NodeId> numbers;
  const std::vector<NodeId> order = NumberFrom(root, numbers);
  GraphTables tables;
  tables.strings_by_identity = strings_by_identity_;
  tables.nodes.reserve(order.size());
  tables.tensors.reserve(tensors_.size());
  tables.dims.reserve(dims_.size());
  tables.storages.reserve(storages_.size());
  std::vector<uint32_t> storage_numbers(storages_.size(), kNoNode);
  for (const NodeId id : order) Emit(id, numbers, storage_numbers, tables);
  auto graph = Graph::Make(std::move(tables));
  if (absl::IsDataLoss(graph.status())) {
    return absl::InvalidArgumentError(graph.status().message());
  }
  PENSTOCK_RETURN_IF_ERROR(graph.status());
  return Value(*std::move(graph), 0);
}

NodeId GraphBuilder::Add(NodeKind kind, uint32_t size, uint64_t payload,
                         uint8_t detail) {
  if (static_cast<int64_t>(nodes_.size()) >= max_nodes_) overflowed_ = true;
  if (overflowed_) return kNoNode;
  Node node;
  node.kind = kind;
  node.detail = detail;
  node.size = size;
  node.payload = payload;
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId GraphBuilder::AddBytes(NodeKind kind, absl::string_view bytes) {
  if (bytes.size() > kMaxSize) overflowed_ = true;
  const NodeId id =
      Add(kind, static_cast<uint32_t>(bytes.size()), bytes_.size());
  if (id != kNoNode) bytes_.append(bytes.data(), bytes.size());
  return id;
}

NodeId GraphBuilder::AddGrowing(NodeKind kind, absl::Span<const NodeId> items) {
  if (items.size() > kMaxSize) overflowed_ = true;
  if (!AllExist(items)) return kNoNode;
  const NodeId id = Add(kind, 0, growing_.size());
  if (id != kNoNode) growing_.emplace_back(items.begin(), items.end());
  return id;
}

NodeId GraphBuilder::AddFixed(NodeKind kind, absl::Span<const NodeId> items,
                              uint8_t detail) {
  if (items.size() > kMaxSize) overflowed_ = true;
  if (!AllExist(items)) return kNoNode;
  const NodeId id =
      Add(kind, static_cast<uint32_t>(items.size()), fixed_.size(), detail);
  if (id != kNoNode) fixed_.insert(fixed_.end(), items.begin(), items.end());
  return id;
}

bool GraphBuilder::AllExist(absl::Span<const NodeId> ids) const {
  for (const NodeId id : ids) {
    if (id == kNoNode && overflowed_) return false;
    PENSTOCK_CHECK(id < nodes_.size());
  }
  return true;
}

absl::Status GraphBuilder::CheckRoom() const {
  if (!overflowed_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "over ", max_nodes_, " values, or one of 4 GiB: beyond the limit"));
}

uint32_t GraphBuilder::StorageNumber(
    const std::shared_ptr<const penstock::Storage>& storage) {
  PENSTOCK_CHECK(storage != nullptr);
  const auto next = static_cast<uint32_t>(storages_.size());
  // A pickle makes a storage and then the tensor on it.
  if (next > 0 && storages_.back() == storage) return next - 1;
  // What only the caller holds is new, which spares most graphs the map. So the
  // caller's must not be one of storages_ itself: that would be a second one.
  if (storage.use_count() == 1) {
    storages_.push_back(storage);
    return next;
  }
  // The map has the first ones.
  for (size_t i = storage_numbers_.size(); i < next; ++i) {
    storage_numbers_.emplace(storages_[i].get(), static_cast<uint32_t>(i));
  }
  const auto [it, is_new] = storage_numbers_.try_emplace(storage.get(), next);
  if (is_new) storages_.push_back(storage);
  return it->second;
}

std::vector<NodeId>& GraphBuilder::growing(NodeId id) {
  return growing_[nodes_[id].payload];
}

absl::StatusOr<NodeId> GraphBuilder::ObjectContainer(NodeId object,
                                                     ObjectChild which) {
  const uint64_t place = nodes_[object].payload + static_cast<int>(which);
  if (fixed_[place] == kNoNode) {
    fixed_[place] = which == ObjectChild::kItems ? List() : Dict();
    PENSTOCK_RETURN_IF_ERROR(CheckRoom());
  }
  return fixed_[place];
}

// Of equal keys the first stays, with the last one's value.
void GraphBuilder::DropEqualKeys(NodeId dict, PythonKeys& keys,
                                 std::vector<Place>& places) {
  std::vector<NodeId>& pairs = growing(dict);
  if (keys.AreDistinctTexts(pairs)) return;
  size_t end = 0;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const uint32_t key = keys.ClassOf(pairs[i]);
    if (key >= places.size()) places.resize(key + 1);
    if (places[key].dict == dict) {
      pairs[places[key].pair + 1] = pairs[i + 1];
      continue;
    }
    places[key] = {dict, end};
    pairs[end] = pairs[i];
    pairs[end + 1] = pairs[i + 1];
    end += 2;
  }
  pairs.resize(end);
}

std::vector<NodeId> GraphBuilder::NumberFrom(NodeId root,
                                             std::vector<NodeId>& numbers) {
  const auto view = [this](NodeId id) {
    const Node& node = nodes_[id];
    return PythonKeys::NodeView{node.kind, node.payload,
                                HasBytes(node.kind) ? AsBytes(id) : "",
                                children(id)};
  };
  PythonKeys keys(view);
  std::vector<Place> places;
  numbers.assign(nodes_.size(), kNoNode);
  std::vector<NodeId> order;
  std::vector<NodeId> stack = {root};
  while (!stack.empty()) {
    const NodeId id = stack.back();
    stack.pop_back();
    if (numbers[id] != kNoNode) continue;
    numbers[id] = static_cast<NodeId>(order.size());
    order.push_back(id);
    if (nodes_[id].kind == NodeKind::kDict) DropEqualKeys(id, keys, places);
    const auto ids = children(id);
    for (size_t i = ids.size(); i-- > 0;) {
      if (ids[i] != kNoNode) stack.push_back(ids[i]);
    }
  }
  return order;
}

void GraphBuilder::Emit(NodeId id, absl::Span<const NodeId> numbers,
                        std::vector<uint32_t>& storage_numbers,
                        GraphTables& tables) const {
  const auto renumber_storage = [&](uint32_t old_number) {
    uint32_t& number = storage_numbers[old_number];
    if (number == kNoNode) {
      number = static_cast<uint32_t>(tables.storages.size());
      tables.storages.push_back(storages_[old_number]);
    }
    return number;
  };
  Node node = nodes_[id];
  if (HasBytes(node.kind)) {
    const absl::string_view bytes = AsBytes(id);
    node.payload = tables.bytes.size();
    tables.bytes.append(bytes.data(), bytes.size());
  } else if (HasChildren(node.kind)) {
    const auto ids = children(id);
    node.payload = tables.children.size();
    node.size = static_cast<uint32_t>(
        node.kind == NodeKind::kDict ? ids.size() / 2 : ids.size());
    for (const NodeId child : ids) {
      tables.children.push_back(child == kNoNode ? kNoNode : numbers[child]);
    }
  } else if (node.kind == NodeKind::kStorage) {
    node.payload = renumber_storage(static_cast<uint32_t>(node.payload));
  } else if (node.kind == NodeKind::kTensor) {
    TensorRow row = tensors_[node.payload];
    const auto dims = dims_.begin() + static_cast<int64_t>(row.dims);
    row.storage = renumber_storage(row.storage);
    row.dims = tables.dims.size();
    tables.dims.insert(tables.dims.end(), dims, dims + 2 * row.rank);
    node.payload = tables.tensors.size();
    tables.tensors.push_back(row);
  }
  tables.nodes.push_back(node);
}

}  // namespace penstock
