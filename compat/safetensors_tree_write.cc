#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/json_text.h"
#include "compat/number_text.h"
#include "compat/safetensors_tree.h"
#include "compat/zip_name.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/python_keys.h"
#include "core/python_repr.h"
#include "core/python_shapes.h"

namespace penstock {
namespace {

constexpr int64_t kExactInDouble = int64_t{1} << 53;

struct Callable {
  absl::string_view module;
  absl::string_view name;
};

// Tensors that are no strided bytes of one dtype.
constexpr std::pair<Callable, absl::string_view> kNotDense[] = {
    {{"torch._utils", "_rebuild_sparse_tensor"}, "a sparse tensor"},
    {{"torch._utils", "_rebuild_sparse_csr_tensor"}, "a sparse tensor"},
    {{"torch._utils", "_rebuild_nested_tensor"}, "a nested tensor"},
    {{"torch._utils", "_rebuild_qtensor"}, "a quantised tensor"},
    {{"torch._utils", "_rebuild_meta_tensor_no_storage"}, "a meta tensor"},
};

bool Is(const Value& object, const Callable& callable) {
  return object.IsObjectOf(callable.module, callable.name);
}

// The tensor within Parameters and the like; else the value itself.
Value Unwrapped(Value value) {
  while (value.kind() == NodeKind::kObject &&
         FindWrapper(value.child(ObjectChild::kCallable),
                     value.child(ObjectChild::kArgs).size()) != nullptr) {
    value = value.child(ObjectChild::kArgs).item(0);
  }
  return value;
}

bool IsText(const Value& value) {
  return value.kind() == NodeKind::kStr ||
         (value.kind() == NodeKind::kPy2Str && IsPythonText(value.AsBytes()));
}

// As WalkTensors does.
std::string KeyPart(const Value& key, int64_t index) {
  if (IsText(key)) return std::string(key.AsBytes());
  std::optional<std::string> repr = PythonRepr(key);
  return repr ? *std::move(repr) : absl::StrCat("<key ", index, ">");
}

std::string ClassName(const Value& callable) {
  return callable.kind() == NodeKind::kGlobal
             ? absl::StrCat(callable.module(), ".", callable.name())
             : "?";
}

// A cell of this kind whose arguments are texts.
std::string TextCell(absl::string_view kind,
                     std::initializer_list<absl::string_view> texts) {
  std::string out = absl::StrCat("[\"", kind, "\"");
  for (const absl::string_view text : texts) {
    out.push_back(',');
    AppendJsonString(text, out);
  }
  out.push_back(']');
  return out;
}

std::string StringCell(absl::string_view text) {
  if (!IsJsonText(text)) {
    return TextCell("surrogates", {absl::Base64Escape(text)});
  }
  std::string out;
  AppendJsonString(text, out);
  return out;
}

// Of None, numbers, text and bytes.
std::string ScalarCell(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kBool:
      return value.AsBool() ? "true" : "false";
    case NodeKind::kInt: {
      const std::string digits = absl::StrCat(value.AsInt());
      const bool exact =
          value.AsInt() > -kExactInDouble && value.AsInt() < kExactInDouble;
      return exact ? digits : TextCell("int", {digits});
    }
    case NodeKind::kBigInt:
      return TextCell("int", {BigIntText(value.AsBytes())});
    case NodeKind::kFloat:
      return TextCell("float", {FloatText(value.AsFloat())});
    case NodeKind::kComplex:
      return TextCell("complex",
                      {FloatText(value.real()), FloatText(value.imag())});
    case NodeKind::kStr:
      return StringCell(value.AsBytes());
    case NodeKind::kBytes:
      return TextCell("bytes", {absl::Base64Escape(value.AsBytes())});
    case NodeKind::kByteArray:
      return TextCell("bytearray", {absl::Base64Escape(value.AsBytes())});
    case NodeKind::kPy2Str:
      return TextCell("py2str", {absl::Base64Escape(value.AsBytes())});
    default:
      return "null";
  }
}

// torch.Size and torch.device, whose arguments are plain; else nothing.
std::optional<std::string> PlainObjectCell(const Value& object) {
  const bool is_size = object.IsObjectOf("torch", "Size");
  if (!is_size && !object.IsObjectOf("torch", "device")) return std::nullopt;
  if (object.child(ObjectChild::kState)) return std::nullopt;
  Value args = object.child(ObjectChild::kArgs);
  if (is_size && args.size() == 1) args = args.item(0);
  if (!IsSequence(args)) return std::nullopt;
  std::string out = is_size ? "[\"torch.Size\"" : "[\"torch.device\"";
  for (int64_t i = 0; i < args.size(); ++i) {
    const bool is_type = !is_size && i == 0;
    const NodeKind wanted = is_type ? NodeKind::kStr : NodeKind::kInt;
    const Value arg = args.item(i);
    if (arg.kind() != wanted || (!is_size && i > 1)) return std::nullopt;
    if (!is_type && (arg.AsInt() < 0 || arg.AsInt() >= kExactInDouble)) {
      return std::nullopt;
    }
    absl::StrAppend(&out, ",", ScalarCell(arg));
  }
  if (!is_size && args.size() == 0) return std::nullopt;
  return absl::StrCat(out, "]");
}

class TreeWriter {
 public:
  explicit TreeWriter(const StateDict& tensors) : tensors_(tensors) {
    const auto entries = tensors.entries();
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].number >= 0) by_number_[entries[i].number].push_back(i);
      by_name_.emplace(entries[i].name, i);
    }
  }

  TreeText Write(const Value& root, const Ties& ties);

 private:
  struct Child {
    Value value;
    std::optional<std::string> part;  // of the path, behind its parent's
  };
  struct Frame {
    NodeId id;
    std::vector<Child> children;
    size_t next = 0;
    size_t path_size = 0;  // of the parent
    bool parent_has_path = false;
  };

  // Appends the cell of `value`, whose path is path_; of a container only its
  // beginning.
  void Begin(const Value& value);
  void BeginContainer(const Value& value, std::string head,
                      std::vector<Child> children);
  void BeginObject(const Value& object);
  void AppendTensor(const Value& tensor);
  void AppendUnknown(const Value& object);
  void Refuse(absl::string_view what) {
    text_.refused.push_back(absl::StrCat(path_, ": ", what));
    text_.json += "null";
  }
  void Miss(std::string what);
  void Step();

  static std::vector<Child> ItemsOf(const Value& sequence);
  static void AddPairs(const std::vector<PlacedPair>& pairs,
                       std::vector<Child>& children);

  const StateDict& tensors_;
  absl::flat_hash_map<int64_t, std::vector<size_t>> by_number_;
  std::map<absl::string_view, size_t> by_name_;
  absl::flat_hash_set<size_t> used_;  // tensors that have a cell
  TreeText text_;
  std::string path_;
  bool has_path_ = false;
  std::vector<Frame> stack_;
  absl::flat_hash_map<NodeId, int64_t> numbers_;  // of containers begun
  absl::flat_hash_set<NodeId> open_;              // those on the stack
  // What is not kept: how often, and where first.
  std::map<std::string, std::pair<int64_t, std::string>> missed_;
};

