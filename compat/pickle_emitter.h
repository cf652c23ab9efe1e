// PickleEmitter: the leaves of a pickle and its memo.

#ifndef PENSTOCK_COMPAT_PICKLE_EMITTER_H_
#define PENSTOCK_COMPAT_PICKLE_EMITTER_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/pickle_names.h"
#include "compat/pickle_opcodes.h"

namespace penstock::pickle {

// A place in the memo.
using MemoIndex = uint32_t;
inline constexpr MemoIndex kNoMemo = 0xFFFFFFFF;

// Appends opcodes to a string, in the forms that CPython's C pickler chooses.
// Views the names of globals, which must outlive it. Thread-compatible.
class PickleEmitter {
 public:
  explicit PickleEmitter(int protocol);

  int64_t size_bytes() const { return static_cast<int64_t>(out_.size()); }
  std::string Take() && { return std::move(out_); }

  void Code(Op op) { out_.push_back(static_cast<char>(op)); }
  void Codes(Op op, int count) { out_.append(count, static_cast<char>(op)); }

  void Bool(bool value) { Code(value ? kNewTrue : kNewFalse); }
  void Int(int64_t value);
  void BigInt(absl::string_view twos_complement);
  void Float(double value);

  // These put what they make into the memo and return where.
  MemoIndex Str(absl::string_view utf8);
  MemoIndex Py2Str(absl::string_view bytes);
  MemoIndex Put();  // the top of the stack
  void Get(MemoIndex index);

  // A string that no node stands for, or one that shares by value: from the
  // memo where an equal one is there already.
  MemoIndex SharedStr(absl::string_view utf8);
  // The memo place of an equal shared string, kNoMemo where there is none.
  MemoIndex FindSharedStr(absl::string_view utf8) const;
  // Makes `index` the place that SharedStr finds, unless there is one.
  void ShareStr(absl::string_view utf8, MemoIndex index);

  // Globals are one object each: from the memo where it is there already.
  // `name` is Python 3's. Neither text may hold a newline.
  void Global(absl::string_view module, absl::string_view name);

  // () and from 1 to 3 ints without a mark, as all tuples.
  void IntTuple(absl::Span<const int64_t> values);
  // collections.OrderedDict()
  void EmptyOrderedDict();
  // _codecs.encode(text, 'latin1'), the bytes of protocol 2, not memoised.
  void Bytes(absl::string_view bytes);

  // How a tuple of `count` items begins and ends, and where in the memo it is:
  // kNoMemo for ().
  void BeginTuple(int64_t count);
  MemoIndex EndTuple(int64_t count);

 private:
  void LittleEndian(uint64_t value, int width);

  std::string out_;
  int protocol_;
  MemoIndex next_memo_ = 0;
  absl::flat_hash_map<std::string, MemoIndex> shared_strs_;
  absl::flat_hash_map<std::pair<absl::string_view, absl::string_view>,
                      MemoIndex>
      globals_;
};

// CPython shares strings of at most one character, and those that look like
// names, among all that are equal; others are one object only where the program
// made them so (pytorch-format.md 3.4, measured on CPython 3.11).
bool SharesByValue(absl::string_view utf8);
bool HasAtMostOneCharacter(absl::string_view utf8);

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_EMITTER_H_
