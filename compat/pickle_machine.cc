#include "compat/pickle_machine.h"

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/pickle_opcodes.h"
#include "compat/pickle_text.h"
#include "compat/sub_file.h"
#include "core/python_keys.h"
#include "core/status_macros.h"

namespace penstock::pickle {
namespace {

absl::Status Bad(absl::string_view name, absl::string_view text) {
  return absl::DataLossError(absl::StrCat(name, ": ", text));
}

// What stands behind the one argument of a call, with zeros behind it.
using CallCode = std::array<uint8_t, 12>;

// True for [put] TUPLE1 [put] REDUCE.
bool IsCallOfOne(const CallCode& code) {
  size_t at = 0;
  for (const Op op : {kTuple1, kReduce}) {
    at += code[at] == kBinPut       ? 2
          : code[at] == kLongBinPut ? 5
          : code[at] == kMemoize    ? 1
                                    : 0;
    if (code[at++] != op) return false;
  }
  return true;
}

absl::Status OverLimit(absl::string_view what, int64_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrFormat("pickle_limit: more than %d %s", limit, what));
}

}  // namespace

// clang-format off
const PickleMachine::OpRow PickleMachine::kRows[] = {
    {kProto, "PROTO", &PickleMachine::Proto, 0},
    {kFrame, "FRAME", &PickleMachine::Frame, 0},
    {kNone, "NONE", &PickleMachine::Constant, 2},
    {kNewTrue, "NEWTRUE", &PickleMachine::Constant, 1},
    {kNewFalse, "NEWFALSE", &PickleMachine::Constant, 0},
    {kInt, "INT", &PickleMachine::IntLine, 0},
    {kLong, "LONG", &PickleMachine::LongLine, 0},
    {kBinInt1, "BININT1", &PickleMachine::Unsigned, 1},
    {kBinInt2, "BININT2", &PickleMachine::Unsigned, 2},
    {kBinInt, "BININT", &PickleMachine::BinInt, 0},
    {kLong1, "LONG1", &PickleMachine::Long, 1},
    {kLong4, "LONG4", &PickleMachine::Long, PickleCursor::kSigned4},
    {kFloat, "FLOAT", &PickleMachine::FloatLine, 0},
    {kBinFloat, "BINFLOAT", &PickleMachine::BinFloat, 0},
    {kString, "STRING", &PickleMachine::StringLine, 0},
    {kBinString, "BINSTRING", &PickleMachine::Py2String,
     PickleCursor::kSigned4},
    {kShortBinString, "SHORT_BINSTRING", &PickleMachine::Py2String, 1},
    {kUnicode, "UNICODE", &PickleMachine::UnicodeLine, 0},
    {kBinUnicode, "BINUNICODE", &PickleMachine::Unicode, 4},
    {kShortBinUnicode, "SHORT_BINUNICODE", &PickleMachine::Unicode, 1},
    {kBinUnicode8, "BINUNICODE8", &PickleMachine::Unicode, 8},
    {kShortBinBytes, "SHORT_BINBYTES", &PickleMachine::Bytes, 1},
    {kBinBytes, "BINBYTES", &PickleMachine::Bytes, 4},
    {kBinBytes8, "BINBYTES8", &PickleMachine::Bytes, 8},
    {kByteArray8, "BYTEARRAY8", &PickleMachine::ByteArray, 8},
    {kStop, "STOP", &PickleMachine::Stop, 0},
    {kMark, "MARK", &PickleMachine::Mark, 0},
    {kPop, "POP", &PickleMachine::Pop, 0},
    {kPopMark, "POP_MARK", &PickleMachine::PopMark, 0},
    {kDup, "DUP", &PickleMachine::Dup, 0},
    {kNextBuffer, "NEXT_BUFFER", &PickleMachine::NextBuffer, 0},
    {kReadOnlyBuffer, "READONLY_BUFFER", &PickleMachine::ReadOnlyBuffer, 0},
    {kExt1, "EXT1", &PickleMachine::Extension, 0},
    {kExt2, "EXT2", &PickleMachine::Extension, 0},
    {kExt4, "EXT4", &PickleMachine::Extension, 0},
    {kPut, "PUT", &PickleMachine::Put, 0},
    {kBinPut, "BINPUT", &PickleMachine::Put, 1},
    {kLongBinPut, "LONG_BINPUT", &PickleMachine::Put, 4},
    {kMemoize, "MEMOIZE", &PickleMachine::Memoize, 0},
    {kGet, "GET", &PickleMachine::Get, 0},
    {kBinGet, "BINGET", &PickleMachine::Get, 1},
    {kLongBinGet, "LONG_BINGET", &PickleMachine::Get, 4},
    {kEmptyList, "EMPTY_LIST", &PickleMachine::List, 1},
    {kList, "LIST", &PickleMachine::List, 0},
    {kAppend, "APPEND", &PickleMachine::Append, 1},
    {kAppends, "APPENDS", &PickleMachine::Append, 0},
    {kEmptyTuple, "EMPTY_TUPLE", &PickleMachine::Tuple, 0},
    {kTuple1, "TUPLE1", &PickleMachine::Tuple, 1},
    {kTuple2, "TUPLE2", &PickleMachine::Tuple, 2},
    {kTuple3, "TUPLE3", &PickleMachine::Tuple, 3},
    {kTuple, "TUPLE", &PickleMachine::Tuple, -1},
    {kEmptyDict, "EMPTY_DICT", &PickleMachine::Dict, 1},
    {kDict, "DICT", &PickleMachine::Dict, 0},
    {kSetItem, "SETITEM", &PickleMachine::SetItem, 1},
    {kSetItems, "SETITEMS", &PickleMachine::SetItem, 0},
    {kEmptySet, "EMPTY_SET", &PickleMachine::EmptySet, 0},
    {kAddItems, "ADDITEMS", &PickleMachine::AddItems, 0},
    {kFrozenSet, "FROZENSET", &PickleMachine::FrozenSet, 0},
    {kGlobal, "GLOBAL", &PickleMachine::Global, 0},
    {kStackGlobal, "STACK_GLOBAL", &PickleMachine::StackGlobal, 0},
    {kReduce, "REDUCE", &PickleMachine::Reduce, 0},
    {kNewObj, "NEWOBJ", &PickleMachine::NewObj, 0},
    {kNewObjEx, "NEWOBJ_EX", &PickleMachine::NewObjEx, 0},
    {kInst, "INST", &PickleMachine::Inst, 0},
    {kObj, "OBJ", &PickleMachine::Obj, 0},
    {kBuild, "BUILD", &PickleMachine::Build, 0},
    {kPersId, "PERSID", &PickleMachine::PersId, 0},
    {kBinPersId, "BINPERSID", &PickleMachine::BinPersId, 0},
};
// clang-format on

