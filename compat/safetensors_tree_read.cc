#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "compat/json_text.h"
#include "compat/number_text.h"
#include "compat/safetensors_tree.h"
#include "compat/safetensors_tree_tensors.h"
#include "compat/zip_name.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/graph_tables.h"
#include "core/python_keys.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

enum class Kind {
  // Made when they begin, so that cells within may refer to them.
  kList,
  kDict,
  kOrderedDict,
  kOrderedDictState,
  kMapping,
  // Made when they end.
  kTuple,
  kSet,
  kFrozenSet,
  // Not numbered.
  kObject,
  kTensor,
  kRef,
  kInt,
  kFloat,
  kComplex,
  kBytes,
  kByteArray,
  kPy2Str,
  kSurrogates,
  kSize,
  kDevice,
  kDType,
};

struct KindName {
  absl::string_view name;
  Kind kind;
  // Strings and integers within it are arguments, not cells; -1: all of them.
  int num_arguments;
};

constexpr KindName kKinds[] = {
    {"list", Kind::kList, 0},
    {"dict", Kind::kDict, 0},
    {"OrderedDict", Kind::kOrderedDict, 0},
    {"OrderedDict.state", Kind::kOrderedDictState, 0},
    {"mapping", Kind::kMapping, 1},
    {"tuple", Kind::kTuple, 0},
    {"set", Kind::kSet, 0},
    {"frozenset", Kind::kFrozenSet, 0},
    {"object", Kind::kObject, 1},
    {"tensor", Kind::kTensor, -1},
    {"ref", Kind::kRef, -1},
    {"int", Kind::kInt, -1},
    {"float", Kind::kFloat, -1},
    {"complex", Kind::kComplex, -1},
    {"bytes", Kind::kBytes, -1},
    {"bytearray", Kind::kByteArray, -1},
    {"py2str", Kind::kPy2Str, -1},
    {"surrogates", Kind::kSurrogates, -1},
    {"torch.Size", Kind::kSize, -1},
    {"torch.device", Kind::kDevice, -1},
    {"torch.dtype", Kind::kDType, -1},
};

class TreeReader {
 public:
  TreeReader(absl::Span<const NamedTensor> tensors, SameBytes same_bytes)
      : entries_(tensors), tensors_(tensors, same_bytes, result_.warnings) {}

  absl::StatusOr<ReadTreeResult> Read(absl::string_view json);

 private:
  enum class At { kStart, kRoot, kTies, kTieList, kTie, kTree, kEnd };

  // A cell that has begun.
  struct Frame {
    const KindName* kind = nullptr;  // null: its first item is still to come
    int64_t number = -1;             // among numbered cells
    NodeId container = kNoNode;
    NodeId key = kNoNode;  // whose value comes next
    bool has_state = false;
    std::vector<NodeId> items;       // of what is made at its end
    std::vector<std::string> texts;  // arguments
    std::vector<int64_t> numbers;
  };

  absl::Status On(const JsonEvent& event);
  absl::Status OnRoot(const JsonEvent& event);
  absl::Status OnTies(const JsonEvent& event);
  absl::Status OnCell(const JsonEvent& event);
  absl::Status OnKind(const JsonEvent& event);
  bool TakesArgument(const JsonEvent& event);
  absl::Status OnEnd();
  // `id` is the next cell within the innermost one, or the root.
  absl::Status Give(NodeId id);
  absl::Status GiveTo(Frame& frame, NodeId id);
  absl::StatusOr<NodeId> Make(const Frame& frame);
  absl::StatusOr<NodeId> MakeText(const Frame& frame);
  absl::StatusOr<NodeId> MakeTorch(const Frame& frame);
  absl::Status AddRest();

  const absl::Span<const NamedTensor> entries_;
  ReadTreeResult result_;
  TreeTensors tensors_;
  GraphBuilder builder_;
  At at_ = At::kStart;
  std::vector<std::string> tie_;
  std::vector<Frame> frames_;
  std::vector<NodeId> numbered_;  // kNoNode: not made yet
  absl::flat_hash_map<std::string, NodeId> tensor_nodes_;
  absl::flat_hash_set<std::string> changed_;  // classes
  NodeId root_ = kNoNode;
};