std::vector<TreeWriter::Child> TreeWriter::ItemsOf(const Value& sequence) {
  std::vector<Child> children;
  for (int64_t i = 0; i < sequence.size(); ++i) {
    children.push_back({sequence.item(i), absl::StrCat(i)});
  }
  return children;
}

void TreeWriter::AddPairs(const std::vector<PlacedPair>& pairs,
                          std::vector<Child>& children) {
  for (size_t i = 0; i < pairs.size(); ++i) {
    children.push_back({pairs[i].key, absl::StrCat("<key ", i, ">")});
    children.push_back({pairs[i].value, KeyPart(pairs[i].key, i)});
  }
}

void TreeWriter::Miss(std::string what) {
  ++missed_.try_emplace(std::move(what), 0, path_).first->second.first;
}

void TreeWriter::AppendTensor(const Value& tensor) {
  const auto number =
      static_cast<int64_t>(tensor.graph()->tables().nodes[tensor.id()].payload);
  const std::vector<size_t>& places = by_number_[number];
  // One of its names is this path, unless another tensor took that name.
  std::optional<size_t> chosen;
  for (const size_t place : places) {
    if (used_.contains(place)) continue;
    if (!chosen || tensors_.entries()[place].name == path_) chosen = place;
  }
  if (!chosen && !places.empty()) chosen = places[0];
  if (!chosen) {
    Miss("tensors without a name");
    text_.json += "null";
    return;
  }
  used_.insert(*chosen);
  const std::string& name = tensors_.entries()[*chosen].name;
  if (has_path_ && name != path_) {
    text_.warnings.push_back(
        absl::StrCat(path_, ": the name is taken; written as ", name));
  }
  text_.json += TextCell("tensor", {name});
}