// The rows by code.
struct PickleMachine::OpTable {
  std::array<const OpRow*, 256> rows = {};

  OpTable() {
    for (const OpRow& row : kRows) rows[row.code] = &row;
  }
};

PickleMachine::PickleMachine(const PickleInput& input,
                             const PickleSurroundings& around,
                             const PickleLimits& limits)
    : cursor_(input, limits.max_pickle_bytes, limits.max_string_bytes),
      limits_(limits),
      builder_(limits.max_nodes),
      resolver_(builder_, around, limits.max_pickle_bytes),
      takes_tensors_(input.file == nullptr) {
  builder_.set_strings_by_identity(true);
}

absl::StatusOr<PickleResult> PickleMachine::Run() && {
  for (; !stopped_; ++num_opcodes_) {
    if (num_opcodes_ >= limits_.max_opcodes) {
      return OverLimit("opcodes", limits_.max_opcodes);
    }
    PENSTOCK_RETURN_IF_ERROR(Step());
  }
  PickleResult result;
  absl::StatusOr<Value> root = std::move(builder_).Finish(Top());
  if (absl::IsInvalidArgument(root.status())) {
    return Bad("pickle_type", root.status().message());
  }
  PENSTOCK_RETURN_IF_ERROR(root.status());
  result.root = *std::move(root);
  result.consumed_bytes = static_cast<int64_t>(cursor_.position());
  result.globals = std::move(globals_);
  result.warnings = resolver_.TakeWarnings();
  return result;
}

