#include "compat/pickle_writer.h"

#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/pickle_emitter.h"
#include "compat/pickle_opcodes.h"
#include "compat/pickle_tensors.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"

namespace penstock {
namespace pickle {
namespace {

// What CPython's pickler puts between one MARK and its end.
constexpr int64_t kBatch = 1000;

// One node whose children are being written.
struct Frame {
  NodeId node;
  int stage = 0;      // of an object or set: which part comes next
  int64_t index = 0;  // children of that part that were handed out
};

// A run of items behind a container, in batches.
struct Run {
  absl::Span<const NodeId> children;
  int64_t arity = 1;  // 2 for pairs
  Op one = kAppend;   // ends a batch that has no mark
  Op many = kAppends;
  // The two ways of CPython's pickler: over an exact list or dict, where only a
  // container of one item goes without a mark, or over an iterator, where each
  // last batch of one does.
  bool is_exact = true;
};

class PickleWriter {
 public:
  PickleWriter(const Graph& graph, int protocol,
               const PickleWriteOptions& options)
      : tables_(graph.tables()),
        max_bytes_(options.max_bytes),
        emit_(protocol),
        tensors_(tables_, options.persistent_ids, emit_),
        memo_(tables_.nodes.size(), kNoMemo) {}

  absl::Status Write(NodeId root);
  PickledCheckpoint Take() &&;

 private:
  const Node& node(NodeId id) const { return tables_.nodes[id]; }
  absl::Span<const NodeId> Children(NodeId id) const {
    return ChildrenOf(tables_, node(id));
  }
  absl::string_view Bytes(NodeId id) const {
    return BytesOf(tables_, node(id));
  }

  absl::Status Begin(NodeId id);
  void BeginContainer(NodeId id, Op empty);
  absl::Status Enter(NodeId id);
  void Leaf(NodeId id);
  void MadeByCall(NodeId id);
  NodeId Advance(Frame& frame);
  NodeId AdvanceTuple(Frame& frame);
  NodeId AdvanceSet(Frame& frame);
  NodeId AdvanceObject(Frame& frame);
  NodeId NextInRun(Frame& frame, const Run& run);
  bool EndsInTheMemo(NodeId id, Op drop, int64_t count);
  void Remember(NodeId id, MemoIndex index);

  MemoIndex Str(NodeId id, bool is_metadata_key);
  absl::Status GlobalNode(NodeId id);
  void NoteDevice(NodeId object);
  void NoteMetadata(NodeId object, NodeId state);

  const GraphTables& tables_;
  const int64_t max_bytes_;
  PickleEmitter emit_;
  TensorEmitter tensors_;
  std::vector<MemoIndex> memo_;  // by node

  std::vector<Frame> stack_;
  // How much was in the memo when a node that is not yet there was last begun.
  // To begin it again with nothing new is to go round in circles.
  absl::flat_hash_map<NodeId, int64_t> begun_;
  int64_t num_remembered_ = 0;

  // Strings of the graph that SharedStr may find.
  absl::flat_hash_set<MemoIndex> claimed_strs_;
  // Types of devices: torch makes a string for each.
  absl::flat_hash_set<NodeId> device_types_;
  // OrderedDicts whose keys are strings of their own (pytorch-format.md 3.4).
  absl::flat_hash_set<NodeId> metadata_;
  bool is_metadata_key_ = false;
};

absl::Status PickleWriter::Write(NodeId root) {
  // Deeper than this only a tuple gets that is begun again and again.
  const size_t max_depth = 4 * tables_.nodes.size() + 1000;
  PENSTOCK_RETURN_IF_ERROR(Begin(root));
  while (!stack_.empty()) {
    if (emit_.size_bytes() > max_bytes_ || stack_.size() > max_depth) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "pickle_limit: the pickle is longer than %d bytes", max_bytes_));
    }
    const NodeId child = Advance(stack_.back());
    if (child == kNoNode) {
      stack_.pop_back();
    } else {
      PENSTOCK_RETURN_IF_ERROR(Begin(child));
    }
  }
  emit_.Code(kStop);
  return absl::OkStatus();
}

PickledCheckpoint PickleWriter::Take() && {
  PickledCheckpoint result;
  result.pickle = std::move(emit_).Take();
  result.storage_order = tensors_.storage_order();
  result.untyped_storages = tensors_.untyped_storages();
  if (tensors_.has_retyped_storage()) {
    result.warnings.push_back(
        "a bare typed storage is written as an UntypedStorage: it has views of "
        "other types, or torch has no class for its type");
  }
  return result;
}

void PickleWriter::Remember(NodeId id, MemoIndex index) {
  memo_[id] = index;
  ++num_remembered_;
}