void TreeWriter::BeginContainer(const Value& value, std::string head,
                                std::vector<Child> children) {
  const auto [found, is_new] =
      numbers_.try_emplace(value.id(), static_cast<int64_t>(numbers_.size()));
  if (is_new) {
    text_.json += head;
    open_.insert(value.id());
    stack_.push_back({value.id(), std::move(children), 0, 0, false});
    return;
  }
  const bool is_fixed = value.kind() == NodeKind::kTuple ||
                        value.kind() == NodeKind::kSet ||
                        value.kind() == NodeKind::kFrozenSet;
  if (is_fixed && open_.contains(value.id())) {
    // Made when its items are complete, so that no cell can name it before.
    Miss("tuples and sets that contain themselves");
    text_.json += "null";
    return;
  }
  absl::StrAppend(&text_.json, "[\"ref\",", found->second, "]");
}

void TreeWriter::Begin(const Value& wrapped) {
  const Value value = Unwrapped(wrapped);
  switch (value.kind()) {
    case NodeKind::kTensor:
      return AppendTensor(value);
    case NodeKind::kList:
      return BeginContainer(value, "[\"list\"", ItemsOf(value));
    case NodeKind::kTuple:
      return BeginContainer(value, "[\"tuple\"", ItemsOf(value));
    case NodeKind::kSet:
      return BeginContainer(value, "[\"set\"", ItemsOf(value));
    case NodeKind::kFrozenSet:
      return BeginContainer(value, "[\"frozenset\"", ItemsOf(value));
    case NodeKind::kDict: {
      std::vector<Child> children;
      AddPairs(PairsOf(value), children);
      return BeginContainer(value, "[\"dict\"", std::move(children));
    }
    case NodeKind::kStorage:
      return Refuse("a bare storage");
    case NodeKind::kGlobal:
      if (value.module() == "torch" && DTypeFromName(value.name())) {
        text_.json += TextCell("torch.dtype", {value.name()});
        return;
      }
      Miss(ClassName(value));
      text_.json += TextCell("object", {ClassName(value)});
      return;
    case NodeKind::kObject:
      return BeginObject(value);
    default:
      text_.json += ScalarCell(value);
  }
}

void TreeWriter::BeginObject(const Value& object) {
  for (const auto& [callable, what] : kNotDense) {
    if (Is(object, callable)) return Refuse(what);
  }
  if (const auto cell = PlainObjectCell(object)) {
    text_.json += *cell;
    return;
  }
  if (!IsMapping(object)) return AppendUnknown(object);
  std::vector<Child> children;
  std::string head;
  const Value state = object.child(ObjectChild::kState);
  if (!object.IsObjectOf("collections", "OrderedDict")) {
    const std::string name = ClassName(object.child(ObjectChild::kCallable));
    head = "[\"mapping\",";
    AppendJsonString(name, head);
    if (!numbers_.contains(object.id())) Miss(name);
  } else if (state) {
    head = "[\"OrderedDict.state\"";
    children.push_back({state, "state"});
  } else {
    head = "[\"OrderedDict\"";
  }
  AddPairs(PairsOf(object), children);
  BeginContainer(object, std::move(head), std::move(children));
}

