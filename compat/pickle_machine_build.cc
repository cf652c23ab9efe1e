// The opcodes of PickleMachine that build: memo, containers, objects.

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/pickle_machine.h"
#include "core/python_keys.h"
#include "core/status_macros.h"

namespace penstock::pickle {
namespace {

absl::Status Bad(absl::string_view name, absl::string_view text) {
  return absl::DataLossError(absl::StrCat(name, ": ", text));
}

// The builder's own complaints are about kinds.
absl::Status AsTypeError(const absl::Status& status) {
  if (status.ok()) return status;
  return Bad("pickle_type", status.message());
}

}  // namespace

absl::StatusOr<uint32_t> PickleMachine::TakeIndex(int width) {
  if (width != 0) {
    PENSTOCK_ASSIGN_OR_RETURN(const uint64_t index,
                              cursor_.TakeUnsigned(width));
    return static_cast<uint32_t>(index);
  }
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  uint32_t index = 0;
  if (!absl::SimpleAtoi(line, &index)) {
    return Bad("pickle_number", "not a memo index");
  }
  return index;
}

absl::Status PickleMachine::Remember(uint32_t index) {
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  if (resolver_.IsBareTensor(Top())) bare_tensors_[Top()] = index;
  if (index < memo_.size()) {
    if (is_replaying_ && memo_[index] != kLeftOut) {
      stack_.back() = memo_[index];  // the very object, of which there is one
      return absl::OkStatus();
    }
    if (!is_replaying_) PENSTOCK_RETURN_IF_ERROR(MakeLeftOut());
    memo_[index] = Top();
    return absl::OkStatus();
  }
  if (static_cast<int64_t>(memo_.size() + sparse_memo_.size()) >=
      limits_.max_memo_entries) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "pickle_limit: more than %d memo entries", limits_.max_memo_entries));
  }
  if (index == memo_.size()) {
    if (!sparse_memo_.empty()) sparse_memo_.erase(index);
    memo_.push_back(Top());
  } else {
    sparse_memo_[index] = Top();
  }
  return absl::OkStatus();
}

absl::Status PickleMachine::Put(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint32_t index, TakeIndex(width));
  return Remember(index);
}

absl::Status PickleMachine::Memoize(int) {
  return Remember(static_cast<uint32_t>(memo_.size() + sparse_memo_.size()));
}

absl::StatusOr<NodeId> PickleMachine::Recall(uint32_t index) {
  if (index < memo_.size()) {
    if (memo_[index] == kLeftOut) PENSTOCK_RETURN_IF_ERROR(MakeLeftOut());
    return memo_[index];
  }
  const auto found = sparse_memo_.find(index);
  if (found != sparse_memo_.end()) return found->second;
  return Bad("pickle_memo", absl::StrFormat("nothing is at %d", index));
}

absl::Status PickleMachine::Get(int width) {
  const size_t begin = cursor_.position() - 1;
  PENSTOCK_ASSIGN_OR_RETURN(const uint32_t index, TakeIndex(width));
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId id, Recall(index));
  if (IsLent(id)) {
    return Bad("pickle_memo",
               absl::StrFormat("the bytes of a storage, at %d, are used twice",
                               index));
  }
  if (resolver_.RebuildsTensor(id)) {
    if (const std::optional<NodeId> tensor = TakeTensor(begin)) {
      return Push(*tensor);
    }
  }
  return Push(id);
}

absl::Status PickleMachine::List(int empty) {
  std::vector<NodeId> items;
  if (empty == 0) {
    PENSTOCK_ASSIGN_OR_RETURN(items, TakeMarked());
  }
  return Push(builder_.List(items));
}

absl::Status PickleMachine::Append(int single) {
  std::vector<NodeId> items;
  if (single == 0) {
    PENSTOCK_ASSIGN_OR_RETURN(items, TakeMarked());
    PENSTOCK_RETURN_IF_ERROR(Need(1));
  } else {
    PENSTOCK_RETURN_IF_ERROR(Need(2));
    items.push_back(TakeTop());
  }
  const NodeKind kind = builder_.kind(Top());
  if (kind != NodeKind::kList && kind != NodeKind::kObject) {
    return Bad("pickle_type", "items are appended to neither list nor object");
  }
  for (NodeId item : items) {
    PENSTOCK_RETURN_IF_ERROR(AsTypeError(builder_.Append(Top(), item)));
  }
  return absl::OkStatus();
}