absl::Status TreeReader::On(const JsonEvent& event) {
  switch (at_) {
    case At::kStart:
      if (event.kind != JsonKind::kBeginObject) return BadTree("not an object");
      at_ = At::kRoot;
      return absl::OkStatus();
    case At::kRoot:
      return OnRoot(event);
    case At::kTies:
    case At::kTieList:
    case At::kTie:
      return OnTies(event);
    case At::kTree:
      return OnCell(event);
    case At::kEnd:
      break;
  }
  return absl::OkStatus();
}

// Ties stand first: a tensor is made once.
absl::Status TreeReader::OnRoot(const JsonEvent& event) {
  if (event.kind == JsonKind::kEndObject && root_ != kNoNode) {
    at_ = At::kEnd;
    return absl::OkStatus();
  }
  if (event.kind == JsonKind::kKey && root_ == kNoNode) {
    if (event.text == "ties") {
      at_ = At::kTies;
      return absl::OkStatus();
    }
    if (event.text == "tree") {
      at_ = At::kTree;
      return absl::OkStatus();
    }
  }
  return BadTree("expected the keys ties and tree");
}

absl::Status TreeReader::OnTies(const JsonEvent& event) {
  if (event.kind == JsonKind::kBeginArray && at_ != At::kTie) {
    at_ = at_ == At::kTies ? At::kTieList : At::kTie;
    return absl::OkStatus();
  }
  if (event.kind == JsonKind::kString && at_ == At::kTie) {
    tie_.emplace_back(event.text);
    return absl::OkStatus();
  }
  if (event.kind != JsonKind::kEndArray) {
    return BadTree("ties are not arrays of names");
  }
  if (at_ == At::kTieList) {
    at_ = At::kRoot;
    return absl::OkStatus();
  }
  at_ = At::kTieList;
  return tensors_.Tie(std::exchange(tie_, {}));
}

absl::Status TreeReader::OnCell(const JsonEvent& event) {
  if (!frames_.empty() && frames_.back().kind == nullptr) return OnKind(event);
  if (TakesArgument(event)) return absl::OkStatus();
  switch (event.kind) {
    case JsonKind::kNull:
      return Give(builder_.None());
    case JsonKind::kBool:
      return Give(builder_.Bool(event.number != 0));
    case JsonKind::kUnsigned:
    case JsonKind::kNegative: {
      constexpr uint64_t kExactInDouble = uint64_t{1} << 53;
      if (event.number >= kExactInDouble) return BadTree("an int beyond 2^53");
      const auto magnitude = static_cast<int64_t>(event.number);
      const bool negative = event.kind == JsonKind::kNegative;
      return Give(builder_.Int(negative ? -magnitude : magnitude));
    }
    case JsonKind::kString:
      return Give(builder_.Str(event.text));
    case JsonKind::kBeginArray:
      frames_.emplace_back();
      return absl::OkStatus();
    case JsonKind::kEndArray:
      return OnEnd();
    default:
      return BadTree("a cell that is neither scalar nor array");
  }
}

absl::Status TreeReader::OnKind(const JsonEvent& event) {
  Frame& frame = frames_.back();
  for (const KindName& kind : kKinds) {
    if (event.kind == JsonKind::kString && kind.name == event.text) {
      frame.kind = &kind;
    }
  }
  if (frame.kind == nullptr) return BadTree("a cell without a known kind");
  const Kind kind = frame.kind->kind;
  if (kind == Kind::kList) {
    frame.container = builder_.List();
  } else if (kind == Kind::kDict || kind == Kind::kMapping) {
    frame.container = builder_.Dict();
  } else if (kind == Kind::kOrderedDict || kind == Kind::kOrderedDictState) {
    frame.container = builder_.OrderedDict();
  }
  if (kind <= Kind::kFrozenSet) {
    frame.number = static_cast<int64_t>(numbered_.size());
    numbered_.push_back(frame.container);
  }
  return absl::OkStatus();
}

bool TreeReader::TakesArgument(const JsonEvent& event) {
  if (frames_.empty()) return false;
  Frame& frame = frames_.back();
  const auto taken =
      static_cast<int>(frame.texts.size() + frame.numbers.size());
  const int most = frame.kind->num_arguments;
  if (most >= 0 && taken >= most) return false;
  if (event.kind == JsonKind::kString) {
    frame.texts.emplace_back(event.text);
    return true;
  }
  if (event.kind == JsonKind::kUnsigned && event.number <= INT64_MAX) {
    frame.numbers.push_back(static_cast<int64_t>(event.number));
    return true;
  }
  return false;
}

