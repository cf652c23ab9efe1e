#include "compat/pickle_walk.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "compat/pickle_opcodes.h"
#include "compat/pickle_text.h"

namespace penstock {
namespace {

using ::absl::string_view;
using namespace pickle;  // NOLINT: opcodes

// A longer line is no name.
constexpr int64_t kMaxLineView = 4096;
// An instance's attribute of this name is called by the next BUILD.
constexpr string_view kSetState = "__setstate__";
constexpr int64_t kMaxSetStateBytes = 6 * 12 + 2;
// What a texts' cache holds.
constexpr size_t kMaxCachedTexts = 1 << 16;

// What follows an opcode.
enum Follow : int8_t {
  kUnknownOp = -1,
  kNothing = 0,
  // 1, 2, 4, 8: a number of so many bytes
  kLine = 16,
  kTwoLines,
  kText1,  // a length of so many bytes, and a text
  kText4,
  kText8,
  kSignedText4,
};

constexpr std::array<int8_t, 256> MakeFollows() {
  std::array<int8_t, 256> table{};
  for (int8_t& entry : table) entry = kUnknownOp;
  for (const uint8_t op :
       {kMark,        kEmptyTuple, kStop,       kPop,           kPopMark,
        kDup,         kNone,       kBinPersId,  kReduce,        kEmptyList,
        kAppend,      kBuild,      kDict,       kAppends,       kList,
        kObj,         kSetItem,    kTuple,      kSetItems,      kEmptyDict,
        kNewObj,      kTuple1,     kTuple2,     kTuple3,        kNewTrue,
        kNewFalse,    kEmptySet,   kAddItems,   kFrozenSet,     kNewObjEx,
        kStackGlobal, kMemoize,    kNextBuffer, kReadOnlyBuffer}) {
    table[op] = kNothing;
  }
  for (const uint8_t op : {kBinInt1, kBinGet, kBinPut, kProto, kExt1}) {
    table[op] = 1;
  }
  for (const uint8_t op : {kBinInt2, kExt2}) table[op] = 2;
  for (const uint8_t op : {kBinInt, kLongBinGet, kLongBinPut, kExt4}) {
    table[op] = 4;
  }
  for (const uint8_t op : {kBinFloat, kFrame}) table[op] = 8;
  for (const uint8_t op :
       {kFloat, kInt, kLong, kPersId, kString, kUnicode, kGet, kPut}) {
    table[op] = kLine;
  }
  for (const uint8_t op : {kGlobal, kInst}) table[op] = kTwoLines;
  for (const uint8_t op :
       {kShortBinBytes, kShortBinString, kLong1, kShortBinUnicode}) {
    table[op] = kText1;
  }
  for (const uint8_t op : {kBinBytes, kBinUnicode}) table[op] = kText4;
  for (const uint8_t op : {kBinUnicode8, kBinBytes8, kByteArray8}) {
    table[op] = kText8;
  }
  for (const uint8_t op : {kBinString, kLong4}) table[op] = kSignedText4;
  return table;
}

constexpr std::array<int8_t, 256> kFollows = MakeFollows();

uint64_t LittleEndian(string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// Of GET and PUT: what Python's int() takes, else (Python 2 takes any text as
// a key) a number that no int is.
uint64_t MemoKey(string_view line) {
  string_view digits = absl::StripAsciiWhitespace(line);
  if (!digits.empty() && digits[0] == '+') digits.remove_prefix(1);
  uint64_t key = 0;
  bool after_digit = false;
  for (const char c : digits) {
    if (c == '_' && after_digit) {
      after_digit = false;
      continue;
    }
    if (!absl::ascii_isdigit(c) || key > (uint64_t{1} << 58)) {
      after_digit = false;
      break;
    }
    key = key * 10 + static_cast<uint64_t>(c - '0');
    after_digit = true;
  }
  if (after_digit) return key;
  return absl::Hash<string_view>()(line) | uint64_t{1} << 63;
}

// What a text that is a file of its own begins with.
bool BeginsLikeAFile(string_view head) {
  if (head.size() < 4) return false;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
  if (head.substr(0, 4) == "PK\3\4") return true;
  if (at(0) == kProto && at(1) <= 5) return true;
  return at(0) == 0xC2 && at(1) == kProto && at(2) <= 5;
}

}  // namespace

bool IsPickleOpcode(uint8_t byte) { return kFollows[byte] != kUnknownOp; }

std::optional<std::string> DecodePickleText(ByteWindow& window,
                                            const PickleText& text,
                                            int64_t max_bytes) {
  if (text.size_bytes > max_bytes) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size_bytes);
  while (static_cast<int64_t>(bytes.size()) < text.size_bytes) {
    const int64_t done = static_cast<int64_t>(bytes.size());
    const string_view piece =
        window.Get(text.offset + done,
                   std::min(text.size_bytes - done, window.window_bytes()));
    if (piece.empty()) return std::nullopt;
    bytes.append(piece.data(), piece.size());
  }
  switch (text.coding) {
    case PickleCoding::kRaw:
      return bytes;
    case PickleCoding::kQuoted:
      return DecodeQuotedString(absl::StripTrailingAsciiWhitespace(bytes));
    case PickleCoding::kEscaped:
      return DecodeRawUnicodeEscape(bytes);
    case PickleCoding::kLatin:
      return Utf8ToLatin1(bytes);
    case PickleCoding::kEscapedLatin: {
      const auto decoded = DecodeRawUnicodeEscape(bytes);
      return decoded.has_value() ? Utf8ToLatin1(*decoded) : std::nullopt;
    }
  }
  return std::nullopt;
}

PickleWalker::PickleWalker(ByteWindow& window, ByteWindow& names,
                           int64_t& budget, Arrays arrays)
    : window_(window), names_(names), budget_(budget), arrays_(arrays) {}

PickleWalk PickleWalker::Walk(int64_t begin) {
  walk_.begin = begin;
  walk_.end = begin;
  Instruction at;
  while (true) {
    if (budget_ <= 0 || over_limit_) {
      walk_.how = PickleWalk::End::kLimit;
      break;
    }
    --budget_;
    at.offset = walk_.end;
    if (!Read(at)) break;
    ++walk_.num_opcodes;
    walk_.end = at.end;
    if (at.opcode == kStop && !outer_.empty()) {
      EndNested();
      continue;
    }
    if (at.opcode == kStop) {
      walk_.how = PickleWalk::End::kStop;
      break;
    }
    if (at.opcode == kProto && at.offset == begin) walk_.has_proto = true;
    Apply(at);
    if (next_array_.has_value() && !SkipArray()) break;
  }
  Finish();
  return std::move(walk_);
}

// False, with walk_.how set, where there is no whole opcode.
bool PickleWalker::Read(Instruction& at) {
  walk_.how = PickleWalk::End::kCut;
  const string_view head = window_.Get(at.offset, 9);
  if (head.empty()) return false;
  at.opcode = static_cast<uint8_t>(head[0]);
  const int8_t follow = kFollows[at.opcode];
  if (follow == kUnknownOp) {
    walk_.how = PickleWalk::End::kBroken;
    return false;
  }
  if (follow <= 8) {
    at.end = at.offset + 1 + follow;
    if (static_cast<int8_t>(head.size()) < 1 + follow) return false;
    at.number = LittleEndian(head.substr(1, follow));
    return true;
  }
  switch (follow) {
    case kLine:
      return ReadLine(at.offset + 1, at);
    case kTwoLines:
      if (!ReadLine(at.offset + 1, at)) return false;
      at.module.assign(at.first.data(), at.first.size());
      // Cut short, it has been named all the same, without its last byte.
      if (!ReadLine(at.end, at) && !at.first.empty()) at.first.remove_suffix(1);
      return true;
    case kText1:
      return ReadCounted(1, at);
    case kText8:
      return ReadCounted(8, at);
    default:
      return ReadCounted(4, at);
  }
}

// A line, without its end. One that the file ends is the rest of it: false.
bool PickleWalker::ReadLine(int64_t begin, Instruction& at) {
  int64_t end = begin;
  bool found = false;
  while (!found && end < window_.file_bytes()) {
    const string_view piece =
        window_.GetAhead(end, 256, window_.window_bytes());
    if (piece.empty()) break;
    const size_t size = piece.find('\n');
    found = size != string_view::npos;
    end += static_cast<int64_t>(found ? size : piece.size());
    budget_ -= static_cast<int64_t>(found ? size : piece.size()) >> 4;
  }
  at.text = {begin, end - begin, PickleCoding::kRaw};
  at.end = end + 1;
  at.first = window_.Get(begin, std::min(end - begin, kMaxLineView));
  return found;
}

bool PickleWalker::ReadCounted(int width, Instruction& at) {
  const string_view digits = window_.Get(at.offset + 1, width);
  if (static_cast<int>(digits.size()) < width) return false;
  const uint64_t size = LittleEndian(digits);
  const int64_t begin = at.offset + 1 + width;
  if (kFollows[at.opcode] == kSignedText4 && size > INT32_MAX) {
    walk_.how = PickleWalk::End::kBroken;
    return false;
  }
  if (size > static_cast<uint64_t>(window_.file_bytes() - begin)) return false;
  at.text = {begin, static_cast<int64_t>(size), PickleCoding::kRaw};
  at.end = begin + static_cast<int64_t>(size);
  return true;
}

void PickleWalker::Apply(const Instruction& at) {
  switch (at.opcode) {
    case kString:
    case kUnicode:
    case kBinString:
    case kShortBinString:
    case kBinUnicode:
    case kShortBinUnicode:
    case kBinUnicode8:
    case kBinBytes:
    case kShortBinBytes:
    case kBinBytes8:
    case kByteArray8:
      return ApplyText(at);
    case kPut:
    case kBinPut:
    case kLongBinPut:
    case kMemoize:
    case kGet:
    case kBinGet:
    case kLongBinGet:
      return ApplyMemo(at);
    case kGlobal:
    case kInst:
    case kStackGlobal:
    case kReduce:
    case kObj:
    case kNewObj:
    case kNewObjEx:
    case kBinPersId:
    case kExt1:
    case kExt2:
    case kExt4:
      return ApplyCall(at);
    case kBuild:
    case kAppend:
    case kAppends:
    case kSetItem:
    case kSetItems:
    case kAddItems:
      return ApplyFill(at);
    case kProto:
    case kFrame:
    case kReadOnlyBuffer:
      return;
    default:
      return ApplyStack(at);
  }
}

void PickleWalker::ApplyText(const Instruction& at) {
  Symbol text;
  text.kind = Kind::kText;
  text.place = at.text.offset;
  text.size = at.text.size_bytes;
  if (at.opcode == kString) text.coding = PickleCoding::kQuoted;
  if (at.opcode == kUnicode) text.coding = PickleCoding::kEscaped;
  Push(text);
  const int64_t longest = text.coding == PickleCoding::kRaw
                              ? static_cast<int64_t>(kSetState.size())
                              : kMaxSetStateBytes;
  if (text.size >= static_cast<int64_t>(kSetState.size()) &&
      text.size <= longest &&
      DecodePickleText(names_, {text.place, text.size, text.coding}, longest) ==
          kSetState) {
    Report(ScanLevel::kDangerous, "gives an object a method that BUILD calls",
           at);
  }
  const int64_t quote = at.opcode == kString ? 1 : 0;
  if (BeginsLikeAFile(window_.Get(at.text.offset + quote,
                                  std::min<int64_t>(at.text.size_bytes, 8)))) {
    const string_view head = window_.Get(at.text.offset, 1);
    if (text.coding == PickleCoding::kRaw && head == "\xC2") {
      text.coding = PickleCoding::kLatin;
    }
    if (text.coding == PickleCoding::kEscaped) {
      text.coding = PickleCoding::kEscapedLatin;
    }
    AddPayload(text, Loaded::kNo);
  }
}

void PickleWalker::ApplyStack(const Instruction& at) {
  switch (at.opcode) {
    case kMark:
      if (static_cast<int64_t>(now_.marks.size()) >= kMaxWalkStack) {
        over_limit_ = true;
        return;
      }
      now_.marks.push_back(now_.stack.size());
      return;
    case kPop:
      if (!now_.marks.empty() && now_.marks.back() == now_.stack.size()) {
        now_.marks.pop_back();
      } else if (!now_.stack.empty()) {
        now_.stack.pop_back();
      }
      return;
    case kPopMark:
      return PopMark();
    case kDup:
      // No pickler writes it; of one object there are two symbols then.
      if (!now_.stack.empty() && now_.stack.back().plain()) {
        now_.stack.back().kind = Kind::kRecalled;
      }
      return Push(now_.stack.empty() ? Symbol() : now_.stack.back());
    case kTuple:
      return Push(MakeTuple(PopToMark()));
    case kEmptyTuple:
      return Push(MakeTuple({}));
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      std::array<Symbol, 3> items;
      const size_t size = at.opcode - kTuple1 + 1;
      for (size_t i = size; i-- > 0;) items[i] = Pop();
      return Push(MakeTuple(absl::MakeConstSpan(items).first(size)));
    }
    case kList:
    case kDict:
    case kFrozenSet:
      PopMark();
      return Push(Symbol());
    case kBinInt:
    case kBinInt1:
    case kBinInt2: {
      Symbol number;
      number.kind = Kind::kNumber;
      number.size = static_cast<int64_t>(at.number);
      return Push(number);
    }
    default:
      return Push(Symbol());
  }
}

