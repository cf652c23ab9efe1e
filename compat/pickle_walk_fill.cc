// The part of PickleWalker that fills objects, and knows joblib's arrays, which
// lie between the opcodes once their wrapper has its state.

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "compat/pickle_opcodes.h"
#include "compat/pickle_walk.h"

namespace penstock {
namespace {

using ::absl::string_view;
using namespace pickle;  // NOLINT: opcodes

// Pickles within pickles, as joblib writes arrays of objects.
constexpr size_t kMaxNested = 8;

}  // namespace

void PickleWalker::ApplyFill(const Instruction& at) {
  std::optional<Symbol> array;
  switch (at.opcode) {
    case kSetItem:
      Pop();
      Pop();
      break;
    case kSetItems:
      if (has_wrapper_) {
        array = ArrayStateOf(PopToMark());
      } else {
        PopMark();
      }
      break;
    case kAppends:
    case kAddItems:
      PopMark();
      break;
    case kBuild:
      return ApplyBuild(at);
    default:
      Pop();
  }
  if (now_.stack.empty()) return;
  const Kind kind = now_.stack.back().kind;
  if (kind == Kind::kGlobal || kind == Kind::kAttribute) {
    Report(ScanLevel::kDangerous, "changes a class, function or module itself",
           at);
  }
  const bool pairs = at.opcode == kSetItem || at.opcode == kSetItems;
  // An unpickler calls the object's own append, extend or add; who pickles adds
  // items before the state.
  if (!pairs && kind == Kind::kBuilt) {
    Report(ScanLevel::kDangerous, "calls what an object's state has given it",
           at);
  } else if (!pairs && kind == Kind::kRecalled) {
    Report(ScanLevel::kUnknown, "may call what an object's state has given it",
           at);
  }
  if (array.has_value()) {
    now_.stack.back() = *array;
  } else if (pairs && kind == Kind::kArrayState) {
    now_.stack.back() = Symbol();
  } else if (pairs && has_wrapper_ && kind == Kind::kRecalled) {
    Report(ScanLevel::kDangerous, "hides how long an array of joblib's is", at);
  }
}

void PickleWalker::ApplyBuild(const Instruction& at) {
  const Symbol state = Pop();
  if (now_.stack.empty()) return;
  Symbol& object = now_.stack.back();
  switch (object.kind) {
    case Kind::kGlobal:
    case Kind::kAttribute:
      return Report(ScanLevel::kDangerous,
                    "changes a class, function or module itself", at);
    case Kind::kBuilt:
      return Report(ScanLevel::kDangerous,
                    "calls what an object's state has given it", at);
    case Kind::kMade:
      if (globals_[object.place].special == Special::kPartial) {
        MakePartial(object.place, state);
      } else if (globals_[object.place].special == Special::kDtype) {
        // (version, order, subtype, names, fields, bytes, ...): -1 for kinds
        // that have but one size.
        const absl::Span<const Symbol> items = ItemsOf(state);
        if (items.size() < 6 || items[5].kind != Kind::kNumber) {
          object = Symbol();
        } else if (items[5].size < INT32_MAX && object.size != kObjects) {
          object.size = items[5].size;
        }
      } else if (globals_[object.place].special == Special::kArrayWrapper) {
        if (state.kind == Kind::kArrayState) {
          next_array_ = state;
        } else {
          Report(ScanLevel::kDangerous,
                 "hides how long an array of joblib's is", at);
        }
        object = Symbol();
      }
      return;
    case Kind::kRecalled:
      Report(ScanLevel::kUnknown,
             "may call what an object's state has given it", at);
      return;
    default:
      object = Symbol();
      object.kind = Kind::kBuilt;
  }
}

// The shape and dtype of a dict that SETITEMS fills, as bytes of the array.
std::optional<PickleWalker::Symbol> PickleWalker::ArrayStateOf(
    absl::Span<const Symbol> items) {
  Symbol state;
  state.kind = Kind::kArrayState;
  std::optional<int64_t> count;
  std::optional<int64_t> item_bytes;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    const Symbol& value = items[i + 1];
    const std::optional<std::string> key = TextOf(items[i]);
    if (key == "shape" && value.kind == Kind::kTuple && value.place < 0) {
      count = -1 - value.place;
    } else if (key == "dtype" && value.kind == Kind::kMade) {
      item_bytes = value.size;
    } else if (key == "numpy_array_alignment_bytes") {
      state.size = value.kind == Kind::kNumber ? 1 : 0;
    }
  }
  if (!count.has_value() || !item_bytes.has_value()) return std::nullopt;
  if (*item_bytes == kObjects) {
    state.place = kObjects;
  } else if (__builtin_mul_overflow(*count, *item_bytes, &state.place)) {
    return std::nullopt;
  }
  return state;
}

PickleWalker::Symbol PickleWalker::MakeDtype(int64_t number,
                                             const Symbol& args) {
  Symbol dtype;
  dtype.kind = Kind::kMade;
  dtype.place = number;
  const absl::Span<const Symbol> items = ItemsOf(args);
  const std::optional<std::string> text =
      items.empty() ? std::nullopt : TextOf(items[0]);
  string_view code = text.has_value() ? string_view(*text) : string_view();
  absl::ConsumePrefix(&code, "<");
  absl::ConsumePrefix(&code, ">");
  absl::ConsumePrefix(&code, "|");
  if (code == "O") code = "O8";  // two names of one thing
  int64_t bytes = 0;
  if (code.empty() || !absl::SimpleAtoi(code.substr(1), &bytes)) {
    return Symbol();
  }
  dtype.size = bytes;
  if (code[0] == 'U') dtype.size = 4 * std::min(bytes, INT64_MAX / 4);
  if (code[0] == 'O') dtype.size = kObjects;
  return dtype;
}

// False where the file ends within the array.
bool PickleWalker::SkipArray() {
  const Symbol state = *std::exchange(next_array_, std::nullopt);
  if (walk_.first_array < 0) walk_.first_array = walk_.end;
  if (arrays_ == Arrays::kRead) return true;
  if (state.place == kObjects) {
    BeginNested();
    return true;
  }
  int64_t padding = 0;
  if (state.size == 1) {
    const string_view count = window_.Get(walk_.end, 1);
    padding = 1 + (count.empty() ? 0 : static_cast<uint8_t>(count[0]));
  }
  walk_.how = PickleWalk::End::kCut;
  if (padding > window_.file_bytes() - walk_.end ||
      state.place > window_.file_bytes() - walk_.end - padding) {
    return false;
  }
  walk_.end += padding + state.place;
  return true;
}

void PickleWalker::BeginNested() {
  if (outer_.size() >= kMaxNested) {
    over_limit_ = true;
    return;
  }
  outer_.push_back(std::exchange(now_, Machine()));
}

void PickleWalker::EndNested() {
  now_ = std::move(outer_.back());
  outer_.pop_back();
}

}  // namespace penstock
