#include "core/tensor_walk.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/graph_tables.h"
#include "core/python_keys.h"
#include "core/python_repr.h"
#include "core/python_shapes.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxPathBytes = int64_t{1} << 30;
// Sharing multiplies names: a few kilobytes could ask for gigabytes of them.
// What was not made to do so has fewer of both than this, by far.
constexpr int64_t kMinNames = 20'000;
constexpr int64_t kNamesPerNode = 4;
constexpr int64_t kMinPathBytes = 16 << 20;
constexpr int64_t kPathBytesPerByte = 8;
// What the walk may cost: children looked at and bytes of names made. Without
// sharing the first allowance is plenty; the second is for tensors of many
// names.
constexpr int64_t kStepsPerByte = 8;
constexpr int64_t kStepsPerTensor = 64;
constexpr int64_t kMaxPaths = 4'000'000;  // that FindPath looks at
constexpr int64_t kNoCycle = INT64_MAX;

bool HoldsNoTensor(NodeKind kind) {
  return kind <= NodeKind::kPy2Str || kind == NodeKind::kStorage ||
         kind == NodeKind::kGlobal;
}

bool IsTrue(const Value& value) {
  return value.kind() == NodeKind::kBool && value.AsBool();
}

std::string KeyPart(const Value& key, int64_t index) {
  if (key.kind() == NodeKind::kStr ||
      (key.kind() == NodeKind::kPy2Str && IsPythonText(key.AsBytes()))) {
    return std::string(key.AsBytes());
  }
  std::optional<std::string> repr = PythonRepr(key);
  return repr ? *std::move(repr) : absl::StrCat("<key ", index, ">");
}

// Where a child hangs; see WalkStep.
struct Place {
  WalkStep::Kind kind = WalkStep::Kind::kPart;
  NodeId holder = kNoNode;
  uint64_t edge = 0;
};

int64_t BytesOf(const GraphTables& tables) {
  return static_cast<int64_t>(tables.nodes.size() * sizeof(Node) +
                              tables.children.size() * sizeof(NodeId) +
                              tables.bytes.size());
}

int64_t MostTensors(const Graph& graph, int64_t max_tensors) {
  return std::min(max_tensors, kMinNames + kNamesPerNode * graph.num_nodes());
}

int64_t MostPathBytes(const Graph& graph) {
  return std::min(kMaxPathBytes,
                  kMinPathBytes + kPathBytesPerByte * BytesOf(graph.tables()));
}

class Walk {
 public:
  Walk(const Value& root, int64_t max_tensors,
       const std::function<absl::Status(WalkedTensor)>& visit,
       std::optional<absl::string_view> wanted = std::nullopt)
      : graph_(root.graph()),
        visit_(visit),
        max_tensors_(MostTensors(*graph_, max_tensors)),
        max_path_bytes_(MostPathBytes(*graph_)),
        wanted_(wanted),
        barren_(graph_->num_nodes()) {
    steps_left_ = kStepsPerByte * BytesOf(graph_->tables()) +
                  kStepsPerTensor * std::max<int64_t>(max_tensors_, 1);
  }