absl::Status PickleWriter::Begin(NodeId id) {
  const bool is_metadata_key = std::exchange(is_metadata_key_, false);
  if (memo_[id] != kNoMemo) {
    emit_.Get(memo_[id]);
    return absl::OkStatus();
  }
  switch (node(id).kind) {
    case NodeKind::kStr:
      Remember(id, Str(id, is_metadata_key));
      return absl::OkStatus();
    case NodeKind::kGlobal:
      return GlobalNode(id);
    case NodeKind::kTensor:
      Remember(id, tensors_.Tensor(node(id)));
      return absl::OkStatus();
    case NodeKind::kStorage:
      // What BINPERSID gives has no place in the memo.
      tensors_.BareStorage(node(id));
      return absl::OkStatus();
    case NodeKind::kList:
      BeginContainer(id, kEmptyList);
      return absl::OkStatus();
    case NodeKind::kDict:
      BeginContainer(id, kEmptyDict);
      return absl::OkStatus();
    case NodeKind::kTuple:
      if (node(id).size > 0) return Enter(id);
      // Has no place in the memo, so it may be begun again at once.
      emit_.BeginTuple(0);
      emit_.EndTuple(0);
      return absl::OkStatus();
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
    case NodeKind::kObject:
      return Enter(id);
    case NodeKind::kComplex:
    case NodeKind::kBytes:
    case NodeKind::kByteArray:
      MadeByCall(id);
      return absl::OkStatus();
    default:
      Leaf(id);
      return absl::OkStatus();
  }
}

// Lists and dicts are in the memo before their items: they may hold themselves.
void PickleWriter::BeginContainer(NodeId id, Op empty) {
  emit_.Code(empty);
  Remember(id, emit_.Put());
  stack_.push_back({id});
}

absl::Status PickleWriter::Enter(NodeId id) {
  const auto [begun, is_new] = begun_.try_emplace(id, num_remembered_);
  if (!is_new && begun->second == num_remembered_) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "node %d, a tuple, set or object, contains itself and cannot be made",
        id));
  }
  begun->second = num_remembered_;
  const Node& entered = node(id);
  if (entered.kind == NodeKind::kTuple) {
    emit_.BeginTuple(entered.size);
  } else if (entered.kind != NodeKind::kObject) {
    emit_.Global("builtins",
                 entered.kind == NodeKind::kSet ? "set" : "frozenset");
    emit_.Code(kEmptyList);
    emit_.Put();
  }
  stack_.push_back({id});
  return absl::OkStatus();
}

void PickleWriter::Leaf(NodeId id) {
  const Node& leaf = node(id);
  double number;
  switch (leaf.kind) {
    case NodeKind::kBool:
      return emit_.Bool(leaf.payload != 0);
    case NodeKind::kInt:
      return emit_.Int(static_cast<int64_t>(leaf.payload));
    case NodeKind::kBigInt:
      return emit_.BigInt(Bytes(id));
    case NodeKind::kFloat:
      std::memcpy(&number, &leaf.payload, sizeof number);
      return emit_.Float(number);
    case NodeKind::kPy2Str:
      return Remember(id, emit_.Py2Str(Bytes(id)));
    default:
      return emit_.Code(kNone);
  }
}

// What protocol 2 has no opcode for and builds by a call.
void PickleWriter::MadeByCall(NodeId id) {
  const absl::string_view bytes = Bytes(id);
  const NodeKind kind = node(id).kind;
  if (kind == NodeKind::kBytes) {
    emit_.Bytes(bytes);
  } else if (kind == NodeKind::kComplex) {
    double parts[2];
    std::memcpy(parts, bytes.data(), sizeof parts);
    emit_.Global("builtins", "complex");
    emit_.Float(parts[0]);
    emit_.Float(parts[1]);
    emit_.EndTuple(2);
    emit_.Code(kReduce);
  } else {
    emit_.Global("builtins", "bytearray");
    if (!bytes.empty()) {
      emit_.Bytes(bytes);
      emit_.Put();
    }
    emit_.EndTuple(bytes.empty() ? 0 : 1);
    emit_.Code(kReduce);
  }
  Remember(id, emit_.Put());
}

NodeId PickleWriter::Advance(Frame& frame) {
  switch (node(frame.node).kind) {
    case NodeKind::kList:
      return NextInRun(frame, {Children(frame.node)});
    case NodeKind::kDict:
      return NextInRun(frame, {Children(frame.node), 2, kSetItem, kSetItems});
    case NodeKind::kTuple:
      return AdvanceTuple(frame);
    case NodeKind::kObject:
      return AdvanceObject(frame);
    default:
      return AdvanceSet(frame);
  }
}