absl::Status PickleMachine::Step() {
  static const OpTable* const table = new OpTable;
  const size_t position = cursor_.position();
  const absl::StatusOr<uint64_t> code = cursor_.TakeUnsigned(1);
  if (!code.ok()) {
    return absl::Status(code.status().code(),
                        absl::StrFormat("%s (at byte %d, before any STOP)",
                                        code.status().message(), position));
  }
  const OpRow* row = table->rows[*code];
  if (row == nullptr) {
    return Bad("pickle_unknown_opcode",
               absl::StrFormat("%#04x at byte %d", *code, position));
  }
  absl::Status status = (this->*row->handler)(row->operand);
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrFormat("%s (%s at byte %d)", status.message(),
                                      row->name, position));
}

absl::Status PickleMachine::Proto(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t protocol, cursor_.TakeUnsigned(1));
  if (protocol > 5) {
    return Bad("pickle_protocol",
               absl::StrFormat("protocol %d, 0 to 5 are known", protocol));
  }
  protocol_ = static_cast<int>(protocol);
  return absl::OkStatus();
}

absl::Status PickleMachine::Frame(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t size, cursor_.TakeUnsigned(8));
  if (size <= cursor_.remaining()) return absl::OkStatus();
  return Bad("pickle_truncated",
             absl::StrFormat("a frame of %d bytes, %d are left", size,
                             cursor_.remaining()));
}

absl::Status PickleMachine::Constant(int which) {
  return Push(which == 2 ? builder_.None() : builder_.Bool(which == 1));
}

absl::Status PickleMachine::IntLine(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  if (line == "00" || line == "01") {
    return Push(builder_.Bool(line == "01"));
  }
  return PushInteger(line);
}

absl::Status PickleMachine::LongLine(int) {
  PENSTOCK_ASSIGN_OR_RETURN(absl::string_view line, cursor_.TakeLine());
  if (!line.empty() && line.back() == 'L') line.remove_suffix(1);
  return PushInteger(line);
}

absl::Status PickleMachine::PushInteger(absl::string_view line) {
  if (line.size() > kMaxDecimalDigits) {
    return OverLimit("digits", kMaxDecimalDigits);
  }
  const std::optional<std::string> number = DecimalToTwosComplement(line);
  if (!number) return Bad("pickle_number", "not a decimal integer");
  return Push(builder_.BigInt(*number));
}

absl::Status PickleMachine::Unsigned(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t value, cursor_.TakeUnsigned(width));
  return Push(builder_.Int(static_cast<int64_t>(value)));
}

absl::Status PickleMachine::BinInt(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t value, cursor_.TakeUnsigned(4));
  return Push(builder_.Int(static_cast<int32_t>(static_cast<uint32_t>(value))));
}

absl::Status PickleMachine::Long(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view bytes,
                            cursor_.TakeString(width));
  if (static_cast<int64_t>(bytes.size()) > limits_.max_long_bytes) {
    return OverLimit("bytes of an integer", limits_.max_long_bytes);
  }
  return Push(bytes.empty() ? builder_.Int(0) : builder_.BigInt(bytes));
}

absl::Status PickleMachine::FloatLine(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  double value = 0;
  if (!absl::SimpleAtod(line, &value)) {
    return Bad("pickle_number", "not a decimal float");
  }
  return Push(builder_.Float(value));
}

absl::Status PickleMachine::BinFloat(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t little, cursor_.TakeUnsigned(8));
  const uint64_t bits = __builtin_bswap64(little);
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return Push(builder_.Float(value));
}

absl::Status PickleMachine::StringLine(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  const std::optional<std::string> bytes = DecodeQuotedString(line);
  if (!bytes) return Bad("pickle_type", "not a quoted string");
  return Push(builder_.Py2Str(*bytes));
}

absl::Status PickleMachine::Py2String(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view bytes,
                            cursor_.TakeString(width));
  return Push(builder_.Py2Str(bytes));
}

absl::Status PickleMachine::UnicodeLine(int) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view line, cursor_.TakeLine());
  const std::optional<std::string> text = DecodeRawUnicodeEscape(line);
  if (!text) return Bad("pickle_utf8", "a broken \\u escape");
  return PushStr(*text);
}

absl::Status PickleMachine::Unicode(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view text,
                            cursor_.TakeString(width));
  return PushStr(text);
}

absl::Status PickleMachine::PushStr(absl::string_view utf8) {
  if (!IsPythonText(utf8)) return Bad("pickle_utf8", "text is not UTF-8");
  return Push(builder_.Str(utf8));
}

