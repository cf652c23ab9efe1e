#include "core/tensor_walk.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/python_keys.h"
#include "core/python_repr.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxPathBytes = int64_t{1} << 30;
// What the walk may cost: children looked at and bytes of names made. Without
// sharing the first allowance is plenty; the second is for tensors of many
// names.
constexpr int64_t kStepsPerByte = 8;
constexpr int64_t kStepsPerTensor = 64;
constexpr int64_t kNoCycle = INT64_MAX;

using Pair = std::pair<Value, Value>;

// A callable that gives a tensor for a tensor: its place shows that tensor.
struct Wrapper {
  absl::string_view module;
  absl::string_view name;
  int requires_grad;  // number of that argument; the tensor is number 0
  int state;          // number of the argument with attributes, or -1
};

constexpr Wrapper kWrappers[] = {
    {"torch._utils", "_rebuild_parameter", 1, -1},
    {"torch._utils", "_rebuild_parameter_with_state", 1, 3},
    {"torch._utils", "_rebuild_parameter_v2", 1, 3},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor", 3, -1},
    {"torch.nn.parameter", "Parameter", 1, -1},
    {"torch.autograd.variable", "Variable", 1, -1},
};

bool IsGlobal(const Value& value, absl::string_view module,
              absl::string_view name) {
  return value.kind() == NodeKind::kGlobal && value.name() == name &&
         value.module() == module;
}

const Wrapper* FindWrapper(const Value& callable, int64_t num_args) {
  if (num_args == 0) return nullptr;
  for (const Wrapper& wrapper : kWrappers) {
    if (IsGlobal(callable, wrapper.module, wrapper.name)) return &wrapper;
  }
  return nullptr;
}

bool IsRetyped(const Value& callable, int64_t num_args) {
  return num_args == 4 &&
         (IsGlobal(callable, "torch._tensor", "_rebuild_from_type_v2") ||
          IsGlobal(callable, "torch._tensor", "_rebuild_from_type"));
}

bool IsMappingClass(const Value& callable) {
  return IsGlobal(callable, "collections", "OrderedDict") ||
         IsGlobal(callable, "collections", "defaultdict") ||
         IsGlobal(callable, "collections", "Counter");
}

bool IsSequence(const Value& value) {
  return value.kind() == NodeKind::kList || value.kind() == NodeKind::kTuple;
}

bool HoldsNoTensor(NodeKind kind) {
  return kind <= NodeKind::kPy2Str || kind == NodeKind::kStorage ||
         kind == NodeKind::kGlobal;
}

bool IsTrue(const Value& value) {
  return value.kind() == NodeKind::kBool && value.AsBool();
}

bool IsMapping(const Value& value) {
  if (!value) return false;
  if (value.kind() == NodeKind::kDict) return true;
  return value.kind() == NodeKind::kObject &&
         (value.child(ObjectChild::kPairs) ||
          IsMappingClass(value.child(ObjectChild::kCallable)));
}

void AppendDictPairs(const Value& dict, std::vector<Pair>& pairs) {
  for (int64_t i = 0; i < dict.size(); ++i) {
    pairs.emplace_back(dict.key(i), dict.value(i));
  }
}

// Python 2 and copies: OrderedDict([[key, value], ...]); Counter({...}).
void AppendConstructedPairs(const Value& object, std::vector<Pair>& pairs) {
  const Value args = object.child(ObjectChild::kArgs);
  if (args.size() == 0) return;
  const Value last = args.item(args.size() - 1);
  if (last.kind() == NodeKind::kDict) return AppendDictPairs(last, pairs);
  if (!IsSequence(last)) return;
  for (int64_t i = 0; i < last.size(); ++i) {
    const Value pair = last.item(i);
    if (IsSequence(pair) && pair.size() == 2) {
      pairs.emplace_back(pair.item(0), pair.item(1));
    }
  }
}

