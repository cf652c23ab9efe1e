// A tensor as torch.save writes it, taken in one step.
//
// Nine in ten bytes of a checkpoint's pickle are the thirty opcodes of
// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks),
// again and again. Taken together they give the tensor without a node for each
// part of the arguments, which nobody but the memo would remember. What differs
// in any way, errors too, is left to the handlers of the opcodes.

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <optional>

#include "compat/pickle_machine.h"
#include "compat/pickle_opcodes.h"
#include "core/python_keys.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock::pickle {
namespace {

// More than the opcodes of one tensor push, open or remember.
constexpr int64_t kRoom = 200;

// What a PUT remembers.
enum class Part : uint8_t { kKey, kLocation, kOther };

// Text that stands in the code, or that the memo had.
struct TextPart {
  absl::string_view text;
  NodeId id = kNoNode;  // of what the memo had
};

// Matches opcodes one by one; false: they are not as expected.
class CodeMatcher {
 public:
  CodeMatcher(absl::string_view code, absl::Span<const NodeId> memo)
      : rest_(code), code_bytes_(code.size()), memo_(memo) {}

  size_t used_bytes() const { return code_bytes_ - rest_.size(); }
  int64_t num_opcodes() const { return num_opcodes_; }
  absl::Span<const Part> puts() const {
    return absl::MakeConstSpan(puts_).first(num_puts_);
  }

  bool Take(Op op) {
    if (!IsNext(op)) return false;
    Skip(1);
    return true;
  }

  bool TakeBool(bool& value) {
    value = IsNext(kNewTrue);
    return Take(value ? kNewTrue : kNewFalse);
  }

  // Of what was left out (kLeftOut) there is nothing to get.
  bool TakeGet(NodeId& id) {
    uint64_t index = 0;
    if (!TakeNumber(kBinGet, 1, index) && !TakeNumber(kLongBinGet, 4, index)) {
      return false;
    }
    if (index >= memo_.size()) return false;
    id = memo_[index];
    return id != kLeftOut;
  }

  // A pickle may do without; if there is one, it is the next.
  bool TakePut(Part part) {
    uint64_t index = 0;
    if (!TakeNumber(kBinPut, 1, index) && !TakeNumber(kLongBinPut, 4, index)) {
      return true;
    }
    if (index != memo_.size() + num_puts_ || num_puts_ == puts_.size()) {
      return false;
    }
    puts_[num_puts_++] = part;
    return true;
  }

  bool TakeInt(int64_t& value) {
    uint64_t bits = 0;
    if (!TakeNumber(kBinInt1, 1, bits) && !TakeNumber(kBinInt2, 2, bits) &&
        !TakeNumber(kBinInt, 4, bits)) {
      return false;
    }
    value = static_cast<int64_t>(bits);
    if (bits <= INT32_MAX) return true;
    rest_ = absl::string_view();  // negative: nothing matches from here on
    return false;
  }

  bool TakeText(Part part, TextPart& text) {
    uint64_t size = 0;
    if (!TakeNumber(kBinUnicode, 4, size)) return TakeGet(text.id);
    if (size > rest_.size()) return false;
    text.text = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return TakePut(part);
  }

  bool TakeInts(std::array<int64_t, kMaxRank>& values, size_t& count) {
    constexpr Op kTuples[] = {kEmptyTuple, kTuple1, kTuple2, kTuple3};
    const bool is_marked = Take(kMark);
    for (count = 0; count < values.size() && TakeInt(values[count]);) ++count;
    const bool is_long = count >= std::size(kTuples);
    return is_long == is_marked && Take(is_long ? kTuple : kTuples[count]) &&
           TakePut(Part::kOther);
  }

 private:
  bool IsNext(Op op) const {
    return !rest_.empty() && static_cast<uint8_t>(rest_[0]) == op;
  }

  void Skip(size_t size) {
    rest_.remove_prefix(size);
    ++num_opcodes_;
  }

  // An opcode and its `width` bytes.
  bool TakeNumber(Op op, size_t width, uint64_t& value) {
    if (!IsNext(op) || rest_.size() <= width) return false;
    value = 0;
    for (size_t i = width; i > 0; --i) {
      value = value << 8 | static_cast<uint8_t>(rest_[i]);
    }
    Skip(1 + width);
    return true;
  }