// Hands out the children of a run one by one, with the opcodes around them.
NodeId PickleWriter::NextInRun(Frame& frame, const Run& run) {
  const int64_t total = static_cast<int64_t>(run.children.size());
  const int64_t batch = kBatch * run.arity;
  const auto is_bare = [&](int64_t first) {
    return total - first == run.arity && (first == 0 || !run.is_exact);
  };
  const bool at_end = frame.index == total;
  if (frame.index > 0 && (at_end || frame.index % batch == 0)) {
    const int64_t first = (frame.index - 1) / batch * batch;
    emit_.Code(is_bare(first) ? run.one : run.many);
  }
  if (at_end) {
    // CPython's loop over an exact dict finds its end only in the next batch.
    if (run.arity == 2 && run.is_exact && total > 0 && total % batch == 0) {
      emit_.Code(kMark);
      emit_.Code(run.many);
    }
    return kNoNode;
  }
  if (frame.index % batch == 0 && !is_bare(frame.index)) emit_.Code(kMark);
  return run.children[frame.index++];
}

// True where writing the parts of `id` has put it into the memo: it holds
// itself through a list, dict or object. What lies on the stack is dropped for
// it.
bool PickleWriter::EndsInTheMemo(NodeId id, Op drop, int64_t count) {
  if (memo_[id] == kNoMemo) return false;
  emit_.Codes(drop, count);
  emit_.Get(memo_[id]);
  return true;
}

NodeId PickleWriter::AdvanceTuple(Frame& frame) {
  const absl::Span<const NodeId> items = Children(frame.node);
  const int64_t count = static_cast<int64_t>(items.size());
  if (frame.index < count) return items[frame.index++];
  const bool is_marked = count > 3;
  if (EndsInTheMemo(frame.node, is_marked ? kPopMark : kPop,
                    is_marked ? 1 : count)) {
    return kNoNode;
  }
  const MemoIndex index = emit_.EndTuple(count);
  if (index != kNoMemo) Remember(frame.node, index);
  return kNoNode;
}

// set([...]): the list is nobody's.
NodeId PickleWriter::AdvanceSet(Frame& frame) {
  const NodeId item = NextInRun(frame, {Children(frame.node)});
  if (item != kNoNode) return item;
  emit_.EndTuple(1);
  emit_.Code(kReduce);
  if (!EndsInTheMemo(frame.node, kPop, 1)) {
    Remember(frame.node, emit_.Put());
  }
  return kNoNode;
}

// In the order of CPython's save_reduce. Each stage hands out a child or falls
// to the next.
NodeId PickleWriter::AdvanceObject(Frame& frame) {
  const absl::Span<const NodeId> parts = Children(frame.node);
  const auto part = [&](ObjectChild which) {
    return parts[static_cast<int>(which)];
  };
  const auto run = [&](ObjectChild which) {
    const NodeId id = part(which);
    return id == kNoNode ? absl::Span<const NodeId>() : Children(id);
  };
  const auto how = static_cast<Construction>(node(frame.node).detail);
  switch (frame.stage) {
    case 0:
      frame.stage = 1;
      return part(ObjectChild::kCallable);
    case 1:
      frame.stage = 2;
      NoteDevice(frame.node);
      return part(ObjectChild::kArgs);
    case 2:
      frame.stage = 3;
      if (how == Construction::kNewObjEx) return part(ObjectChild::kKwargs);
      [[fallthrough]];
    case 3:
      emit_.Code(how == Construction::kReduce   ? kReduce
                 : how == Construction::kNewObj ? kNewObj
                                                : kNewObjEx);
      if (EndsInTheMemo(frame.node, kPop, 1)) return kNoNode;
      Remember(frame.node, emit_.Put());
      frame.stage = 4;
      [[fallthrough]];
    case 4: {
      const NodeId item = NextInRun(
          frame, {run(ObjectChild::kItems), 1, kAppend, kAppends, false});
      if (item != kNoNode) return item;
      frame.stage = 5;
      frame.index = 0;
      [[fallthrough]];
    }
    case 5: {
      is_metadata_key_ = frame.index % 2 == 0 && metadata_.contains(frame.node);
      const NodeId item = NextInRun(
          frame, {run(ObjectChild::kPairs), 2, kSetItem, kSetItems, false});
      if (item != kNoNode) return item;
      is_metadata_key_ = false;
      frame.stage = 6;
      if (part(ObjectChild::kState) == kNoNode) return kNoNode;
      NoteMetadata(frame.node, part(ObjectChild::kState));
      return part(ObjectChild::kState);
    }
    default:
      emit_.Code(kBuild);
      return kNoNode;
  }
}