// Of what IsMapping takes.
std::vector<Pair> PairsOf(const Value& mapping) {
  std::vector<Pair> pairs;
  if (mapping.kind() == NodeKind::kDict) {
    AppendDictPairs(mapping, pairs);
    return pairs;
  }
  if (IsMappingClass(mapping.child(ObjectChild::kCallable))) {
    AppendConstructedPairs(mapping, pairs);
  }
  const Value own = mapping.child(ObjectChild::kPairs);
  if (own) AppendDictPairs(own, pairs);
  return pairs;
}

// The strings in a set, which may be a call of set([...]).
absl::flat_hash_set<absl::string_view> StringsOf(Value set) {
  absl::flat_hash_set<absl::string_view> strings;
  if (set && set.kind() == NodeKind::kObject) {
    const Value args = set.child(ObjectChild::kArgs);
    set = args.size() == 1 ? args.item(0) : Value();
  }
  const bool has_items =
      set && (IsSequence(set) || set.kind() == NodeKind::kSet ||
              set.kind() == NodeKind::kFrozenSet);
  for (int64_t i = 0; has_items && i < set.size(); ++i) {
    const Value item = set.item(i);
    if (item.kind() == NodeKind::kStr || item.kind() == NodeKind::kPy2Str) {
      strings.insert(item.AsBytes());
    }
  }
  return strings;
}

std::string KeyPart(const Value& key, int64_t index) {
  if (key.kind() == NodeKind::kStr ||
      (key.kind() == NodeKind::kPy2Str && IsPythonText(key.AsBytes()))) {
    return std::string(key.AsBytes());
  }
  std::optional<std::string> repr = PythonRepr(key);
  return repr ? *std::move(repr) : absl::StrCat("<key ", index, ">");
}

// A tuple of ints, or torch.Size of one.
std::optional<std::vector<int64_t>> IntsOf(Value value) {
  if (value.IsObjectOf("torch", "Size")) {
    const Value args = value.child(ObjectChild::kArgs);
    if (args.size() != 1) return std::nullopt;
    value = args.item(0);
  }
  if (!IsSequence(value) || value.size() > kMaxRank) return std::nullopt;
  std::vector<int64_t> ints;
  for (int64_t i = 0; i < value.size(); ++i) {
    if (value.item(i).kind() != NodeKind::kInt) return std::nullopt;
    ints.push_back(value.item(i).AsInt());
  }
  return ints;
}

// What _rebuild_tensor, _v2 and _v3 make of their arguments (pytorch-format.md
// 5), where another call is told to run them.
std::optional<Tensor> RebuiltTensor(const Value& function, const Value& args) {
  const bool is_v3 = IsGlobal(function, "torch._utils", "_rebuild_tensor_v3");
  if (!is_v3 && !IsGlobal(function, "torch._utils", "_rebuild_tensor_v2") &&
      !IsGlobal(function, "torch._utils", "_rebuild_tensor")) {
    return std::nullopt;
  }
  if (args.kind() != NodeKind::kTuple || args.size() < (is_v3 ? 7 : 4) ||
      args.item(0).kind() != NodeKind::kStorage ||
      args.item(1).kind() != NodeKind::kInt) {
    return std::nullopt;
  }
  std::optional<DType> dtype = args.item(0).storage_dtype();
  if (is_v3) {
    const Value global = args.item(6);
    if (global.kind() != NodeKind::kGlobal || global.module() != "torch") {
      return std::nullopt;
    }
    dtype = DTypeFromName(global.name());
  }
  const auto shape = IntsOf(args.item(2));
  const auto strides = IntsOf(args.item(3));
  if (!dtype || !shape || !strides || shape->size() != strides->size()) {
    return std::nullopt;
  }
  auto tensor = Tensor::Make(args.item(0).AsStorage(), *dtype, *shape, *strides,
                             args.item(1).AsInt());
  if (!tensor.ok()) return std::nullopt;
  return *std::move(tensor);
}