absl::Status PickleMachine::Bytes(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t size, cursor_.TakeLength(width));
  if (cursor_.in_file() && available() > 0 && resolver_.OpensFiles(Top())) {
    PENSTOCK_ASSIGN_OR_RETURN(const bool is_lent, LendBytes(size));
    if (is_lent) return absl::OkStatus();
  }
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view bytes,
                            cursor_.TakeText(size));
  return Push(builder_.Bytes(bytes));
}

// Opens the file that the next `size` bytes are, where it lies, if all that
// comes of them is the call to open it: pickled tensors may be larger than
// memory.
absl::StatusOr<bool> PickleMachine::LendBytes(uint64_t size) {
  CallCode next = {};
  PENSTOCK_RETURN_IF_ERROR(cursor_.Peek(size, absl::MakeSpan(next)));
  if (!IsCallOfOne(next)) return false;
  const PickleInput& input = cursor_.input();
  const int64_t offset = input.begin + static_cast<int64_t>(cursor_.position());
  const NodeId bytes = builder_.Bytes("");
  if (bytes == kNoNode) return OverLimit("nodes", limits_.max_nodes);
  PENSTOCK_ASSIGN_OR_RETURN(
      const bool is_storage,
      resolver_.Lend(bytes,
                     {std::make_shared<SubFile>(input.file, offset,
                                                static_cast<int64_t>(size)),
                      offset}));
  if (!is_storage) return false;
  cursor_.Skip(size);
  lent_.insert(bytes);
  PENSTOCK_RETURN_IF_ERROR(Push(bytes));
  return true;
}

// Also true for the tuple of them.
bool PickleMachine::IsLent(NodeId id) const {
  if (lent_.empty()) return false;
  if (builder_.kind(id) == NodeKind::kTuple &&
      builder_.children(id).size() == 1) {
    id = builder_.children(id)[0];
  }
  return lent_.contains(id);
}

absl::Status PickleMachine::ByteArray(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view bytes,
                            cursor_.TakeString(width));
  return Push(builder_.ByteArray(bytes));
}

int64_t PickleMachine::available() const {
  return static_cast<int64_t>(stack_.size() -
                              (marks_.empty() ? 0 : marks_.back()));
}

absl::Status PickleMachine::Need(int64_t count) const {
  if (available() >= count) return absl::OkStatus();
  return Bad("pickle_underflow",
             absl::StrFormat("needs %d items, found %d", count, available()));
}

NodeId PickleMachine::TakeTop() {
  const NodeId top = stack_.back();
  stack_.pop_back();
  return top;
}

absl::Status PickleMachine::Push(NodeId id) {
  if (id == kNoNode) return OverLimit("nodes", limits_.max_nodes);
  if (static_cast<int64_t>(stack_.size()) >= limits_.max_stack) {
    return OverLimit("items on the stack", limits_.max_stack);
  }
  stack_.push_back(id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NodeId>> PickleMachine::TakeMarked() {
  if (marks_.empty()) return Bad("pickle_no_mark", "no MARK before it");
  std::vector<NodeId> items(stack_.begin() + marks_.back(), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return items;
}

absl::Status PickleMachine::Stop(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  stopped_ = true;
  return absl::OkStatus();
}

absl::Status PickleMachine::Mark(int) {
  if (static_cast<int64_t>(marks_.size()) >= limits_.max_marks) {
    return OverLimit("open marks", limits_.max_marks);
  }
  marks_.push_back(stack_.size());
  return absl::OkStatus();
}

absl::Status PickleMachine::Pop(int) {
  if (!marks_.empty() && available() == 0) {
    marks_.pop_back();
    return absl::OkStatus();
  }
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  stack_.pop_back();
  return absl::OkStatus();
}

absl::Status PickleMachine::PopMark(int) { return TakeMarked().status(); }

absl::Status PickleMachine::Dup(int) {
  PENSTOCK_RETURN_IF_ERROR(Need(1));
  return Push(Top());
}

absl::Status PickleMachine::NextBuffer(int) {
  return Bad("pickle_type", "there are no out-of-band buffers in a file");
}

absl::Status PickleMachine::ReadOnlyBuffer(int) { return Need(1); }

absl::Status PickleMachine::Extension(int) {
  return Bad("pickle_unknown_opcode", "copyreg extension codes unsupported");
}

}  // namespace penstock::pickle