absl::Status PickleMachine::Tuple(int count) {
  if (count < 0) {
    PENSTOCK_ASSIGN_OR_RETURN(const std::vector<NodeId> items, TakeMarked());
    return Push(builder_.Tuple(items));
  }
  PENSTOCK_RETURN_IF_ERROR(Need(count));
  const NodeId tuple = builder_.Tuple(absl::MakeConstSpan(stack_).last(count));
  stack_.resize(stack_.size() - count);
  return Push(tuple);
}

absl::Status PickleMachine::Dict(int empty) {
  std::vector<NodeId> items;
  if (empty == 0) {
    PENSTOCK_ASSIGN_OR_RETURN(items, TakeMarked());
  }
  PENSTOCK_RETURN_IF_ERROR(Push(builder_.Dict()));
  return SetPairs(Top(), items);
}

absl::Status PickleMachine::SetItem(int single) {
  std::vector<NodeId> items;
  if (single == 0) {
    PENSTOCK_ASSIGN_OR_RETURN(items, TakeMarked());
    PENSTOCK_RETURN_IF_ERROR(Need(1));
  } else {
    PENSTOCK_RETURN_IF_ERROR(Need(3));
    const NodeId value = TakeTop();
    items = {TakeTop(), value};
  }
  return SetPairs(Top(), items);
}

absl::Status PickleMachine::SetPairs(NodeId mapping,
                                     absl::Span<const NodeId> items) {
  const NodeKind kind = builder_.kind(mapping);
  if (kind != NodeKind::kDict && kind != NodeKind::kObject) {
    return Bad("pickle_type", "items are set in neither dict nor object");
  }
  if (items.size() % 2 != 0) {
    return Bad("pickle_type",
               absl::StrFormat("%d items are no pairs", items.size()));
  }
  for (size_t i = 0; i < items.size(); i += 2) {
    PENSTOCK_RETURN_IF_ERROR(resolver_.CheckHashable(items[i]));
    PENSTOCK_RETURN_IF_ERROR(
        AsTypeError(builder_.SetItem(mapping, items[i], items[i + 1])));
  }
  return absl::OkStatus();
}

absl::Status PickleMachine::EmptySet(int) { return Push(builder_.Set()); }

absl::Status PickleMachine::AddItems(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<NodeId> items, TakeMarked());
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  if (builder_.kind(Top()) != NodeKind::kSet) {
    return Bad("pickle_type", "items are added to no set");
  }
  for (NodeId item : items) {
    PENSTOCK_RETURN_IF_ERROR(resolver_.CheckHashable(item));
    PENSTOCK_RETURN_IF_ERROR(AsTypeError(builder_.Append(Top(), item)));
  }
  return absl::OkStatus();
}

absl::Status PickleMachine::FrozenSet(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<NodeId> items, TakeMarked());
  for (NodeId item : items) {
    PENSTOCK_RETURN_IF_ERROR(resolver_.CheckHashable(item));
  }
  return Push(builder_.FrozenSet(items));
}

GlobalName PickleMachine::Python3Name(GlobalName name) const {
  return protocol_ < 3 ? ToPython3(name) : name;
}

void PickleMachine::NoteGlobal(NodeId global, GlobalName name) {
  std::string text = absl::StrCat(name.module, " ", name.name);
  if (seen_globals_.insert(text).second) globals_.push_back(std::move(text));
  if (global != kNoNode) resolver_.NoteGlobal(global, name);
}

absl::StatusOr<NodeId> PickleMachine::TakeGlobalLines() {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  const std::string module(line);  // the view ends with the next line
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view name, cursor_.TakeLine());
  if (!IsPythonText(module) || !IsPythonText(name)) {
    return Bad("pickle_utf8", "the name of a global is not UTF-8");
  }
  const GlobalName global = Python3Name({module, name});
  const NodeId id = builder_.Global(global.module, global.name);
  NoteGlobal(id, global);
  return id;
}

absl::Status PickleMachine::Global(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId global, TakeGlobalLines());
  return Push(global);
}

