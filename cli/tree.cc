#include "cli/tree.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/console.h"
#include "cli/json.h"
#include "core/python_repr.h"

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

// As Python prints it, where that is short; else in hexadecimal.
std::string ReprOf(const Value& value) {
  constexpr size_t kShortBytes = 80;
  if (value.AsBytes().size() <= kShortBytes) {
    const std::optional<std::string> repr = PythonRepr(value);
    if (repr.has_value()) return *repr;
  }
  return absl::StrCat(KindName(value.kind()), " ",
                      HexText(value.AsBytes(), 32));
}

// A node without what is below it.
std::string Summary(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kNone:
    case NodeKind::kBool:
    case NodeKind::kInt:
    case NodeKind::kFloat:
    case NodeKind::kComplex:
      return PythonRepr(value).value();
    case NodeKind::kStr: {
      const absl::string_view text = value.AsBytes();
      return absl::StrCat("\"", Printable(text.substr(0, 200)),
                          text.size() > 200 ? "...\"" : "\"");
    }
    case NodeKind::kBigInt:
    case NodeKind::kBytes:
    case NodeKind::kByteArray:
    case NodeKind::kPy2Str:
      return ReprOf(value);
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

void Write(absl::string_view text, std::FILE* out) {
  std::fwrite(text.data(), 1, text.size(), out);
}

class TextPrinter {
 public:
  TextPrinter(const TreeLimits& limits, std::FILE* out)
      : limits_(limits), out_(out) {}

  // Recursion ends at limits.depth, whatever the input.
  void Print(const Value& value, const std::string& label, int depth) {
    if (++nodes_ > limits_.nodes) return;
    const std::string indent(2 * depth, ' ');
    Write(absl::StrCat(indent, label.empty() ? "" : label + ": ",
                       Summary(value), "\n"),
          out_);
    if (depth >= limits_.depth) return;
    for (const auto& [name, child] : Below(value, limits_.entries)) {
      Print(child, name, depth + 1);
    }
    const int64_t more = CountBelow(value) - limits_.entries;
    if (more > 0) {
      Write(absl::StrCat(indent, "  ... and ", more, " more\n"), out_);
    }
  }
  bool was_cut() const { return nodes_ > limits_.nodes; }

 private:
  const TreeLimits& limits_;
  std::FILE* const out_;
  int64_t nodes_ = 0;
};

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
      return Summary(value);
    case NodeKind::kStr:
      return JsonText(value.AsBytes());
    default:
      return {{"kind", KindName(value.kind())}, {"text", Summary(value)}};
  }
}

// In one line.
std::string LineOf(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class JsonPrinter {
 public:
  JsonPrinter(const TreeLimits& limits, std::FILE* out)
      : limits_(limits), out_(out) {}

  // Recursion ends at limits.depth, whatever the input.
  void Print(const Value& value, int depth) {
    if (depth > limits_.depth || ++nodes_ > limits_.nodes) {
      return PrintLine({{"kind", KindName(value.kind())}, {"cut", true}});
    }
    if (value.kind() == NodeKind::kTensor) {
      const Tensor tensor = value.AsTensor();
      return PrintLine({{"kind", "tensor"},
                        {"dtype", JsonText(InfoOf(tensor.dtype()).name)},
                        {"shape", std::vector<int64_t>(tensor.shape().begin(),
                                                       tensor.shape().end())}});
    }
    const bool container = value.kind() == NodeKind::kObject ||
                           (value.kind() >= NodeKind::kList &&
                            value.kind() <= NodeKind::kFrozenSet);
    if (!container) return PrintLine(ScalarJson(value));
    Json head = {{"kind", KindName(value.kind())}, {"size", CountBelow(value)}};
    if (value.kind() == NodeKind::kObject) head["class"] = ClassOf(value);
    std::string line = LineOf(head);
    line.pop_back();  // the brace
    Write(absl::StrCat(line, ",\"entries\":["), out_);
    const std::string indent = "\n" + std::string(2 * depth + 4, ' ');
    const char* separator = "";
    for (const auto& [name, child] : Below(value, limits_.entries)) {
      Write(absl::StrCat(separator, indent, "{\"key\":", LineOf(Json(name)),
                         ",\"value\":"),
            out_);
      Print(child, depth + 1);
      Write("}", out_);
      separator = ",";
    }
    Write("]}", out_);
  }

 private:
  void PrintLine(const Json& json) { Write(LineOf(json), out_); }

  const TreeLimits& limits_;
  std::FILE* const out_;
  int64_t nodes_ = 0;
};

}  // namespace

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string Describe(const Tensor& tensor) {
  return absl::StrCat(InfoOf(tensor.dtype()).name, ShapeText(tensor.shape()));
}

void PrintTreeText(const Value& root, const TreeLimits& limits,
                   std::FILE* out) {
  TextPrinter printer(limits, out);
  printer.Print(root, "", 0);
  if (printer.was_cut()) Write("... and more\n", out);
}

void PrintTreeJson(const Value& root, const TreeLimits& limits,
                   std::FILE* out) {
  JsonPrinter(limits, out).Print(root, 0);
}

}  // namespace penstock
