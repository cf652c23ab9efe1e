#include "compat/script_tree.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/graph_builder.h"
#include "core/python_repr.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

// As WalkTensors bounds them: what sharing multiplies must not be chosen by a
// file of a few kilobytes.
constexpr int64_t kMinNames = 20'000;
constexpr int64_t kNamesPerNode = 4;
constexpr int64_t kMinNameBytes = 16 << 20;
constexpr int64_t kNameBytesPerNode = 256;

// The text of a key on a path; a number of its own where Python has no short
// one for it.
std::string KeyText(const Value& key, int64_t index) {
  if (key.kind() == NodeKind::kStr) return std::string(key.AsBytes());
  return PythonRepr(key).value_or(absl::StrCat("?", index));
}

// The steps of ScriptStateDict. Thread-compatible.
class TreeMaker {
 public:
  TreeMaker(ScriptClasses& classes, const ScriptTreeLimits& limits)
      : classes_(classes), limits_(limits), root_(builder_.Dict()) {}

  absl::Status AddStateDict(const Value& module);
  absl::Status AddOthers(const Value& root, const std::string& name);
  absl::StatusOr<Value> Finish() && {
    return std::move(builder_).Finish(root_);
  }
  int64_t num_left_out() const { return num_left_out_; }

 private:
  // A node to be visited. Its path is the first `parent_bytes` of the path of
  // whatever was visited last, and `key`.
  struct Step {
    Value value;
    size_t parent_bytes = 0;
    std::string key;  // empty: the same path
    bool leaves = false;
  };
  // Tensors of one pickle that are nodes here already, by their number there.
  using TensorNodes = absl::flat_hash_map<NodeId, NodeId>;

  absl::StatusOr<const ScriptClass*> ClassOf(const Value& object);
  absl::Status VisitModule(const Value& module, const ScriptClass& of);
  absl::Status VisitOther(const Value& value);
  absl::Status AddTensor(const Value& tensor);
  absl::Status CountName(size_t bytes);
  std::string FreeName(const std::string& name);
  void Enter(const Step& step);
  void Push(const Value& value, std::string key);
  void PushChildren(const Value& value, const ScriptClass* of);

  ScriptClasses& classes_;
  const ScriptTreeLimits& limits_;
  GraphBuilder builder_;
  const NodeId root_;
  absl::flat_hash_map<std::string, int64_t> taken_;  // with the last suffix
  absl::flat_hash_map<const Graph*, TensorNodes> nodes_;
  std::string path_;
  std::vector<Step> steps_;
  std::vector<Step> children_;  // of the node that is visited
  int64_t num_names_ = 0;
  int64_t name_bytes_ = 0;
  int64_t num_left_out_ = 0;
};

// Null where it is no module.
absl::StatusOr<const ScriptClass*> TreeMaker::ClassOf(const Value& object) {
  if (object.kind() != NodeKind::kObject) return nullptr;
  const Value callable = object.child(ObjectChild::kCallable);
  const Value state = object.child(ObjectChild::kState);
  if (!callable || callable.kind() != NodeKind::kGlobal || !state ||
      state.kind() != NodeKind::kDict) {
    return nullptr;
  }
  return classes_.Find(callable.module(), callable.name());
}

absl::Status TreeMaker::CountName(size_t bytes) {
  ++num_names_;
  name_bytes_ += static_cast<int64_t>(bytes);
  if (num_names_ <= limits_.max_names && name_bytes_ <= limits_.max_name_bytes)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "pickle_limit: over %d names or %d bytes of names in a TorchScript "
      "archive",
      limits_.max_names, limits_.max_name_bytes));
}

std::string TreeMaker::FreeName(const std::string& name) {
  const auto [first, is_new] = taken_.emplace(name, 1);
  if (is_new) return name;
  int64_t suffix = first->second;
  std::string other;
  do {
    other = absl::StrCat(name, "~", ++suffix);
  } while (!taken_.emplace(other, 1).second);
  taken_[name] = suffix;
  return other;
}

// Under path_.
absl::Status TreeMaker::AddTensor(const Value& tensor) {
  PENSTOCK_RETURN_IF_ERROR(CountName(path_.size()));
  const auto [node, is_new] =
      nodes_[tensor.graph().get()].emplace(tensor.id(), kNoNode);
  if (is_new) {
    node->second = builder_.Tensor(
        tensor.AsTensor(), tensor.tensor_flags() & ~TensorFlags::kRequiresGrad);
  }
  return builder_.SetItem(root_, builder_.Str(FreeName(path_)), node->second);
}

void TreeMaker::Enter(const Step& step) {
  path_.resize(step.parent_bytes);
  if (step.key.empty()) return;
  if (!path_.empty()) path_ += '.';
  path_ += step.key;
}

void TreeMaker::Push(const Value& value, std::string key) {
  children_.push_back({value, path_.size(), std::move(key)});
}

// torch lists a module's parameters, then its buffers, then what its submodules
// have; each in the order of the attributes.
absl::Status TreeMaker::VisitModule(const Value& module,
                                    const ScriptClass& of) {
  const Value state = module.child(ObjectChild::kState);
  const size_t module_bytes = path_.size();
  for (const auto* names : {&of.parameters, &of.buffers}) {
    for (int64_t i = 0; i < state.size(); ++i) {
      if (state.value(i).kind() != NodeKind::kTensor) continue;
      const std::string key = KeyText(state.key(i), i);
      if (!names->contains(key)) continue;
      Enter({state.value(i), module_bytes, key});
      PENSTOCK_RETURN_IF_ERROR(AddTensor(state.value(i)));
    }
  }
  path_.resize(module_bytes);
  for (int64_t i = 0; i < state.size(); ++i) {
    if (state.value(i).kind() == NodeKind::kObject) {
      Push(state.value(i), KeyText(state.key(i), i));
    }
  }
  return absl::OkStatus();
}