// torch.device(type, index) gives pickle a new string for its type, which is
// neither the 'cpu' of storages nor any other.
void PickleWriter::NoteDevice(NodeId object) {
  const NodeId callable =
      Children(object)[static_cast<int>(ObjectChild::kCallable)];
  const NodeId args = Children(object)[static_cast<int>(ObjectChild::kArgs)];
  if (node(callable).kind == NodeKind::kGlobal &&
      Bytes(Children(callable)[0]) == "torch" &&
      Bytes(Children(callable)[1]) == "device" && args != kNoNode &&
      !Children(args).empty() &&
      node(Children(args)[0]).kind == NodeKind::kStr) {
    device_types_.insert(Children(args)[0]);
  }
}

// A module's state_dict has a state {'_metadata': OrderedDict}, whose keys
// torch cuts from longer strings: each is an object of its own.
void PickleWriter::NoteMetadata(NodeId object, NodeId state) {
  if (tables_.strings_by_identity || node(state).kind != NodeKind::kDict) {
    return;
  }
  const NodeId callable =
      Children(object)[static_cast<int>(ObjectChild::kCallable)];
  if (node(callable).kind != NodeKind::kGlobal ||
      Bytes(Children(callable)[1]) != "OrderedDict") {
    return;
  }
  const absl::Span<const NodeId> pairs = Children(state);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    if (node(pairs[i]).kind == NodeKind::kStr &&
        Bytes(pairs[i]) == "_metadata") {
      metadata_.insert(pairs[i + 1]);
    }
  }
}

MemoIndex PickleWriter::Str(NodeId id, bool is_metadata_key) {
  const absl::string_view text = Bytes(id);
  if (!SharesByValue(text) || device_types_.contains(id)) {
    return emit_.Str(text);
  }
  if (!tables_.strings_by_identity) {
    return is_metadata_key && !HasAtMostOneCharacter(text)
               ? emit_.Str(text)
               : emit_.SharedStr(text);
  }
  // One node is one string, but torch's own words ('cpu') have no node: the
  // first node that equals one of those is taken to be it.
  MemoIndex index = emit_.FindSharedStr(text);
  if (index != kNoMemo && claimed_strs_.insert(index).second) {
    emit_.Get(index);
    return index;
  }
  index = emit_.Str(text);
  emit_.ShareStr(text, index);
  claimed_strs_.insert(index);
  return index;
}

absl::Status PickleWriter::GlobalNode(NodeId id) {
  const absl::string_view module = Bytes(Children(id)[0]);
  const absl::string_view name = Bytes(Children(id)[1]);
  for (absl::string_view text : {module, name}) {
    if (absl::StrContains(text, '\n')) {
      return absl::InvalidArgumentError(
          "the name of a global holds a newline: no pickle can name it");
    }
  }
  emit_.Global(module, name);
  return absl::OkStatus();
}

// What protocol 2 cannot say; empty where there is nothing.
absl::string_view NeedOfProtocol4(const GraphTables& tables) {
  for (const Node& node : tables.nodes) {
    if (node.kind == NodeKind::kObject &&
        node.detail == static_cast<uint8_t>(Construction::kNewObjEx)) {
      return "an object is made with keyword arguments";
    }
    if (node.kind == NodeKind::kGlobal) {
      const auto text = [&](int child) {
        return BytesOf(tables, tables.nodes[ChildrenOf(tables, node)[child]]);
      };
      const GlobalName name = {text(0), text(1)};
      if (absl::StrContains(name.name, '.')) {
        return "a global lies inside another";
      }
      // A module of one's own that is named as one of Python 2's was.
      const GlobalName read = ToPython3(ToPython2(name));
      if (read.module != name.module || read.name != name.name) {
        return "a global would be read under another name";
      }
    }
  }
  return "";
}

}  // namespace
}  // namespace pickle

absl::StatusOr<PickledCheckpoint> WritePickle(
    const Value& root, const PickleWriteOptions& options) {
  if (options.protocol != 2 && options.protocol != 4) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "pickle protocol %d: 2 and 4 can be written", options.protocol));
  }
  const Graph& graph = *root.graph();
  const absl::string_view need = pickle::NeedOfProtocol4(graph.tables());
  const bool is_raised = options.protocol == 2 && !need.empty();
  pickle::PickleWriter writer(graph, is_raised ? 4 : options.protocol, options);
  PENSTOCK_RETURN_IF_ERROR(writer.Write(root.id()));
  PickledCheckpoint result = std::move(writer).Take();
  if (is_raised) {
    result.warnings.push_back(absl::StrCat(
        "written with pickle protocol 4, which torch.load(weights_only=True) "
        "refuses: ",
        need));
  }
  return result;
}

}  // namespace penstock
