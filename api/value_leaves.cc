#include "api/value_leaves.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/bytes.h"
#include "core/checksum.h"
#include "core/dtype.h"
#include "core/python_repr.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr size_t kLongText = 200;
constexpr int64_t kStepsPerNode = 8;
constexpr int64_t kMinSteps = 1'000'000;
constexpr int64_t kMaxPathBytes = int64_t{1} << 30;

// Text with a beginning, a size and a hash: equal only where all of it is.
std::string Shortened(std::string text) {
  if (text.size() <= kLongText) return text;
  const Hash128 hash = HashOf(ByteSpan(text));
  return absl::StrCat(text.substr(0, kLongText / 2), "... (", text.size(),
                      " bytes, xxh3 ", hash.ToHex(), ")");
}

std::string TextOf(const Value& value) {
  if (value.kind() == NodeKind::kGlobal) {
    return absl::StrCat(value.module(), ".", value.name());
  }
  if (std::optional<std::string> repr = PythonRepr(value)) {
    return Shortened(*std::move(repr));
  }
  return Shortened(absl::BytesToHexString(value.AsBytes()));
}

bool IsOfTensors(const Value& callable) {
  if (callable.kind() != NodeKind::kGlobal) return false;
  constexpr absl::string_view kModules[] = {"torch._utils", "torch._tensor",
                                            "torch.nn.parameter",
                                            "torch.autograd.variable"};
  return std::find(std::begin(kModules), std::end(kModules),
                   callable.module()) != std::end(kModules);
}

// A container of Python's own: only what is in it counts.
bool IsPlain(const Value& callable) {
  if (callable.kind() != NodeKind::kGlobal) return false;
  return callable.module() == "collections" ||
         (callable.module() == "torch" && callable.name() == "Size");
}

class LeafWalk {
 public:
  explicit LeafWalk(const Value& root)
      : graph_(root.graph()),
        steps_left_(kMinSteps + kStepsPerNode * graph_->num_nodes()) {}

  absl::StatusOr<Leaves> Run(NodeId root) {
    Push(root, "");
    while (!stack_.empty()) {
      const Step step = std::move(stack_.back());
      stack_.pop_back();
      if (step.is_end) {
        on_way_[step.id] = false;
        continue;
      }
      if (--steps_left_ < 0 || path_bytes_ > kMaxPathBytes) {
        return absl::ResourceExhaustedError(
            "sharing multiplies the paths of this checkpoint beyond the limit; "
            "compare its tensors only");
      }
      PENSTOCK_RETURN_IF_ERROR(Visit(step));
    }
    return std::move(leaves_);
  }

 private:
  struct Step {
    NodeId id;
    std::string path;
    bool is_end;  // of what is below `id`
  };

  void Push(NodeId id, std::string path) {
    stack_.push_back({id, std::move(path), false});
  }

  static std::string Join(const std::string& path, absl::string_view part) {
    return path.empty() ? std::string(part) : absl::StrCat(path, ".", part);
  }

  void AddLeaf(const std::string& path, std::string text) {
    path_bytes_ += static_cast<int64_t>(path.size());
    const int64_t number = ++num_at_[path];
    leaves_.values.push_back(
        {number == 1 ? path : absl::StrCat(path, "~", number),
         std::move(text)});
  }

  void PushItems(const Value& sequence, const std::string& path);
  void PushPairs(const Value& dict, const std::string& path);
  void PushObject(const Value& object, const std::string& path);
  bool AddSetOfScalars(const Value& set, const std::string& path);
  absl::Status Visit(const Step& step);

  const std::shared_ptr<const Graph> graph_;
  int64_t steps_left_;
  int64_t path_bytes_ = 0;
  std::vector<Step> stack_;  // what is pushed later comes first
  absl::flat_hash_map<NodeId, bool> on_way_;
  absl::flat_hash_map<std::string, int64_t> num_at_;
  Leaves leaves_;
};