absl::Status TreeReader::OnEnd() {
  if (frames_.empty()) return BadTree("a cell ends that did not begin");
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId id, Make(frame));
  if (frame.number >= 0) numbered_[frame.number] = id;
  return Give(id);
}

absl::Status TreeReader::Give(NodeId id) {
  if (!frames_.empty()) return GiveTo(frames_.back(), id);
  root_ = id;
  at_ = At::kRoot;
  // Full: Finish will say so.
  return id == kNoNode ? absl::ResourceExhaustedError("too many nodes")
                       : absl::OkStatus();
}

absl::Status TreeReader::GiveTo(Frame& frame, NodeId id) {
  if (id == kNoNode) return absl::ResourceExhaustedError("too many nodes");
  switch (frame.kind->kind) {
    case Kind::kList:
      return builder_.Append(frame.container, id);
    case Kind::kTuple:
      frame.items.push_back(id);
      return absl::OkStatus();
    case Kind::kSet:
    case Kind::kFrozenSet:
      if (!IsHashable(builder_.kind(id)))
        return BadTree("an unhashable in a set");
      frame.items.push_back(id);
      return absl::OkStatus();
    case Kind::kOrderedDictState:
      if (!frame.has_state) {
        frame.has_state = true;
        return builder_.SetState(frame.container, id);
      }
      break;
    case Kind::kObject:
      if (frame.container == kNoNode) frame.container = builder_.Dict();
      break;
    case Kind::kDict:
    case Kind::kOrderedDict:
    case Kind::kMapping:
      break;
    default:
      return BadTree("a cell within a scalar");
  }
  if (frame.key == kNoNode) {
    if (!IsHashable(builder_.kind(id))) return BadTree("an unhashable key");
    frame.key = id;
    return absl::OkStatus();
  }
  return builder_.SetItem(frame.container, std::exchange(frame.key, kNoNode),
                          id);
}

absl::StatusOr<NodeId> TreeReader::Make(const Frame& frame) {
  if (frame.key != kNoNode) return BadTree("a key without a value");
  const size_t num_texts = frame.texts.size();
  const size_t num_numbers = frame.numbers.size();
  switch (frame.kind->kind) {
    case Kind::kTuple:
      return builder_.Tuple(frame.items);
    case Kind::kSet:
      return builder_.Set(frame.items);
    case Kind::kFrozenSet:
      return builder_.FrozenSet(frame.items);
    case Kind::kOrderedDictState:
      if (!frame.has_state) return BadTree("OrderedDict.state without one");
      return frame.container;
    case Kind::kMapping:
    case Kind::kObject:
      if (num_texts != 1) return BadTree("an object without a class");
      if (changed_.insert(frame.texts[0]).second) {
        result_.warnings.push_back(
            absl::StrCat("an object of ", QuotedRecordName(frame.texts[0]),
                         " comes back as a dict or None"));
      }
      return frame.container == kNoNode ? builder_.None() : frame.container;
    case Kind::kRef: {
      if (num_numbers != 1 || num_texts != 0 ||
          frame.numbers[0] >= static_cast<int64_t>(numbered_.size())) {
        return BadTree("a ref to no cell");
      }
      const NodeId id = numbered_[frame.numbers[0]];
      if (id == kNoNode) return BadTree("a tuple or set that contains itself");
      return id;
    }
    case Kind::kSize:
    case Kind::kDevice:
      return MakeTorch(frame);
    case Kind::kList:
    case Kind::kDict:
    case Kind::kOrderedDict:
      return frame.container;
    default:
      return MakeText(frame);
  }
}

absl::StatusOr<NodeId> TreeReader::MakeTorch(const Frame& frame) {
  std::vector<NodeId> args;
  for (const std::string& text : frame.texts)
    args.push_back(builder_.Str(text));
  for (const int64_t number : frame.numbers) {
    args.push_back(builder_.Int(number));
  }
  if (frame.kind->kind == Kind::kSize) {
    if (!frame.texts.empty()) return BadTree("text in a torch.Size");
    const NodeId sizes = builder_.Tuple(args);
    return builder_.Object(Construction::kReduce,
                           builder_.Global("torch", "Size"),
                           builder_.Tuple({sizes}));
  }
  if (frame.texts.size() != 1 || frame.numbers.size() > 1) {
    return BadTree("a torch.device that is not type and index");
  }
  return builder_.Object(Construction::kReduce,
                         builder_.Global("torch", "device"),
                         builder_.Tuple(args));
}

