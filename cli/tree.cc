#include "cli/tree.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/console.h"

namespace penstock {
namespace {

constexpr const char* kKindNames[] = {
    "None",      "bool",      "int",     "int",    "float", "complex", "str",
    "bytes",     "bytearray", "py2str",  "list",   "tuple", "dict",    "set",
    "frozenset", "tensor",    "storage", "global", "object"};

const char* KindName(NodeKind kind) {
  return kKindNames[static_cast<int>(kind)];
}

std::string GlobalText(const Value& value) {
  return absl::StrCat(value.module(), ".", value.name());
}

std::string HexText(absl::string_view bytes, size_t limit) {
  std::string text = absl::BytesToHexString(bytes.substr(0, limit));
  return bytes.size() > limit ? text + "..." : text;
}

std::string ClassOf(const Value& object) {
  const Value callable = object.child(ObjectChild::kCallable);
  return callable.kind() == NodeKind::kGlobal ? GlobalText(callable) : "object";
}

std::string FloatText(double value) {
  std::string text = absl::StrFormat("%.17g", value);
  const std::string shorter = absl::StrFormat("%.15g", value);
  return std::stod(shorter) == value ? shorter : text;
}

// A node without what is below it.
std::string Summary(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kNone:
      return "None";
    case NodeKind::kBool:
      return value.AsBool() ? "True" : "False";
    case NodeKind::kInt:
      return absl::StrCat(value.AsInt());
    case NodeKind::kFloat:
      return FloatText(value.AsFloat());
    case NodeKind::kComplex:
      return absl::StrCat("complex(", FloatText(value.real()), ", ",
                          FloatText(value.imag()), ")");
    case NodeKind::kStr: {
      const absl::string_view text = value.AsBytes();
      return absl::StrCat("\"", Printable(text.substr(0, 200)),
                          text.size() > 200 ? "...\"" : "\"");
    }
    case NodeKind::kBigInt:
    case NodeKind::kBytes:
    case NodeKind::kByteArray:
    case NodeKind::kPy2Str:
      return absl::StrCat(KindName(value.kind()), " ",
                          HexText(value.AsBytes(), 32));
    case NodeKind::kTensor:
      return Describe(value.AsTensor());
    case NodeKind::kStorage:
      return absl::StrCat("storage of ",
                          HumanBytes(value.AsStorage()->size_bytes()));
    case NodeKind::kGlobal:
      return Printable(GlobalText(value));
    case NodeKind::kObject:
      return Printable(ClassOf(value));
    default:
      return absl::StrFormat("%s of %d", KindName(value.kind()), value.size());
  }
}

// What is below a node, each with its label.
std::vector<std::pair<std::string, Value>> Below(const Value& value,
                                                 int limit) {
  std::vector<std::pair<std::string, Value>> result;
  switch (value.kind()) {
    case NodeKind::kDict:
      for (int i = 0; i < value.size() && i < limit; ++i) {
        const Value key = value.key(i);
        const bool plain =
            key.kind() == NodeKind::kStr && !key.AsBytes().empty();
        result.emplace_back(plain ? Printable(key.AsBytes()) : Summary(key),
                            value.value(i));
      }
      break;
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
      for (int i = 0; i < value.size() && i < limit; ++i) {
        result.emplace_back(absl::StrCat(i), value.item(i));
      }
      break;
    case NodeKind::kObject: {
      if (const Value pairs = value.child(ObjectChild::kPairs)) {
        result = Below(pairs, limit);
      }
      constexpr std::pair<ObjectChild, const char*> kParts[] = {
          {ObjectChild::kArgs, "(args)"},
          {ObjectChild::kKwargs, "(kwargs)"},
          {ObjectChild::kItems, "(items)"},
          {ObjectChild::kState, "(state)"}};
      for (const auto& [which, label] : kParts) {
        const Value part = value.child(which);
        const bool empty_args =
            which == ObjectChild::kArgs && part && part.size() == 0;
        if (part && !empty_args) result.emplace_back(label, part);
      }
      break;
    }
    default:
      break;
  }
  return result;
}

int64_t CountBelow(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kDict:
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kFrozenSet:
      return value.size();
    case NodeKind::kObject: {
      const Value pairs = value.child(ObjectChild::kPairs);
      return pairs ? pairs.size() : 0;
    }
    default:
      return 0;
  }
}

struct TextState {
  const TreeLimits& limits;
  int64_t nodes = 0;
  std::string text;
};

// Recursion ends at limits.depth, whatever the input.
void AppendText(const Value& value, const std::string& label, int depth,
                TextState& state) {
  if (++state.nodes > state.limits.nodes) return;
  const std::string indent(2 * depth, ' ');
  absl::StrAppend(&state.text, indent, label.empty() ? "" : label + ": ",
                  Summary(value), "\n");
  if (depth >= state.limits.depth) return;
  for (const auto& [name, child] : Below(value, state.limits.entries)) {
    AppendText(child, name, depth + 1, state);
  }
  if (CountBelow(value) > state.limits.entries) {
    absl::StrAppend(&state.text, indent, "  ... and ",
                    CountBelow(value) - state.limits.entries, " more\n");
  }
}

Json ScalarJson(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kNone:
      return nullptr;
    case NodeKind::kBool:
      return value.AsBool();
    case NodeKind::kInt: {
      constexpr int64_t kExact = int64_t{1} << 53;
      const int64_t number = value.AsInt();
      if (number > -kExact && number < kExact) return number;
      return absl::StrCat(number);
    }
    case NodeKind::kFloat:
      if (std::isfinite(value.AsFloat())) return value.AsFloat();
      return FloatText(value.AsFloat());
    case NodeKind::kStr:
      return JsonText(value.AsBytes());
    default:
      return {{"kind", KindName(value.kind())}, {"text", Summary(value)}};
  }
}

Json NodeJson(const Value& value, int depth, const TreeLimits& limits,
              int64_t& nodes) {
  if (depth > limits.depth || ++nodes > limits.nodes) {
    return {{"kind", KindName(value.kind())}, {"cut", true}};
  }
  if (value.kind() == NodeKind::kTensor) {
    const Tensor tensor = value.AsTensor();
    return {{"kind", "tensor"},
            {"dtype", JsonText(InfoOf(tensor.dtype()).name)},
            {"shape", std::vector<int64_t>(tensor.shape().begin(),
                                           tensor.shape().end())}};
  }
  const bool container =
      value.kind() == NodeKind::kObject ||
      (value.kind() >= NodeKind::kList && value.kind() <= NodeKind::kFrozenSet);
  if (!container) return ScalarJson(value);
  Json entries = Json::array();
  for (const auto& [name, child] : Below(value, limits.entries)) {
    entries.push_back(
        {{"key", name}, {"value", NodeJson(child, depth + 1, limits, nodes)}});
  }
  Json result = {{"kind", KindName(value.kind())},
                 {"size", CountBelow(value)},
                 {"entries", std::move(entries)}};
  if (value.kind() == NodeKind::kObject) result["class"] = ClassOf(value);
  return result;
}

}  // namespace

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string Describe(const Tensor& tensor) {
  return absl::StrCat(InfoOf(tensor.dtype()).name, ShapeText(tensor.shape()));
}

std::string TreeText(const Value& root, const TreeLimits& limits) {
  TextState state{limits, 0, {}};
  AppendText(root, "", 0, state);
  if (state.nodes > limits.nodes) state.text += "... and more\n";
  return std::move(state.text);
}

Json TreeJson(const Value& root, const TreeLimits& limits) {
  int64_t nodes = 0;
  return NodeJson(root, 0, limits, nodes);
}

}  // namespace penstock