void PickleWalker::ApplyMemo(const Instruction& at) {
  const Symbol top = now_.stack.empty() ? Symbol() : now_.stack.back();
  switch (at.opcode) {
    case kPut:
      return Put(MemoKey(at.first), top);
    case kBinPut:
    case kLongBinPut:
      return Put(at.number, top);
    case kMemoize:
      return Put(now_.memo_dense + now_.memo_sparse.size(), top);
    case kGet:
      return Get(MemoKey(at.first));
    default:
      return Get(at.number);
  }
}

void PickleWalker::Push(const Symbol& symbol) {
  if (static_cast<int64_t>(now_.stack.size()) >= kMaxWalkStack) {
    over_limit_ = true;
    return;
  }
  if (symbol.kind == Kind::kGlobal) ++globals_[symbol.place].num_pushed;
  now_.stack.push_back(symbol);
}

// Never below the last mark.
PickleWalker::Symbol PickleWalker::Pop() {
  const size_t floor = now_.marks.empty() ? 0 : now_.marks.back();
  if (now_.stack.size() <= floor) return Symbol();
  const Symbol top = now_.stack.back();
  now_.stack.pop_back();
  return top;
}

std::vector<PickleWalker::Symbol> PickleWalker::PopToMark() {
  const size_t floor = now_.marks.empty() ? 0 : now_.marks.back();
  std::vector<Symbol> items(now_.stack.begin() + floor, now_.stack.end());
  PopMark();
  return items;
}