absl::Status PickleMachine::StackGlobal(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(2));
  const NodeId name = TakeTop();
  const NodeId module = TakeTop();
  if (builder_.kind(module) != NodeKind::kStr ||
      builder_.kind(name) != NodeKind::kStr) {
    return Bad("pickle_type", "module and name of a global are no text");
  }
  // Copied: the builder's text moves when a node is made.
  const std::string module_text(builder_.AsBytes(module));
  const std::string name_text(builder_.AsBytes(name));
  const GlobalName global = Python3Name({module_text, name_text});
  const bool is_same = global.module == module_text && global.name == name_text;
  const NodeId id = is_same ? builder_.GlobalOf(module, name)
                            : builder_.Global(global.module, global.name);
  NoteGlobal(id, global);
  return Push(id);
}

absl::Status PickleMachine::CheckCall(NodeId callable, NodeId args) const {
  const NodeKind kind = builder_.kind(callable);
  if (kind != NodeKind::kGlobal && kind != NodeKind::kObject) {
    return Bad("pickle_type", "what is called is neither global nor object");
  }
  if (builder_.kind(args) == NodeKind::kTuple) return absl::OkStatus();
  return Bad("pickle_type", "the arguments of a call are no tuple");
}

absl::Status PickleMachine::PushCall(NodeId callable, NodeId args) {
  PENSTOCK_RETURN_IF_ERROR(CheckCall(callable, args));
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId result,
                            resolver_.Call(callable, args));
  return Push(result);
}

absl::Status PickleMachine::Reduce(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(2));
  const NodeId args = TakeTop();
  return PushCall(TakeTop(), args);
}

absl::Status PickleMachine::NewObj(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(2));
  const NodeId args = TakeTop();
  const NodeId type = TakeTop();
  PENSTOCK_RETURN_IF_ERROR(CheckCall(type, args));
  return Push(builder_.Object(Construction::kNewObj, type, args));
}

absl::Status PickleMachine::NewObjEx(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(3));
  const NodeId kwargs = TakeTop();
  const NodeId args = TakeTop();
  const NodeId type = TakeTop();
  PENSTOCK_RETURN_IF_ERROR(CheckCall(type, args));
  if (builder_.kind(kwargs) != NodeKind::kDict) {
    return Bad("pickle_type", "keyword arguments are no dict");
  }
  return Push(builder_.Object(Construction::kNewObjEx, type, args, kwargs));
}

absl::Status PickleMachine::Inst(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId type, TakeGlobalLines());
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<NodeId> items, TakeMarked());
  // Both may be out of nodes; Push says so.
  const NodeId args = builder_.Tuple(items);
  return args == kNoNode ? Push(args) : PushCall(type, args);
}

absl::Status PickleMachine::Obj(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<NodeId> items, TakeMarked());
  if (items.empty()) {
    return Bad("pickle_underflow", "needs 1 item above the mark, found 0");
  }
  const NodeId args = builder_.Tuple(absl::MakeConstSpan(items).subspan(1));
  return args == kNoNode ? Push(args) : PushCall(items[0], args);
}

absl::Status PickleMachine::Build(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(2));
  const NodeId state = TakeTop();
  if (builder_.kind(Top()) != NodeKind::kObject) {
    return Bad("pickle_type", "a state is attached to no object");
  }
  if (resolver_.IsBareTensor(Top())) {
    PENSTOCK_ASSIGN_OR_RETURN(const std::optional<NodeId> tensor,
                              resolver_.BareTensorWith(state));
    if (tensor) return ReplaceBareTensor(*tensor);
  }
  return AsTypeError(builder_.SetState(Top(), state));
}

// Python fills the object that the memo has; a node's kind cannot change.
absl::Status PickleMachine::ReplaceBareTensor(NodeId tensor) {
  const auto place = bare_tensors_.find(TakeTop());
  PENSTOCK_RETURN_IF_ERROR(Push(tensor));
  if (place == bare_tensors_.end()) return absl::OkStatus();
  return Remember(place->second);
}

absl::Status PickleMachine::PersId(int) {
  PENSTOCK_RETURN_IF_ERROR(cursor_.TakeLine().status());
  return Bad("persid_bad", "a persistent id as text cannot name a storage");
}

absl::Status PickleMachine::BinPersId(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId storage,
                            resolver_.PersistentObject(TakeTop()));
  return Push(storage);
}

}  // namespace penstock::pickle