absl::Status TreeMaker::AddStateDict(const Value& module) {
  std::vector<bool> on_path(module.graph()->num_nodes());
  steps_.clear();
  steps_.push_back({module, 0, ""});
  while (!steps_.empty()) {
    const Step step = std::move(steps_.back());
    steps_.pop_back();
    if (step.leaves) {
      on_path[step.value.id()] = false;
      continue;
    }
    if (on_path[step.value.id()]) continue;  // it contains itself
    PENSTOCK_ASSIGN_OR_RETURN(const ScriptClass* of, ClassOf(step.value));
    if (of == nullptr) continue;
    Enter(step);
    PENSTOCK_RETURN_IF_ERROR(CountName(0));
    on_path[step.value.id()] = true;
    steps_.push_back({step.value, 0, "", true});
    children_.clear();
    PENSTOCK_RETURN_IF_ERROR(VisitModule(step.value, *of));
    std::move(children_.rbegin(), children_.rend(), std::back_inserter(steps_));
  }
  return absl::OkStatus();
}

// `of`: of a module, whose parameters and buffers have their names already.
void TreeMaker::PushChildren(const Value& value, const ScriptClass* of) {
  switch (value.kind()) {
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
      for (int64_t i = 0; i < value.size(); ++i) {
        Push(value.item(i), absl::StrCat(i));
      }
      return;
    case NodeKind::kDict:
      for (int64_t i = 0; i < value.size(); ++i) {
        std::string key = KeyText(value.key(i), i);
        if (of != nullptr && value.value(i).kind() == NodeKind::kTensor &&
            (of->parameters.contains(key) || of->buffers.contains(key))) {
          continue;
        }
        Push(value.value(i), std::move(key));
      }
      return;
    default:
      return;
  }
}

absl::Status TreeMaker::VisitOther(const Value& value) {
  if (value.kind() == NodeKind::kTensor) return AddTensor(value);
  if (value.kind() == NodeKind::kStorage) ++num_left_out_;
  if (value.kind() != NodeKind::kObject) {
    PushChildren(value, nullptr);
    return absl::OkStatus();
  }
  PENSTOCK_ASSIGN_OR_RETURN(const ScriptClass* of, ClassOf(value));
  const Value callable = value.child(ObjectChild::kCallable);
  const Value args = value.child(ObjectChild::kArgs);
  // build_tensorlist((items,)), restore_type_tag((value, type)): what is in
  // them stands for them.
  if (args.size() > 0 && callable.kind() == NodeKind::kGlobal &&
      callable.module() == "torch.jit._pickle") {
    Push(args.item(0), "");
    return absl::OkStatus();
  }
  PushChildren(args, nullptr);
  for (const ObjectChild which : {ObjectChild::kItems, ObjectChild::kPairs}) {
    if (value.child(which)) PushChildren(value.child(which), nullptr);
  }
  const Value state = value.child(ObjectChild::kState);
  if (!state) return absl::OkStatus();
  if (state.kind() == NodeKind::kDict) {
    PushChildren(state, of);
  } else {
    Push(state, "");
  }
  return absl::OkStatus();
}

absl::Status TreeMaker::AddOthers(const Value& root, const std::string& name) {
  std::vector<bool> seen(root.graph()->num_nodes());
  steps_.clear();
  steps_.push_back({root, 0, name});
  while (!steps_.empty()) {
    const Step step = std::move(steps_.back());
    steps_.pop_back();
    if (seen[step.value.id()]) continue;
    seen[step.value.id()] = true;
    Enter(step);
    children_.clear();
    PENSTOCK_RETURN_IF_ERROR(VisitOther(step.value));
    std::move(children_.rbegin(), children_.rend(), std::back_inserter(steps_));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Value> ScriptStateDict(const Value& module,
                                      const Value& constants,
                                      ScriptClasses& classes,
                                      std::vector<std::string>& warnings,
                                      const ScriptTreeLimits& limits) {
  const int64_t num_nodes =
      module.graph()->num_nodes() + constants.graph()->num_nodes();
  const ScriptTreeLimits bounded = {
      std::min(limits.max_names, kMinNames + kNamesPerNode * num_nodes),
      std::min(limits.max_name_bytes,
               kMinNameBytes + kNameBytesPerNode * num_nodes)};
  TreeMaker maker(classes, bounded);
  PENSTOCK_RETURN_IF_ERROR(maker.AddStateDict(module));
  PENSTOCK_RETURN_IF_ERROR(maker.AddOthers(module, "attributes"));
  PENSTOCK_RETURN_IF_ERROR(maker.AddOthers(constants, "constants"));
  if (maker.num_left_out() > 0) {
    warnings.push_back(absl::StrFormat(
        "%d tensors of this TorchScript archive are left out: they are not "
        "plain (quantised, for instance)",
        maker.num_left_out()));
  }
  return std::move(maker).Finish();
}

}  // namespace penstock