// An object that only its class could read. Its tensors are in the file: a
// pickled module's have the names of its state_dict.
void TreeWriter::AppendUnknown(const Value& object) {
  const std::string name = ClassName(object.child(ObjectChild::kCallable));
  const std::string prefix = has_path_ ? absl::StrCat(path_, ".") : "";
  if (const auto own = by_name_.find(path_);
      has_path_ && own != by_name_.end() && used_.insert(own->second).second) {
    text_.json += TextCell("tensor", {path_});  // a tensor of another class
    return;
  }
  std::string cell = "[\"object\",";
  AppendJsonString(name, cell);
  for (auto it = by_name_.lower_bound(prefix);
       it != by_name_.end() && absl::StartsWith(it->first, prefix); ++it) {
    if (!used_.insert(it->second).second) continue;
    cell.push_back(',');
    AppendJsonString(it->first.substr(prefix.size()), cell);
    absl::StrAppend(&cell, ",", TextCell("tensor", {it->first}));
  }
  Miss(name);
  text_.json += absl::StrCat(cell, "]");
}

void TreeWriter::Step() {
  Frame& top = stack_.back();
  if (top.next == top.children.size()) {
    text_.json.push_back(']');
    open_.erase(top.id);
    stack_.pop_back();
    return;
  }
  const Child child = std::move(top.children[top.next++]);
  const size_t path_size = path_.size();
  const bool had_path = has_path_;
  if (child.part) {
    absl::StrAppend(&path_, has_path_ ? "." : "", *child.part);
    has_path_ = true;
  }
  text_.json.push_back(',');
  const size_t depth = stack_.size();
  Begin(child.value);
  if (stack_.size() > depth) {
    // The path goes back when the container is done.
    stack_.back().path_size = path_size;
    stack_.back().parent_has_path = had_path;
    return;
  }
  path_.resize(path_size);
  has_path_ = had_path;
}

TreeText TreeWriter::Write(const Value& root, const Ties& ties) {
  text_.json = "{\"ties\":[";
  for (size_t i = 0; i < ties.size(); ++i) {
    text_.json += i == 0 ? "[" : ",[";
    for (size_t k = 0; k < ties[i].size(); ++k) {
      if (k > 0) text_.json.push_back(',');
      AppendJsonString(ties[i][k], text_.json);
    }
    text_.json.push_back(']');
  }
  text_.json += "],\"tree\":";
  Begin(root);
  while (!stack_.empty()) {
    const Frame& top = stack_.back();
    const bool is_done = top.next == top.children.size();
    const size_t path_size = top.path_size;
    const bool parent_has_path = top.parent_has_path;
    Step();
    if (!is_done) continue;
    path_.resize(path_size);
    has_path_ = parent_has_path;
  }
  text_.json.push_back('}');
  for (const auto& [what, where] : missed_) {
    text_.warnings.push_back(absl::StrFormat(
        "%s: not kept as it is, in %d places, first %s", what, where.first,
        where.second.empty() ? "the root" : where.second));
  }
  return std::move(text_);
}

}  // namespace

bool IsFlat(const Value& root) {
  if (root.kind() == NodeKind::kObject) {
    if (!root.IsObjectOf("collections", "OrderedDict") ||
        root.child(ObjectChild::kState)) {
      return false;
    }
  } else if (root.kind() != NodeKind::kDict) {
    return false;
  }
  for (const PlacedPair& pair : PairsOf(root)) {
    if (!IsText(pair.key) ||
        Unwrapped(pair.value).kind() != NodeKind::kTensor) {
      return false;
    }
  }
  return true;
}

TreeText WriteTree(const Value& root, const StateDict& tensors,
                   const Ties& ties) {
  return TreeWriter(tensors).Write(root, ties);
}

}  // namespace penstock