// Cells of one text; complex has two.
absl::StatusOr<NodeId> TreeReader::MakeText(const Frame& frame) {
  const Kind kind = frame.kind->kind;
  const size_t expected = kind == Kind::kComplex ? 2 : 1;
  if (frame.texts.size() != expected || !frame.numbers.empty()) {
    return BadTree(
        absl::StrCat("a ", frame.kind->name, " with the wrong parts"));
  }
  const std::string& text = frame.texts[0];
  const auto malformed = [&] {
    return BadTree(absl::StrCat("a ", frame.kind->name,
                                " that is none: ", QuotedRecordName(text)));
  };
  if (kind == Kind::kTensor) {
    const Tensor* const tensor = tensors_.Use(text);
    if (tensor == nullptr) return malformed();
    const auto [found, is_new] = tensor_nodes_.try_emplace(text, kNoNode);
    if (is_new) found->second = builder_.Tensor(*tensor);
    return found->second;
  }
  if (kind == Kind::kInt) {
    int64_t number;
    if (absl::SimpleAtoi(text, &number)) return builder_.Int(number);
    const std::optional<std::string> bytes = BigIntFromText(text);
    if (!bytes) return malformed();
    return builder_.BigInt(*bytes);
  }
  if (kind == Kind::kFloat || kind == Kind::kComplex) {
    const std::optional<double> real = FloatFromText(text);
    const std::optional<double> imag = FloatFromText(frame.texts.back());
    if (!real || !imag) return malformed();
    return kind == Kind::kFloat ? builder_.Float(*real)
                                : builder_.Complex(*real, *imag);
  }
  if (kind == Kind::kDType) {
    if (!DTypeFromName(text)) return malformed();
    return builder_.Global("torch", text);
  }
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) return malformed();
  if (kind == Kind::kBytes) return builder_.Bytes(bytes);
  if (kind == Kind::kByteArray) return builder_.ByteArray(bytes);
  if (kind == Kind::kPy2Str) return builder_.Py2Str(bytes);
  if (!IsPythonText(bytes)) return malformed();
  return builder_.Str(bytes);
}

// Tensors that came into the file later than the tree.
absl::Status TreeReader::AddRest() {
  const bool is_dict =
      builder_.kind(root_) == NodeKind::kDict ||
      (builder_.kind(root_) == NodeKind::kObject &&
       builder_.object_child(root_, ObjectChild::kPairs) != kNoNode);
  std::string first;
  int64_t num_added = 0;
  for (const NamedTensor& entry : entries_) {
    if (tensors_.IsShown(entry.name)) continue;
    if (!is_dict) {
      return BadTree(absl::StrCat("tensor ", QuotedRecordName(entry.name),
                                  " hangs nowhere"));
    }
    if (num_added++ == 0) first = QuotedRecordName(entry.name);
    PENSTOCK_RETURN_IF_ERROR(builder_.SetItem(root_, builder_.Str(entry.name),
                                              builder_.Tensor(entry.tensor)));
  }
  if (num_added > 0) {
    result_.warnings.push_back(
        absl::StrCat(num_added, " tensors are not in the tree and were added ",
                     "to its root, first ", first));
  }
  return absl::OkStatus();
}

absl::StatusOr<ReadTreeResult> TreeReader::Read(absl::string_view json) {
  absl::Status given;  // what On said; else it is the text that is bad
  const absl::Status read =
      ReadJson(json, INT64_MAX, [this, &given](const JsonEvent& event) {
        given = On(event);
        return given;
      });
  if (!given.ok()) return given;
  if (!read.ok()) return BadTree(read.message());
  PENSTOCK_CHECK(root_ != kNoNode);
  PENSTOCK_RETURN_IF_ERROR(AddRest());
  PENSTOCK_ASSIGN_OR_RETURN(result_.root, std::move(builder_).Finish(root_));
  return std::move(result_);
}

}  // namespace

absl::StatusOr<ReadTreeResult> ReadTree(absl::string_view json,
                                        absl::Span<const NamedTensor> tensors,
                                        SameBytes same_bytes) {
  return TreeReader(tensors, same_bytes).Read(json);
}

}  // namespace penstock