  absl::Status Run(NodeId root) {
    PENSTOCK_RETURN_IF_ERROR(Enter({std::nullopt, root, 0, {}}));
    while (!stack_.empty() && found_ == kNoNode) {
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

  // The first node at the wanted path, its wrappers included.
  NodeId found() const { return found_; }

 private:
  struct Child {
    std::optional<std::string> part;  // nothing: shows at its parent's path
    NodeId id;
    uint8_t flags;  // that wrappers add to the tensor's own
    Place place;
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
           uint8_t flags = 0, const Place& place = {});
  void AddItems(const Value& sequence, WalkStep::Kind kind);
  void AddPairs(const std::vector<PlacedPair>& pairs);
  void AddAttributes(const Value& state);
  void AddModule(const Value& state);
  void AddWrapped(const Wrapper& wrapper, const Value& args, uint8_t flags);
  absl::Status AddRetyped(const Value& args, uint8_t flags);
  absl::Status AddObject(const Value& object, uint8_t flags);
  absl::Status Expand(NodeId id, uint8_t flags);

  const std::shared_ptr<const Graph> graph_;
  const std::function<absl::Status(WalkedTensor)>& visit_;
  const int64_t max_tensors_;
  const int64_t max_path_bytes_;
  const std::optional<absl::string_view> wanted_;
  NodeId found_ = kNoNode;
  int64_t steps_left_;
  int64_t num_tensors_ = 0;
  int64_t path_bytes_ = 0;
  std::string path_;
  bool has_path_ = false;  // an empty key is a path, too
  std::vector<Frame> stack_;
  std::vector<WalkStep> way_;    // one for each frame, and the child entered
  std::vector<Child> children_;  // of the node being expanded
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
  WalkStep step = {child.place.kind, child.place.holder, child.place.edge,
                   path_.size(), path_.size()};
  if (child.part) {
    step.begin += has_path_ ? 1 : 0;
    absl::StrAppend(&path_, has_path_ ? "." : "", *child.part);
    step.end = path_.size();
    has_path_ = true;
    if (wanted_ == absl::string_view(path_)) found_ = child.id;
  }
  if (found_ != kNoNode) return absl::OkStatus();
  way_.push_back(step);
  const Node& node = graph_->tables().nodes[child.id];
  if (node.kind == NodeKind::kTensor) {
    const auto number = static_cast<int64_t>(node.payload);
    const uint8_t flags = graph_->tables().tensors[number].flags | child.flags;
    PENSTOCK_RETURN_IF_ERROR(Visit(graph_->tensor(number), flags, number));
    path_.resize(frame.path_size);
    has_path_ = frame.parent_has_path;
    way_.pop_back();
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
  way_.pop_back();
  stack_.pop_back();
}

absl::Status Walk::Visit(Tensor tensor, uint8_t flags, int64_t number) {
  path_bytes_ += static_cast<int64_t>(path_.size());
  if (num_tensors_ >= max_tensors_ || path_bytes_ > max_path_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "over ", max_tensors_, " tensor names, or over ", max_path_bytes_,
        " bytes of them: sharing multiplies the paths of this checkpoint"));
  }
  ++num_tensors_;
  return visit_({has_path_ ? absl::string_view(path_) : "tensor",
                 std::move(tensor), flags, number, way_});
}

void Walk::Add(std::optional<std::string> part, const Value& value,
               uint8_t flags, const Place& place) {
  if (HoldsNoTensor(value.kind())) return;
  if (part) steps_left_ -= static_cast<int64_t>(part->size());
  children_.push_back({std::move(part), value.id(), flags, place});
}

void Walk::AddItems(const Value& sequence, WalkStep::Kind kind) {
  steps_left_ -= sequence.size();
  const uint64_t first = FirstChild(sequence);
  for (int64_t i = 0; i < sequence.size() && steps_left_ >= 0; ++i) {
    const Value item = sequence.item(i);
    if (HoldsNoTensor(item.kind())) continue;
    Add(absl::StrCat(i), item, 0, {kind, sequence.id(), first + i});
  }
}

void Walk::AddPairs(const std::vector<PlacedPair>& pairs) {
  steps_left_ -= static_cast<int64_t>(pairs.size());
  for (size_t i = 0; i < pairs.size() && steps_left_ >= 0; ++i) {
    const auto& [key, value, holder, edge] = pairs[i];
    if (!HoldsNoTensor(key.kind())) Add(absl::StrCat("<key ", i, ">"), key);
    if (HoldsNoTensor(value.kind())) continue;
    Add(KeyPart(key, i), value, 0, {WalkStep::Kind::kPair, holder, edge});
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
    std::vector<PlacedPair> shown = PairsOf(buffers);
    steps_left_ -= static_cast<int64_t>(hidden.size() + shown.size());
    const auto is_hidden = [&](const PlacedPair& pair) {
      const bool is_text = pair.key.kind() == NodeKind::kStr ||
                           pair.key.kind() == NodeKind::kPy2Str;
      return is_text && hidden.contains(pair.key.AsBytes());
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
    AddItems(args, WalkStep::Kind::kPart);
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
    if (IsPickledModule(object)) {
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
    AddItems(args, WalkStep::Kind::kPart);
  }
  if (const Value kwargs = object.child(ObjectChild::kKwargs)) {
    AddPairs(PairsOf(kwargs));
  }
  if (const Value items = object.child(ObjectChild::kItems)) {
    AddItems(items, WalkStep::Kind::kItem);
  }
  if (IsMapping(object)) AddPairs(PairsOf(object));
  if (state) AddAttributes(state);
  return absl::OkStatus();
}

absl::Status Walk::Expand(NodeId id, uint8_t flags) {
  const Value value(graph_, id);
  switch (value.kind()) {
    case NodeKind::kList:
    case NodeKind::kTuple:
      AddItems(value, WalkStep::Kind::kItem);
      return absl::OkStatus();
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
      AddItems(value, WalkStep::Kind::kPart);
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

bool HasFewPaths(const Graph& graph, int64_t max_tensors) {
  // Of an index, "callable", "<key 7>": what is no key of a dict.
  constexpr int64_t kPartBytes = 32;
  const GraphTables& tables = graph.tables();
  const int64_t most_bytes = MostPathBytes(graph);
  max_tensors = MostTensors(graph, max_tensors);
  // By node: bytes that the path to it takes at most; -1: nothing led to it
  // yet. Nodes stand in order of first visit, so parents come before.
  std::vector<int64_t> path_bytes(tables.nodes.size(), -1);
  path_bytes[0] = 0;
  int64_t num_tensors = 0;
  int64_t sum_of_paths = 0;
  int64_t sum_of_parts = 0;
  const int64_t most_parts =
      std::min(most_bytes, kStepsPerTensor / 2 *
                               std::clamp<int64_t>(max_tensors, 0, 1 << 24));
  for (size_t i = 0; i < tables.nodes.size(); ++i) {
    const Node& node = tables.nodes[i];
    if (HoldsNoTensor(node.kind)) continue;
    if (node.kind == NodeKind::kTensor || node.kind == NodeKind::kObject) {
      ++num_tensors;  // an object may be one, of its arguments
      sum_of_paths += path_bytes[i];
    }
    const bool is_dict = node.kind == NodeKind::kDict;
    const auto children = ChildrenOf(tables, node);
    for (size_t k = 0; k < children.size(); ++k) {
      if (children[k] == kNoNode) continue;
      const Node& child = tables.nodes[children[k]];
      if (HoldsNoTensor(child.kind)) continue;
      if (is_dict && k % 2 == 0) return false;  // a tensor within a key
      int64_t part_bytes = kPartBytes;
      if (is_dict) {
        const Node& key = tables.nodes[children[k - 1]];
        if (key.kind != NodeKind::kStr && key.kind != NodeKind::kInt) {
          return false;  // Python's repr may be long
        }
        if (key.kind == NodeKind::kStr) part_bytes = 1 + int64_t{key.size};
      }
      sum_of_parts += part_bytes;
      int64_t& bytes = path_bytes[children[k]];
      if (bytes >= 0 || sum_of_parts > most_parts) return false;
      bytes = path_bytes[i] + part_bytes;
    }
    if (num_tensors > max_tensors || sum_of_paths > most_bytes) return false;
  }
  return true;
}

absl::StatusOr<Value> FindPath(const Value& root, absl::string_view path) {
  const std::function<absl::Status(WalkedTensor)> visit = [](WalkedTensor) {
    return absl::OkStatus();
  };
  Walk walk(root, kMaxPaths, visit, path);
  PENSTOCK_RETURN_IF_ERROR(walk.Run(root.id()));
  if (walk.found() == kNoNode) {
    return absl::NotFoundError(
        absl::StrCat("nothing that can hold tensors is at \"", path, "\""));
  }
  return Value(root.graph(), walk.found());
}

}  // namespace penstock