void PickleWalker::PopMark() {
  const size_t floor = now_.marks.empty() ? 0 : now_.marks.back();
  if (!now_.marks.empty()) now_.marks.pop_back();
  now_.stack.resize(floor);
}

void PickleWalker::Put(uint64_t key, const Symbol& symbol) {
  if (key == now_.memo_dense) {
    ++now_.memo_dense;
    while (now_.memo_sparse.erase(now_.memo_dense) > 0) ++now_.memo_dense;
  } else if (key > now_.memo_dense) {
    now_.memo_sparse.insert(key);
  }
  if (symbol.plain() || (symbol.kind == Kind::kTuple && symbol.place < 0)) {
    now_.memo.erase(key);
  } else {
    now_.memo[key] = symbol;
  }
  if (static_cast<int64_t>(now_.memo.size() + now_.memo_sparse.size()) >
      kMaxWalkMemo) {
    over_limit_ = true;
  }
}

void PickleWalker::Get(uint64_t key) {
  const auto found = now_.memo.find(key);
  Symbol recalled;
  recalled.kind = Kind::kRecalled;
  Push(found == now_.memo.end() ? recalled : found->second);
}

std::optional<std::string> PickleWalker::TextOf(const Symbol& symbol) {
  if (symbol.kind != Kind::kText) return std::nullopt;
  const auto cached = texts_.find(symbol.place);
  if (cached != texts_.end()) return cached->second;
  std::optional<std::string> text = DecodePickleText(
      names_, {symbol.place, symbol.size, symbol.coding}, kMaxLineView);
  if (text.has_value() && text->size() < 256) {
    if (texts_.size() >= kMaxCachedTexts) texts_.clear();
    texts_.emplace(symbol.place, *text);
  }
  return text;
}

}  // namespace penstock