void LeafWalk::PushItems(const Value& sequence, const std::string& path) {
  for (int64_t i = sequence.size() - 1; i >= 0; --i) {
    Push(sequence.item(i).id(), Join(path, absl::StrCat(i)));
  }
}

void LeafWalk::PushPairs(const Value& dict, const std::string& path) {
  for (int64_t i = dict.size() - 1; i >= 0; --i) {
    const Value key = dict.key(i);
    const bool is_text = key.kind() == NodeKind::kStr;
    const std::string part =
        is_text ? std::string(key.AsBytes())
                : PythonRepr(key).value_or(absl::StrCat("<key ", i, ">"));
    Push(dict.value(i).id(), Join(path, part));
  }
}

void LeafWalk::PushObject(const Value& object, const std::string& path) {
  const Value callable = object.child(ObjectChild::kCallable);
  if (IsOfTensors(callable)) return;
  const Value state = object.child(ObjectChild::kState);
  if (state && state.kind() == NodeKind::kDict) {
    PushPairs(state, path);
  } else if (state) {
    Push(state.id(), Join(path, "(state)"));
  }
  const Value pairs = object.child(ObjectChild::kPairs);
  const Value items = object.child(ObjectChild::kItems);
  const Value kwargs = object.child(ObjectChild::kKwargs);
  const Value args = object.child(ObjectChild::kArgs);
  if (pairs) PushPairs(pairs, path);
  if (items) PushItems(items, path);
  if (kwargs) PushPairs(kwargs, path);
  PushItems(args, path);
  if (!IsPlain(callable)) {
    AddLeaf(path, callable.kind() == NodeKind::kGlobal
                      ? absl::StrCat("<", TextOf(callable), ">")
                      : "<object>");
  } else if (!pairs && !items && !state && args.size() == 0) {
    AddLeaf(path, "{}");
  }
}

// A set has no order.
bool LeafWalk::AddSetOfScalars(const Value& set, const std::string& path) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < set.size(); ++i) {
    std::optional<std::string> text = PythonRepr(set.item(i));
    if (!text) return false;
    texts.push_back(*std::move(text));
  }
  std::sort(texts.begin(), texts.end());
  AddLeaf(path, Shortened(absl::StrCat("{", absl::StrJoin(texts, ", "), "}")));
  return true;
}

absl::Status LeafWalk::Visit(const Step& step) {
  const Value value(graph_, step.id);
  switch (value.kind()) {
    case NodeKind::kTensor:
      return absl::OkStatus();
    case NodeKind::kStorage: {
      const std::shared_ptr<const Storage>& storage = value.AsStorage();
      PENSTOCK_ASSIGN_OR_RETURN(
          Tensor bytes,
          Tensor::Make(storage, DType::kUInt8, {storage->size_bytes()}));
      leaves_.storages.push_back({step.path, std::move(bytes)});
      return absl::OkStatus();
    }
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kDict:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
    case NodeKind::kObject:
      break;
    default:
      AddLeaf(step.path, TextOf(value));
      return absl::OkStatus();
  }
  bool& is_on_way = on_way_[step.id];
  if (is_on_way) {
    AddLeaf(step.path, "<a cycle>");
    return absl::OkStatus();
  }
  is_on_way = true;
  stack_.push_back({step.id, "", true});
  const bool is_set =
      value.kind() == NodeKind::kSet || value.kind() == NodeKind::kFrozenSet;
  if (value.kind() == NodeKind::kObject) {
    PushObject(value, step.path);
  } else if (is_set && AddSetOfScalars(value, step.path)) {
  } else if (value.size() == 0) {
    AddLeaf(step.path, value.kind() == NodeKind::kDict ? "{}" : "[]");
  } else if (value.kind() == NodeKind::kDict) {
    PushPairs(value, step.path);
  } else {
    PushItems(value, step.path);
  }
  steps_left_ -= value.kind() == NodeKind::kObject ? 0 : value.size();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Leaves> LeavesOf(const Value& root) {
  return LeafWalk(root).Run(root.id());
}

}  // namespace penstock