  absl::string_view rest_;
  const size_t code_bytes_;
  const absl::Span<const NodeId> memo_;
  int64_t num_opcodes_ = 0;
  std::array<Part, 8> puts_ = {};
  size_t num_puts_ = 0;
};

struct TensorCode {
  NodeId word = kNoNode;
  NodeId storage_class = kNoNode;
  TextPart key;
  TextPart location;
  int64_t count = 0;
  int64_t offset = 0;
  std::array<int64_t, kMaxRank> shape;
  std::array<int64_t, kMaxRank> strides;
  size_t rank = 0;
  size_t num_strides = 0;
  bool requires_grad = false;
  NodeId hooks_class = kNoNode;
};

// From behind the GET of the function to its REDUCE.
bool Match(CodeMatcher& code, TensorCode& found) {
  return code.Take(kMark) && code.Take(kMark) && code.TakeGet(found.word) &&
         code.TakeGet(found.storage_class) &&
         code.TakeText(Part::kKey, found.key) &&
         code.TakeText(Part::kLocation, found.location) &&
         code.TakeInt(found.count) && code.Take(kTuple) &&
         code.TakePut(Part::kOther) && code.Take(kBinPersId) &&
         code.TakeInt(found.offset) && code.TakeInts(found.shape, found.rank) &&
         code.TakeInts(found.strides, found.num_strides) &&
         found.rank == found.num_strides &&
         code.TakeBool(found.requires_grad) &&
         code.TakeGet(found.hooks_class) && code.Take(kEmptyTuple) &&
         code.Take(kReduce) && code.TakePut(Part::kOther) &&
         code.Take(kTuple) && code.TakePut(Part::kOther) && code.Take(kReduce);
}

}  // namespace

// The text of a kStr, wherever it stands.
bool PickleMachine::FindText(NodeId id, absl::string_view& text) const {
  if (id == kNoNode) return IsPythonText(text);
  if (builder_.kind(id) != NodeKind::kStr) return false;
  text = builder_.AsBytes(id);
  return true;
}

bool PickleMachine::HasRoomForTensor() const {
  return takes_tensors_ && !is_replaying_ && sparse_memo_.empty() &&
         num_opcodes_ + kRoom <= limits_.max_opcodes &&
         static_cast<int64_t>(marks_.size()) + kRoom <= limits_.max_marks &&
         static_cast<int64_t>(stack_.size()) + kRoom <= limits_.max_stack &&
         static_cast<int64_t>(memo_.size()) + kRoom <=
             limits_.max_memo_entries &&
         cursor_.position() + cursor_.remaining() <=
             std::numeric_limits<uint32_t>::max();
}

std::optional<NodeId> PickleMachine::TakeTensor(size_t begin) {
  if (!HasRoomForTensor()) return std::nullopt;
  CodeMatcher code(cursor_.rest(), memo_);
  TensorCode found;
  if (!Match(code, found)) return std::nullopt;
  TextPart& key = found.key;
  TextPart& location = found.location;
  if (!FindText(key.id, key.text) || !FindText(location.id, location.text) ||
      static_cast<int64_t>(std::max(key.text.size(), location.text.size())) >
          limits_.max_string_bytes ||
      !resolver_.IsOrderedDict(found.hooks_class)) {
    return std::nullopt;
  }
  const PickleResolver::KnownStorage* const known = resolver_.FindStorage(
      {found.word, found.storage_class, key.text, location.text, found.count});
  const auto shape = absl::MakeConstSpan(found.shape).first(found.rank);
  const auto strides = absl::MakeConstSpan(found.strides).first(found.rank);
  if (known == nullptr || !CheckView(known->dtype, shape, strides, found.offset,
                                     known->storage->size_bytes())
                               .ok()) {
    return std::nullopt;
  }
  const size_t end = cursor_.position() + code.used_bytes();
  taken_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  // Of texts that stand in the code; views of others end with the first node.
  for (const Part part : code.puts()) {
    memo_.push_back(part == Part::kKey        ? builder_.Str(key.text)
                    : part == Part::kLocation ? builder_.Str(location.text)
                                              : kLeftOut);
  }
  num_opcodes_ += code.num_opcodes();
  cursor_.GoTo(end);
  return builder_.Tensor(
      known->storage, known->dtype, shape, strides, found.offset,
      found.requires_grad ? TensorFlags::kRequiresGrad : uint8_t{0});
}

// Runs the opcodes of all of them again, one by one, for the nodes that they
// make besides. What pickles of Python's remember they never ask for.
absl::Status PickleMachine::MakeLeftOut() {
  if (taken_.empty()) return absl::OkStatus();
  const size_t position = cursor_.position();
  std::vector<NodeId> stack;
  std::vector<size_t> marks;
  stack.swap(stack_);
  marks.swap(marks_);
  is_replaying_ = true;
  for (const TakenTensor& tensor : taken_) {
    cursor_.GoTo(tensor.begin);
    while (cursor_.position() < tensor.end) PENSTOCK_RETURN_IF_ERROR(Step());
    stack_.clear();
  }
  is_replaying_ = false;
  takes_tensors_ = false;
  taken_.clear();
  stack.swap(stack_);
  marks.swap(marks_);
  cursor_.GoTo(position);
  return absl::OkStatus();
}

}  // namespace penstock::pickle