class Walk {
 public:
  Walk(const Value& root, int64_t max_tensors,
       const std::function<absl::Status(WalkedTensor)>& visit)
      : graph_(root.graph()),
        visit_(visit),
        max_tensors_(max_tensors),
        barren_(graph_->num_nodes()) {
    const GraphTables& tables = graph_->tables();
    const auto table_bytes = static_cast<int64_t>(
        tables.nodes.size() * sizeof(Node) +
        tables.children.size() * sizeof(NodeId) + tables.bytes.size());
    // A caller may pass any limit; beyond this one the product would not fit.
    constexpr int64_t kMost = int64_t{1} << 40;
    steps_left_ = kStepsPerByte * table_bytes +
                  kStepsPerTensor * std::clamp<int64_t>(max_tensors, 1, kMost);
  }

  absl::Status Run(NodeId root) {
    PENSTOCK_RETURN_IF_ERROR(Enter({std::nullopt, root, 0}));
    while (!stack_.empty()) {
      Frame& top = stack_.back();
      if (top.next < top.children.size()) {
        const Child child = std::move(top.children[top.next++]);
        PENSTOCK_RETURN_IF_ERROR(Enter(child));
      } else {
        Leave();
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Child {
    std::optional<std::string> part;  // nothing: shows at its parent's path
    NodeId id;
    uint8_t flags;  // that wrappers add to the tensor's own
  };

  struct Frame {
    NodeId id;
    std::vector<Child> children;
    size_t next;
    size_t path_size;  // of the parent
    bool parent_has_path;
    int64_t num_tensors;  // before
    int64_t cycle;        // least depth that a child below led back to
  };

  absl::Status Enter(const Child& child);
  void Leave();
  absl::Status Visit(Tensor tensor, uint8_t flags, int64_t number);

  // These append to children_, and stop where steps_left_ is used up.
  void Add(std::optional<std::string> part, const Value& value,
           uint8_t flags = 0);
  void AddItems(const Value& sequence);
  void AddPairs(const std::vector<Pair>& pairs);
  void AddAttributes(const Value& state);
  void AddModule(const Value& state);
  void AddWrapped(const Wrapper& wrapper, const Value& args, uint8_t flags);
  absl::Status AddRetyped(const Value& args, uint8_t flags);
  absl::Status AddObject(const Value& object, uint8_t flags);
  absl::Status Expand(NodeId id, uint8_t flags);

  const std::shared_ptr<const Graph> graph_;
  const std::function<absl::Status(WalkedTensor)>& visit_;
  const int64_t max_tensors_;
  int64_t steps_left_;
  int64_t num_tensors_ = 0;
  int64_t path_bytes_ = 0;
  std::string path_;
  bool has_path_ = false;  // an empty key is a path, too
  std::vector<Frame> stack_;
  std::vector<Child> children_;                 // of the node being expanded
  absl::flat_hash_map<NodeId, int64_t> depth_;  // of the nodes on the stack
  std::vector<bool> barren_;                    // no tensor below
};

absl::Status Walk::Enter(const Child& child) {
  if (barren_[child.id]) return absl::OkStatus();
  const auto on_stack = depth_.find(child.id);
  if (on_stack != depth_.end()) {
    Frame& parent = stack_.back();
    parent.cycle = std::min(parent.cycle, on_stack->second);
    return absl::OkStatus();
  }
  Frame frame = {child.id,  {},           0,       path_.size(),
                 has_path_, num_tensors_, kNoCycle};
  if (child.part) {
    absl::StrAppend(&path_, has_path_ ? "." : "", *child.part);
    has_path_ = true;
  }
  const Node& node = graph_->tables().nodes[child.id];
  if (node.kind == NodeKind::kTensor) {
    const auto number = static_cast<int64_t>(node.payload);
    const uint8_t flags = graph_->tables().tensors[number].flags | child.flags;
    PENSTOCK_RETURN_IF_ERROR(Visit(graph_->tensor(number), flags, number));
    path_.resize(frame.path_size);
    has_path_ = frame.parent_has_path;
    return absl::OkStatus();
  }
  children_.clear();
  PENSTOCK_RETURN_IF_ERROR(Expand(child.id, child.flags));
  --steps_left_;
  if (steps_left_ < 0) {
    return absl::ResourceExhaustedError(
        "sharing multiplies the paths of this checkpoint beyond the limit");
  }
  frame.children = std::move(children_);
  depth_[child.id] = static_cast<int64_t>(stack_.size());
  stack_.push_back(std::move(frame));
  return absl::OkStatus();
}

void Walk::Leave() {
  const Frame& frame = stack_.back();
  const auto depth = static_cast<int64_t>(stack_.size()) - 1;
  // Where the way led back above, a tensor may still be reached through there.
  const bool is_closed = frame.cycle >= depth;
  if (is_closed && frame.num_tensors == num_tensors_) barren_[frame.id] = true;
  if (!is_closed) {
    Frame& parent = stack_[depth - 1];
    parent.cycle = std::min(parent.cycle, frame.cycle);
  }
  path_.resize(frame.path_size);
  has_path_ = frame.parent_has_path;
  depth_.erase(frame.id);
  stack_.pop_back();
}

absl::Status Walk::Visit(Tensor tensor, uint8_t flags, int64_t number) {
  path_bytes_ += static_cast<int64_t>(path_.size());
  if (num_tensors_ >= max_tensors_ || path_bytes_ > kMaxPathBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "over ", max_tensors_, " tensor names, or over ", kMaxPathBytes,
        " bytes of them: sharing multiplies the paths of this checkpoint"));
  }
  ++num_tensors_;
  return visit_({has_path_ ? absl::string_view(path_) : "tensor",
                 std::move(tensor), flags, number});
}

void Walk::Add(std::optional<std::string> part, const Value& value,
               uint8_t flags) {
  if (HoldsNoTensor(value.kind())) return;
  if (part) steps_left_ -= static_cast<int64_t>(part->size());
  children_.push_back({std::move(part), value.id(), flags});
}

void Walk::AddItems(const Value& sequence) {
  steps_left_ -= sequence.size();
  for (int64_t i = 0; i < sequence.size() && steps_left_ >= 0; ++i) {
    const Value item = sequence.item(i);
    if (!HoldsNoTensor(item.kind())) Add(absl::StrCat(i), item);
  }
}

void Walk::AddPairs(const std::vector<Pair>& pairs) {
  steps_left_ -= static_cast<int64_t>(pairs.size());
  for (size_t i = 0; i < pairs.size() && steps_left_ >= 0; ++i) {
    const auto& [key, value] = pairs[i];
    if (!HoldsNoTensor(key.kind())) Add(absl::StrCat("<key ", i, ">"), key);
    if (!HoldsNoTensor(value.kind())) Add(KeyPart(key, i), value);
  }
}

// A dict, or (dict or None, dict of slots); else anything.
void Walk::AddAttributes(const Value& state) {
  if (IsMapping(state)) return AddPairs(PairsOf(state));
  const bool has_slots =
      state.kind() == NodeKind::kTuple && state.size() == 2 &&
      IsMapping(state.item(1)) &&
      (IsMapping(state.item(0)) || state.item(0).kind() == NodeKind::kNone);
  if (!has_slots) return Add("state", state);
  if (IsMapping(state.item(0))) AddPairs(PairsOf(state.item(0)));
  AddPairs(PairsOf(state.item(1)));
}

// As Module.state_dict() does: parameters, persistent buffers, submodules.
void Walk::AddModule(const Value& state) {
  AddPairs(PairsOf(state.Find("_parameters")));
  const Value buffers = state.Find("_buffers");
  if (IsMapping(buffers)) {
    const auto hidden = StringsOf(state.Find("_non_persistent_buffers_set"));
    std::vector<Pair> shown = PairsOf(buffers);
    steps_left_ -= static_cast<int64_t>(hidden.size() + shown.size());
    const auto is_hidden = [&](const Pair& pair) {
      const bool is_text = pair.first.kind() == NodeKind::kStr ||
                           pair.first.kind() == NodeKind::kPy2Str;
      return is_text && hidden.contains(pair.first.AsBytes());
    };
    shown.erase(std::remove_if(shown.begin(), shown.end(), is_hidden),
                shown.end());
    AddPairs(shown);
  }
  AddPairs(PairsOf(state.Find("_modules")));
}

void Walk::AddWrapped(const Wrapper& wrapper, const Value& args,
                      uint8_t flags) {
  if (wrapper.requires_grad < args.size() &&
      IsTrue(args.item(wrapper.requires_grad))) {
    flags |= TensorFlags::kRequiresGrad;
  }
  Add(std::nullopt, args.item(0), flags);
  for (int64_t i = 1; i < args.size(); ++i) {
    if (i == wrapper.state) {
      AddAttributes(args.item(i));
    } else {
      Add(absl::StrCat(i), args.item(i));
    }
  }
}

// function(*args), made another type and given attributes.
absl::Status Walk::AddRetyped(const Value& retyped, uint8_t flags) {
  const Value function = retyped.item(0);
  const Value args = retyped.item(2);
  const bool is_tuple = args.kind() == NodeKind::kTuple;
  const Wrapper* const wrapper =
      is_tuple ? FindWrapper(function, args.size()) : nullptr;
  if (std::optional<Tensor> tensor = RebuiltTensor(function, args)) {
    if (args.size() > 4 && IsTrue(args.item(4))) {
      flags |= TensorFlags::kRequiresGrad;
    }
    PENSTOCK_RETURN_IF_ERROR(Visit(*std::move(tensor), flags, -1));
  } else if (wrapper != nullptr) {
    AddWrapped(*wrapper, args, flags);
  } else if (is_tuple) {
    AddItems(args);
  }
  AddAttributes(retyped.item(3));
  return absl::OkStatus();
}

absl::Status Walk::AddObject(const Value& object, uint8_t flags) {
  const Value callable = object.child(ObjectChild::kCallable);
  const Value args = object.child(ObjectChild::kArgs);
  const Value state = object.child(ObjectChild::kState);
  if (state && state.kind() == NodeKind::kDict) {
    steps_left_ -= state.size();  // Find looks at every key
    if (IsMapping(state.Find("_parameters")) &&
        IsMapping(state.Find("_modules"))) {
      AddModule(state);
      return absl::OkStatus();
    }
  }
  Add("callable", callable);
  if (const Wrapper* wrapper = FindWrapper(callable, args.size())) {
    AddWrapped(*wrapper, args, flags);
  } else if (IsRetyped(callable, args.size())) {
    PENSTOCK_RETURN_IF_ERROR(AddRetyped(args, flags));
  } else if (!IsMappingClass(callable)) {
    AddItems(args);
  }
  if (const Value kwargs = object.child(ObjectChild::kKwargs)) {
    AddPairs(PairsOf(kwargs));
  }
  if (const Value items = object.child(ObjectChild::kItems)) AddItems(items);
  if (IsMapping(object)) AddPairs(PairsOf(object));
  if (state) AddAttributes(state);
  return absl::OkStatus();
}

absl::Status Walk::Expand(NodeId id, uint8_t flags) {
  const Value value(graph_, id);
  switch (value.kind()) {
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
      AddItems(value);
      return absl::OkStatus();
    case NodeKind::kDict:
      AddPairs(PairsOf(value));
      return absl::OkStatus();
    case NodeKind::kObject:
      return AddObject(value, flags);
    default:
      return absl::OkStatus();
  }
}

}  // namespace

absl::Status WalkTensors(
    const Value& root, int64_t max_tensors,
    const std::function<absl::Status(WalkedTensor)>& visit) {
  return Walk(root, max_tensors, visit).Run(root.id());
}

}  // namespace penstock
