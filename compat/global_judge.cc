#include "compat/global_judge.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compat/scan_tables.h"
#include "core/python_keys.h"

namespace penstock {
namespace {

using ::absl::string_view;

// No name that a program uses is longer; the rest of a file is.
constexpr size_t kMaxNameBytes = 1024;

string_view TopOf(string_view module) {
  return module.substr(0, module.find('.'));
}

// `module` itself, or below it.
bool IsIn(string_view module, string_view package) {
  return absl::StartsWith(module, package) &&
         (module.size() == package.size() || module[package.size()] == '.');
}

// Whose classes are the data that checkpoints consist of.
bool HasAllowedClasses(string_view module) {
  for (const string_view package :
       {"torch.nn", "torch.optim", "torch.ao.nn", "torch.distributed.tensor",
        "torch.distributed._tensor", "torch.distributed.checkpoint"}) {
    if (IsIn(module, package)) return true;
  }
  return false;
}

bool IsMathFunction(string_view module, string_view name) {
  return (module == "torch.nn.functional" || module == "torch._C._nn" ||
          module == "torch.nn.init") &&
         !absl::StartsWith(name, "__");
}

// Cython's functions that make an object from its state.
bool IsCythonMaker(string_view name) {
  return absl::StartsWith(name, "__pyx_unpickle_");
}

bool HasRevealingPart(string_view dotted) {
  if (IsCythonMaker(dotted) && !absl::StrContains(dotted, '.')) return false;
  for (const string_view part : absl::StrSplit(dotted, '.')) {
    if (IsRevealingAttribute(part)) return true;
  }
  return false;
}

// In "a.b.c": a module that a class or another module has imported.
bool PassesThroughModule(string_view dotted) {
  const size_t last = dotted.rfind('.');
  if (NotoriousModules().contains(dotted.substr(last + 1))) return true;
  if (last == string_view::npos) return false;
  for (const string_view part : absl::StrSplit(dotted.substr(0, last), '.')) {
    if (StandardModules().contains(part) ||
        (ListedPackages().contains(part) && absl::ascii_islower(part[0]))) {
      return true;
    }
  }
  return false;
}

Judgement JudgeStandard(string_view module, string_view name, bool called) {
  const bool builtin = module == "builtins" || module == "__builtin__";
  if ((builtin || module == "exceptions") &&
      HarmlessBuiltins().contains(name) && (!called || LooksLikeClass(name))) {
    return {ScanLevel::kUnknown, "a built-in that checkpoints do not need"};
  }
  // Python 3.11 makes a flag of several so.
  if ((module == "_operator" || module == "operator") && name == "or_") {
    return {ScanLevel::kUnknown, "joins two objects"};
  }
  return {ScanLevel::kDangerous,
          called ? "calls the standard library" : "names the standard library"};
}

bool IsAllowed(string_view module, string_view name, bool called) {
  if (AllowedGlobals().contains(absl::StrCat(module, " ", name))) return true;
  if (absl::StrContains(name, '.')) return false;
  if (HasAllowedClasses(module) && LooksLikeClass(name)) {
    return !RunningNames().contains(name);
  }
  if (IsIn(module, "__torch__")) return true;
  return !called && IsMathFunction(module, name);
}

Judgement JudgeListed(string_view module, string_view name, bool called) {
  const bool dotted = absl::StrContains(name, '.');
  if (dotted) {
    const size_t dot = name.rfind('.');
    // As protocol 4 names what others get by getattr.
    if (!called && IsAllowed(module, name.substr(0, dot), false)) {
      return JudgeAttribute(module, name.substr(dot + 1));
    }
    return {ScanLevel::kDangerous, "a way through a package that can run code"};
  }
  if (IsCythonMaker(name)) {
    return {ScanLevel::kUnknown, "makes an object of a package"};
  }
  if (!called) return {ScanLevel::kUnknown, "names something of a package"};
  if (ToolPackages().contains(TopOf(module)) || !LooksLikeClass(name)) {
    return {ScanLevel::kDangerous, "calls a package that can run code"};
  }
  return {ScanLevel::kUnknown, "makes an object of a package"};
}

}  // namespace

bool LooksLikeClass(string_view name) {
  if (absl::StrContains(name, '.')) return false;
  const size_t first = name.find_first_not_of('_');
  return first != string_view::npos && absl::ascii_isupper(name[first]) &&
         first + 1 < name.size();
}

bool IsPlausibleName(string_view text) {
  if (text.empty() || text.size() > kMaxNameBytes || !IsPythonText(text)) {
    return false;
  }
  char before = '.';
  for (const char c : text) {
    const bool other = static_cast<uint8_t>(c) >= 0x80;
    // What stands in names that are made: <lambda>, <locals>, Generic[int].
    if (!other && !absl::ascii_isalnum(c) && c != '_' && c != '.' && c != '<' &&
        c != '>' && c != '[' && c != ']' && c != '-') {
      return false;
    }
    if (c == '.' && before == '.') return false;
    before = c;
  }
  return before != '.';
}

bool IsRevealingAttribute(string_view name) {
  return absl::StartsWith(name, "__") && !HarmlessDunders().contains(name);
}

bool IsSuspectModule(string_view module) {
  const string_view top = TopOf(module);
  if (StandardModules().contains(top)) return true;
  return ListedPackages().contains(top) && top != "torch" && top != "numpy";
}

Judgement JudgeAttribute(string_view module, string_view name) {
  if (IsRevealingAttribute(name)) {
    return {ScanLevel::kDangerous, "a way into the interpreter"};
  }
  if (RunningNames().contains(name) || NotoriousModules().contains(name)) {
    return {ScanLevel::kDangerous, "a way to run code"};
  }
  if (TopOf(module) == "pathlib" || FileMethods().contains(name)) {
    return {ScanLevel::kDangerous, "a method that reads or writes files"};
  }
  if (absl::StartsWith(name, "_")) {
    return {ScanLevel::kUnknown, "a private attribute"};
  }
  if (TopOf(module) != "torch") return {ScanLevel::kUnknown, "a method"};
  return {};
}

Judgement JudgeGlobal(string_view module, string_view name, bool called) {
  if (!IsPlausibleName(module) || !IsPlausibleName(name)) {
    return {ScanLevel::kDangerous, "no name that Python could have written"};
  }
  if (called && ListedPackages().contains(TopOf(module)) &&
      RiskyClasses().contains(name)) {
    return {ScanLevel::kDangerous, "runs, loads, reads or writes something"};
  }
  if (IsAllowed(module, name, called)) return {};
  // A math function may be named, as a module's activation, and not run.
  if (IsMathFunction(module, name) && !absl::StrContains(name, '.')) {
    return {ScanLevel::kDangerous, "calls a function of torch"};
  }
  if (HasRevealingPart(name)) {
    return {ScanLevel::kDangerous, "a way into the interpreter"};
  }
  const string_view last = name.substr(name.rfind('.') + 1);
  if (KnownGadgets().contains(absl::StrCat(module, " ", name)) ||
      (TopOf(module) == "pandas" && absl::StartsWith(name, "read_"))) {
    return {ScanLevel::kDangerous, "known to run what it is given"};
  }
  if (StandardModules().contains(TopOf(module))) {
    return JudgeStandard(module, name, called);
  }
  if (RunningNames().contains(last) || PassesThroughModule(name)) {
    return {ScanLevel::kDangerous, "a way to run code under another name"};
  }
  if (ListedPackages().contains(TopOf(module))) {
    return JudgeListed(module, name, called);
  }
  return {ScanLevel::kUnknown,
          called ? "runs code of a project" : "names code of a project"};
}

}  // namespace penstock
