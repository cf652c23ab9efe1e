// PickleMachine: the stack, the memo and the opcodes of a pickle.

#ifndef PENSTOCK_COMPAT_PICKLE_MACHINE_H_
#define PENSTOCK_COMPAT_PICKLE_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/pickle_cursor.h"
#include "compat/pickle_names.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_resolve.h"
#include "core/graph_builder.h"

namespace penstock::pickle {

// In the memo: a part of a tensor that was taken in one step (TakeTensor).
inline constexpr NodeId kLeftOut = kNoNode - 1;

// Runs one pickle, once. Thread-compatible.
//
// A handler checks what it takes before it takes it, and what it makes goes
// through Push, which keeps the limits. Of CPython's unpickler it keeps the
// rule that no opcode but those that end a mark reaches below the top mark.
class PickleMachine {
 public:
  // All must outlive it.
  PickleMachine(const PickleInput& input, const PickleSurroundings& around,
                const PickleLimits& limits);

  absl::StatusOr<PickleResult> Run() &&;

 private:
  // `operand` is the row's: the width of a length, a count, a constant.
  using Handler = absl::Status (PickleMachine::*)(int operand);
  struct OpRow {
    uint8_t code;
    absl::string_view name;
    Handler handler;
    int operand;
  };
  static const OpRow kRows[];
  struct OpTable;

  absl::Status Step();

  // Proto to ByteArray: what stands in the stream itself.
  absl::Status Proto(int);
  absl::Status Frame(int);
  absl::Status Constant(int which);  // 0 False, 1 True, 2 None
  absl::Status IntLine(int);
  absl::Status LongLine(int);
  absl::Status Unsigned(int width);
  absl::Status BinInt(int);
  absl::Status Long(int width);
  absl::Status FloatLine(int);
  absl::Status BinFloat(int);
  absl::Status StringLine(int);
  absl::Status Py2String(int width);
  absl::Status UnicodeLine(int);
  absl::Status Unicode(int width);
  absl::Status Bytes(int width);
  absl::Status ByteArray(int width);
  absl::Status PushInteger(absl::string_view line);
  absl::Status PushStr(absl::string_view utf8);
  absl::StatusOr<bool> LendBytes(uint64_t size);
  bool IsLent(NodeId id) const;

  // The stack.
  absl::Status Stop(int);
  absl::Status Mark(int);
  absl::Status Pop(int);
  absl::Status PopMark(int);
  absl::Status Dup(int);
  absl::Status NextBuffer(int);
  absl::Status ReadOnlyBuffer(int);
  absl::Status Extension(int);
  int64_t available() const;  // above the top mark
  absl::Status Need(int64_t count) const;
  NodeId Top() const { return stack_.back(); }
  NodeId TakeTop();
  absl::Status Push(NodeId id);
  // The items above the top mark, which goes with them.
  absl::StatusOr<std::vector<NodeId>> TakeMarked();

  // The memo.
  absl::Status Put(int width);  // 0: a line
  absl::Status Get(int width);
  absl::Status Memoize(int);
  absl::StatusOr<uint32_t> TakeIndex(int width);
  absl::Status Remember(uint32_t index);
  absl::StatusOr<NodeId> Recall(uint32_t index);

  // Containers. The operand of those that come with and without a mark: 1 for
  // the empty or single form, 0 for the marked one.
  absl::Status List(int empty);
  absl::Status Append(int single);
  absl::Status Tuple(int count);  // -1: to the mark
  absl::Status Dict(int empty);
  absl::Status SetItem(int single);
  absl::Status EmptySet(int);
  absl::Status AddItems(int);
  absl::Status FrozenSet(int);
  absl::Status SetPairs(NodeId mapping, absl::Span<const NodeId> items);

  // Globals, objects, storages.
  absl::Status Global(int);
  absl::Status StackGlobal(int);
  absl::Status Reduce(int);
  absl::Status NewObj(int);
  absl::Status NewObjEx(int);
  absl::Status Inst(int);
  absl::Status Obj(int);
  absl::Status Build(int);
  absl::Status ReplaceBareTensor(NodeId tensor);
  absl::Status PersId(int);
  absl::Status BinPersId(int);
  absl::StatusOr<NodeId> TakeGlobalLines();
  void NoteGlobal(NodeId global, GlobalName name);
  GlobalName Python3Name(GlobalName name) const;
  absl::Status CheckCall(NodeId callable, NodeId args) const;
  absl::Status PushCall(NodeId callable, NodeId args);

  // Tensors as torch.save writes them. The function that rebuilds one was just
  // got, by an opcode at `begin`; nothing: what follows is no such tensor.
  struct TakenTensor {
    uint32_t begin;
    uint32_t end;
  };
  std::optional<NodeId> TakeTensor(size_t begin);
  bool HasRoomForTensor() const;
  bool FindText(NodeId id, absl::string_view& text) const;
  absl::Status MakeLeftOut();

  PickleCursor cursor_;
  const PickleLimits& limits_;
  int64_t num_opcodes_ = 0;
  int protocol_ = 0;
  bool stopped_ = false;

  GraphBuilder builder_;
  PickleResolver resolver_;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;  // what stack_ held when each was set
  // Almost every pickle numbers its memo 0, 1, 2...; the map takes the rest, so
  // that a large index costs nothing.
  std::vector<NodeId> memo_;
  absl::flat_hash_map<uint32_t, NodeId> sparse_memo_;
  // Bytes that were left in the file: empty here, and for one call only.
  absl::flat_hash_set<NodeId> lent_;
  // Where the memo has tensors that still wait for their state.
  absl::flat_hash_map<NodeId, uint32_t> bare_tensors_;

  bool takes_tensors_;
  bool is_replaying_ = false;  // in MakeLeftOut
  std::vector<TakenTensor> taken_;

  std::vector<std::string> globals_;
  absl::flat_hash_set<std::string> seen_globals_;
};

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_MACHINE_H_
