// The part of PickleWalker that knows globals and what calls them.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/global_judge.h"
#include "compat/pickle_opcodes.h"
#include "compat/pickle_walk.h"
#include "compat/scan_tables.h"

namespace penstock {
namespace {

using ::absl::string_view;
using namespace pickle;  // NOLINT: opcodes

// So many items of a tuple are looked at: no callable here takes more that
// matter.
constexpr size_t kMaxKeptItems = 10;
// Calls within the arguments of a call.
constexpr int kMaxCallDepth = 16;
constexpr size_t kMaxReports = 1000;

string_view OpcodeName(uint8_t opcode) {
  switch (opcode) {
    case kGlobal:
      return "GLOBAL";
    case kInst:
      return "INST";
    case kStackGlobal:
      return "STACK_GLOBAL";
    case kReduce:
      return "REDUCE";
    case kObj:
      return "OBJ";
    case kNewObj:
      return "NEWOBJ";
    case kNewObjEx:
      return "NEWOBJ_EX";
    case kBinPersId:
      return "BINPERSID";
    case kExt1:
      return "EXT1";
    case kExt2:
      return "EXT2";
    case kExt4:
      return "EXT4";
    case kBuild:
      return "BUILD";
    case kAppend:
      return "APPEND";
    case kAppends:
      return "APPENDS";
    case kSetItem:
      return "SETITEM";
    case kSetItems:
      return "SETITEMS";
    case kAddItems:
      return "ADDITEMS";
    default:
      return "";
  }
}

std::string Cut(string_view text) {
  if (static_cast<int64_t>(text.size()) <= kMaxScanNameBytes) {
    return std::string(text);
  }
  return absl::StrCat(text.substr(0, kMaxScanNameBytes - 3), "...");
}

bool IsPlainCodec(string_view name) {
  for (const string_view known :
       {"latin1", "latin-1", "latin_1", "iso-8859-1", "iso8859-1", "iso8859_1",
        "utf-8", "utf8", "utf_8", "ascii", "us-ascii"}) {
    if (name == known) return true;
  }
  return false;
}

}  // namespace

void PickleWalker::ApplyCall(const Instruction& at) {
  switch (at.opcode) {
    case kGlobal:
      return Push(Name(at.module, std::string(at.first), at));
    case kStackGlobal:
      return StackGlobal(at);
    case kInst: {
      // Without a mark every unpickler ends here.
      const bool calls = !now_.marks.empty();
      const std::vector<Symbol> items = PopToMark();
      const Symbol callee = Name(at.module, std::string(at.first), at);
      return Push(calls ? Call(callee, MakeTuple(items), at) : Symbol());
    }
    case kObj: {
      if (now_.marks.empty()) return Push(Symbol());
      const std::vector<Symbol> items = PopToMark();
      if (items.empty()) return Push(Symbol());
      if (items[0].kind == Kind::kGlobal) ++globals_[items[0].place].num_called;
      return Push(
          Call(items[0], MakeTuple(absl::MakeConstSpan(items).subspan(1)), at));
    }
    case kBinPersId:
      return Push(Persistent(Pop(), at));
    case kExt1:
    case kExt2:
    case kExt4:
      Report(ScanLevel::kDangerous, "a copyreg extension: it can be anything",
             at);
      return Push(Symbol());
    default: {
      if (at.opcode == kNewObjEx) Pop();
      const Symbol args = Pop();
      const Symbol callee = Pop();
      if (callee.kind == Kind::kGlobal) ++globals_[callee.place].num_called;
      return Push(Call(callee, args, at));
    }
  }
}

PickleWalker::Symbol PickleWalker::MakeTuple(absl::Span<const Symbol> items) {
  Symbol tuple;
  tuple.kind = Kind::kTuple;
  tuple.size = static_cast<int64_t>(items.size());
  int64_t product = 1;
  for (const Symbol& item : items) {
    if (item.kind != Kind::kNumber ||
        __builtin_mul_overflow(product, item.size, &product)) {
      product = INT64_MAX;
      break;
    }
  }
  tuple.place = -1 - product;
  const absl::Span<const Symbol> kept =
      items.first(std::min(items.size(), kMaxKeptItems));
  const bool matters =
      std::any_of(kept.begin(), kept.end(),
                  [](const Symbol& item) { return !item.plain(); });
  if (!matters) return tuple;
  tuple.place = static_cast<int64_t>(tuple_items_.size());
  tuple_items_.insert(tuple_items_.end(), kept.begin(), kept.end());
  if (static_cast<int64_t>(tuple_items_.size()) > kMaxWalkTupleItems) {
    over_limit_ = true;
  }
  return tuple;
}

absl::Span<const PickleWalker::Symbol> PickleWalker::ItemsOf(
    const Symbol& tuple) const {
  if (tuple.kind != Kind::kTuple || tuple.place < 0) return {};
  return absl::MakeConstSpan(tuple_items_)
      .subspan(tuple.place, std::min<size_t>(tuple.size, kMaxKeptItems));
}

PickleWalker::Symbol PickleWalker::Name(const std::string& module,
                                        const std::string& name,
                                        const Instruction& at) {
  Symbol symbol;
  symbol.kind = Kind::kGlobal;
  const auto [found, is_new] = numbers_.try_emplace(
      {module, name}, static_cast<int64_t>(globals_.size()));
  symbol.place = found->second;
  if (!is_new) return symbol;
  if (static_cast<int64_t>(globals_.size()) >= kMaxWalkGlobals) {
    over_limit_ = true;
    numbers_.erase(found);
    return Symbol();
  }
  Global global;
  global.module = module;
  global.name = name;
  global.offset = at.offset;
  global.opcode = at.opcode;
  global.special = SpecialOf(module, name);
  has_wrapper_ = has_wrapper_ || global.special == Special::kArrayWrapper;
  globals_.push_back(std::move(global));
  return symbol;
}

PickleWalker::Special PickleWalker::SpecialOf(string_view module,
                                              string_view name) {
  const std::string both = absl::StrCat(module, " ", name);
  if (both == "builtins getattr" || both == "__builtin__ getattr") {
    return Special::kGetattr;
  }
  if (both == "builtins type" || both == "__builtin__ type") {
    return Special::kType;
  }
  if (both == "functools partial") return Special::kPartial;
  if (both == "_codecs encode") return Special::kEncode;
  if (both == "torch.storage _load_from_bytes") return Special::kLoadBytes;
  if (both == "numpy memmap") return Special::kMemmap;
  if (both == "numpy dtype") return Special::kDtype;
  if (name == "NumpyArrayWrapper" && absl::EndsWith(module, "numpy_pickle")) {
    return Special::kArrayWrapper;
  }
  if (absl::StartsWith(module, "torch.") &&
      absl::StartsWith(name, "_rebuild_from_type")) {
    return Special::kFromType;
  }
  if (JudgeGlobal(module, name, /*called=*/true).level == ScanLevel::kAllow) {
    return Special::kCallsArguments;
  }
  return Special::kNone;
}

void PickleWalker::StackGlobal(const Instruction& at) {
  const Symbol name = Pop();
  const Symbol module = Pop();
  const std::optional<std::string> name_text = TextOf(name);
  const std::optional<std::string> module_text = TextOf(module);
  if (name_text.has_value() && module_text.has_value()) {
    return Push(Name(*module_text, *name_text, at));
  }
  Report(ScanLevel::kDangerous,
         "names a global by text that cannot be seen beforehand", at);
  Push(Symbol());
}

PickleWalker::Symbol PickleWalker::Call(const Symbol& callee,
                                        const Symbol& args,
                                        const Instruction& at) {
  if (callee.kind == Kind::kGlobal) {
    return CallGlobal(callee.place, args, at);
  }
  if (callee.kind == Kind::kAttribute) {
    if (callee.if_called != ScanLevel::kAllow) {
      Report(callee.if_called, "calls an attribute", at);
    }
  } else {
    Report(ScanLevel::kDangerous, "calls what an earlier call gave", at);
  }
  return Symbol();
}

PickleWalker::Symbol PickleWalker::CallGlobal(int64_t number,
                                              const Symbol& args,
                                              const Instruction& at) {
  Symbol arguments = args;
  for (int depth = 0;; ++depth) {
    if (globals_[number].called_by == 0) {
      globals_[number].called_by = at.opcode;
    }
    if (globals_[number].special != Special::kFromType) break;
    // It calls its first argument with the third.
    const absl::Span<const Symbol> items = ItemsOf(arguments);
    if (items.size() < 3 || items[0].kind != Kind::kGlobal ||
        depth == kMaxCallDepth) {
      Raise(number, ScanLevel::kDangerous, "calls what cannot be seen");
      return Symbol();
    }
    CallItems(number, arguments, at);
    number = items[0].place;
    arguments = items[2];
  }
  Symbol made;
  made.kind = Kind::kMade;
  made.place = number;
  switch (globals_[number].special) {
    case Special::kGetattr:
      return GetAttribute(number, arguments, at);
    case Special::kEncode:
      return Encode(number, arguments);
    case Special::kPartial:
      MakePartial(number, arguments);
      return made;
    case Special::kArrayWrapper:
      return made;
    case Special::kDtype:
      return MakeDtype(number, arguments);
    case Special::kMemmap:
      Raise(number, ScanLevel::kDangerous, "opens a file");
      break;
    case Special::kLoadBytes:
      LoadBytes(number, arguments);
      break;
    case Special::kType:
      if (arguments.kind != Kind::kTuple || arguments.size != 1) {
        Raise(number, ScanLevel::kDangerous, "makes a class");
      }
      break;
    case Special::kCallsArguments:
      CallItems(number, arguments, at);
      break;
    case Special::kAttribute: {
      // A class within a class is called by whoever pickles it.
      const string_view name = globals_[number].name;
      if (!LooksLikeClass(name.substr(name.rfind('.') + 1))) {
        Raise(number, ScanLevel::kDangerous, "calls what an earlier call gave");
      }
      break;
    }
    default:
      break;
  }
  return Symbol();
}

// An allowed callable may call the globals among its arguments.
void PickleWalker::CallItems(int64_t number, const Symbol& tuple,
                             const Instruction& at) {
  const bool makes_array =
      number >= 0 && globals_[number].name == "_reconstruct";
  for (const Symbol& item : ItemsOf(tuple)) {
    if (item.kind == Kind::kGlobal) {
      Global& global = globals_[item.place];
      if (global.called_by == 0) global.called_by = at.opcode;
      if (global.special == Special::kMemmap && !makes_array) {
        Raise(item.place, ScanLevel::kDangerous, "opens a file");
      }
    }
    if (item.kind == Kind::kAttribute &&
        item.if_called == ScanLevel::kDangerous) {
      Report(ScanLevel::kDangerous, "may call an attribute", at);
    }
  }
}

PickleWalker::Symbol PickleWalker::GetAttribute(int64_t number,
                                                const Symbol& args,
                                                const Instruction& at) {
  Symbol result;
  result.kind = Kind::kAttribute;
  result.if_called = ScanLevel::kDangerous;
  const absl::Span<const Symbol> items = ItemsOf(args);
  const std::optional<std::string> name =
      items.size() >= 2 ? TextOf(items[1]) : std::nullopt;
  if (!name.has_value() || !IsPlausibleName(*name) ||
      absl::StrContains(*name, '.') || items[0].kind == Kind::kAttribute) {
    Raise(number, ScanLevel::kDangerous, "a way into the interpreter");
    return result;
  }
  const Judgement judged = JudgeAttribute("torch", *name);
  if (judged.level == ScanLevel::kDangerous) {
    Raise(number, judged.level, judged.reason);
    return result;
  }
  if (items[0].kind != Kind::kGlobal) {
    Raise(number, ScanLevel::kUnknown, "an attribute of an object");
    return result;
  }
  const Global& base = globals_[items[0].place];
  const ScanLevel level = LevelOf(base, /*called=*/false);
  const std::string module = base.module;
  const std::string dotted = absl::StrCat(base.name, ".", *name);
  if (level == ScanLevel::kDangerous) {
    Raise(number, ScanLevel::kDangerous, "an attribute of what is dangerous");
  } else if (level != ScanLevel::kAllow) {
    // As protocol 4 would name it.
    result = Name(module, dotted, at);
    if (globals_[result.place].special == Special::kNone) {
      globals_[result.place].special = Special::kAttribute;
    }
  } else if (AllowedGlobals().contains(absl::StrCat(module, " ", dotted))) {
    result.if_called = ScanLevel::kAllow;
  } else {
    const Judgement method = JudgeAttribute(module, *name);
    Raise(number, method.level, method.reason);
  }
  return result;
}

PickleWalker::Symbol PickleWalker::Encode(int64_t number, const Symbol& args) {
  const absl::Span<const Symbol> items = ItemsOf(args);
  const bool has_text = !items.empty() && items[0].kind == Kind::kText;
  std::optional<std::string> codec = "utf-8";
  if (args.size > 1 && items.size() > 1) codec = TextOf(items[1]);
  if (args.kind != Kind::kTuple || !codec.has_value() ||
      !IsPlainCodec(*codec)) {
    Raise(number, ScanLevel::kDangerous, "makes text that cannot be seen");
    return Symbol();
  }
  if (!has_text) return Symbol();
  Symbol bytes = items[0];
  const bool latin = absl::StrContains(*codec, "1");
  if (bytes.coding == PickleCoding::kRaw && latin) {
    bytes.coding = PickleCoding::kLatin;
  } else if (bytes.coding == PickleCoding::kEscaped && latin) {
    bytes.coding = PickleCoding::kEscapedLatin;
  }
  return bytes;
}

void PickleWalker::MakePartial(int64_t number, const Symbol& args) {
  const absl::Span<const Symbol> items = ItemsOf(args);
  if (args.kind != Kind::kTuple || args.size == 0) {
    return Raise(number, ScanLevel::kDangerous, "calls what cannot be seen");
  }
  ScanLevel level = ScanLevel::kUnknown;
  if (!items.empty() && items[0].kind == Kind::kGlobal) {
    const Global& global = globals_[items[0].place];
    level = global.special == Special::kMemmap ? ScanLevel::kDangerous
                                               : LevelOf(global, false);
  }
  if (level == ScanLevel::kAllow) return;
  Raise(number, level, "holds a call of something that is not known");
}

void PickleWalker::LoadBytes(int64_t number, const Symbol& args) {
  const absl::Span<const Symbol> items = ItemsOf(args);
  if (items.empty() || items[0].kind != Kind::kText) {
    return Raise(number, ScanLevel::kDangerous,
                 "loads bytes that cannot be seen");
  }
  AddPayload(items[0], Loaded::kYes);
}

void PickleWalker::AddPayload(const Symbol& text, Loaded loaded) {
  const bool is_new = payload_offsets_.insert(text.place).second;
  // What looks like a file may turn out to be loaded as one.
  if (!is_new && loaded == Loaded::kNo) return;
  if (static_cast<int64_t>(walk_.payloads.size()) >= kMaxWalkPayloads) {
    over_limit_ = true;
    return;
  }
  walk_.payloads.push_back(
      {text.place, text.size, text.coding, loaded == Loaded::kYes});
}

// What torch's unpicklers make of a persistent id.
PickleWalker::Symbol PickleWalker::Persistent(const Symbol& id,
                                              const Instruction& at) {
  const absl::Span<const Symbol> items = ItemsOf(id);
  if (items.empty()) return Symbol();
  // Of tar files: (class, source file, source).
  if (items[0].kind == Kind::kGlobal) return items[0];
  const std::optional<std::string> kind = TextOf(items[0]);
  if (kind == "storage") return Symbol();
  if (kind == "module" && items.size() > 1 && items[1].kind == Kind::kGlobal) {
    return items[1];
  }
  if (kind == "reduce_package") {
    const size_t function = items.size() > 3 ? 2 : 1;
    if (items.size() > function + 1) {
      Call(items[function], items[function + 1], at);
      return Symbol();
    }
  }
  CallItems(-1, id, at);
  return Symbol();
}

void PickleWalker::Raise(int64_t number, ScanLevel level, string_view reason) {
  Global& global = globals_[number];
  if (level <= global.raised) return;
  global.raised = level;
  global.reason = reason;
}

// Once for each reason and opcode. `reason` is a constant.
void PickleWalker::Report(ScanLevel level, string_view reason,
                          const Instruction& at) {
  if (reported_.size() >= kMaxReports ||
      !reported_.insert({reason.data(), at.opcode}).second) {
    return;
  }
  ScanFinding finding;
  finding.kind = ScanKind::kPickle;
  finding.level = level;
  finding.offset = at.offset;
  finding.opcode = std::string(OpcodeName(at.opcode));
  finding.reason = std::string(reason);
  walk_.findings.push_back(std::move(finding));
}

ScanLevel PickleWalker::LevelOf(const Global& global, bool called) const {
  return std::max(JudgeGlobal(global.module, global.name, called).level,
                  global.raised);
}

void PickleWalker::Finish() {
  for (Global& global : globals_) {
    const bool called = global.called_by != 0;
    Judgement judged = JudgeGlobal(global.module, global.name, called);
    // Whatever else takes one of these can call it with what is not seen here.
    if ((global.special == Special::kGetattr ||
         global.special == Special::kLoadBytes ||
         global.special == Special::kFromType) &&
        (global.num_pushed != global.num_called)) {
      Raise(&global - globals_.data(), ScanLevel::kDangerous,
            "given away instead of called");
    }
    if (global.raised > judged.level) judged = {global.raised, global.reason};
    ScanFinding finding;
    finding.level = judged.level;
    finding.module = Cut(global.module);
    finding.name = Cut(global.name);
    finding.offset = global.offset;
    finding.opcode = std::string(OpcodeName(global.opcode));
    finding.called_by = std::string(OpcodeName(global.called_by));
    finding.reason = std::string(judged.reason);
    walk_.findings.push_back(std::move(finding));
  }
  std::stable_sort(walk_.findings.begin(), walk_.findings.end(),
                   [](const ScanFinding& a, const ScanFinding& b) {
                     return a.offset < b.offset;
                   });
}

}  // namespace penstock
