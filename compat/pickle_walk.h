// PickleWalker: what a pickle names and calls, found without being refused.
//
// A reader (compat/pickle_machine.h) refuses what is not exactly right; whoever
// hides something relies on that. This walk goes on wherever some unpickler
// would (CPython's in C, its twin in Python, Python 2's, torch's), and knows of
// each value only what matters: text, a global, a tuple of such.

#ifndef PENSTOCK_COMPAT_PICKLE_WALK_H_
#define PENSTOCK_COMPAT_PICKLE_WALK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/byte_window.h"
#include "compat/scan.h"

namespace penstock {

// How a text of a pickle lies in its bytes.
enum class PickleCoding : uint8_t {
  kRaw,           // as it is
  kQuoted,        // a literal of Python 2
  kEscaped,       // Latin-1 with \uXXXX
  kLatin,         // bytes as Latin-1, that as UTF-8
  kEscapedLatin,  // bytes as Latin-1, that as kEscaped
};

// A text or bytes in the file.
struct PickleText {
  int64_t offset = 0;
  int64_t size_bytes = 0;
  PickleCoding coding = PickleCoding::kRaw;
  bool loaded = false;  // by the pickle itself
};

struct PickleWalk {
  enum class End {
    kStop,    // `end` is behind STOP
    kBroken,  // no opcode at `end`
    kCut,     // the opcode at `end` goes beyond the end of the file
    kLimit,   // over a limit: nothing behind `end` was seen
  };

  int64_t begin = 0;
  int64_t end = 0;
  End how = End::kBroken;
  bool has_proto = false;  // it begins with PROTO
  int64_t num_opcodes = 0;
  // kGlobal and kPickle, without their record; offsets are the file's.
  std::vector<ScanFinding> findings;
  int64_t num_left_out = 0;
  // The first byte of an array that joblib has put between the opcodes; -1
  // where there is none. joblib goes on behind it, other programs with it.
  int64_t first_array = -1;
  // Texts that are files of their own: what torch.storage._load_from_bytes
  // gets, and what begins like a pickle or a zip file.
  std::vector<PickleText> payloads;
};

// Its limits, of one pickle; what is over them is PickleWalk::End::kLimit.
inline constexpr int64_t kMaxWalkStack = 4 << 20;
inline constexpr int64_t kMaxWalkMemo = 4 << 20;  // texts, globals, tuples
inline constexpr int64_t kMaxWalkTupleItems = 8 << 20;
inline constexpr int64_t kMaxWalkGlobals = 20'000;
inline constexpr int64_t kMaxWalkPayloads = 1 << 20;

// Whether any unpickler knows this opcode.
bool IsPickleOpcode(uint8_t byte);

// `text`, decoded, from a window on the file; nothing where it does not decode
// or is longer than `max_bytes`.
std::optional<std::string> DecodePickleText(ByteWindow& window,
                                            const PickleText& text,
                                            int64_t max_bytes);

// Walks one pickle, with what joblib has put into it. Linear in its length, no
// recursion, memory by the limits above (at most 400 MiB).
class PickleWalker {
 public:
  // `window` and `budget` outlive it. Each opcode costs one of `budget`, each
  // line also its length; without any left the walk ends (kLimit).
  // Whether the walk goes over joblib's arrays or reads them as opcodes.
  enum class Arrays : uint8_t { kSkip, kRead };

  PickleWalker(ByteWindow& window, ByteWindow& names, int64_t& budget,
               Arrays arrays = Arrays::kSkip);

  PickleWalk Walk(int64_t begin);

 private:
  enum class Kind : uint8_t {
    kPlain,
    kText,
    kGlobal,
    kTuple,
    kAttribute,
    kMade,        // by a call of a global whose objects matter
    kArrayState,  // of joblib's wrapper of an array
    // As plain as kPlain:
    kNumber,
    kBuilt,     // it has got its state
    kRecalled,  // out of the memo
  };

  // A value on the stack or in the memo.
  struct Symbol {
    Kind kind = Kind::kPlain;
    PickleCoding coding = PickleCoding::kRaw;   // kText
    ScanLevel if_called = ScanLevel::kUnknown;  // kAttribute
    // kText: its bytes. kGlobal, kMade: the global's number. kTuple: its first
    // items in tuple_items_; where none is of interest, -1 - the product of its
    // numbers. kArrayState: bytes, kObjects where the array is pickled.
    int64_t place = 0;
    // kText: bytes; kTuple: items; kNumber: itself; kMade: bytes of an item, of
    // a dtype; kArrayState: 1 where padding comes first.
    int64_t size = 0;

    bool plain() const { return kind == Kind::kPlain || kind >= Kind::kNumber; }
  };
  static constexpr int64_t kObjects = -1;

  // Callables whose arguments decide.
  enum class Special : uint8_t {
    kNone,
    kGetattr,
    kPartial,
    kType,
    kEncode,
    kLoadBytes,
    kFromType,
    kAttribute,       // what getattr gave
    kCallsArguments,  // an allowed one that may call what it gets
    kDtype,
    kArrayWrapper,  // joblib's
    kMemmap,        // opens a file, but not where _reconstruct makes it
  };

  struct Global {
    std::string module;
    std::string name;
    int64_t offset = 0;
    uint8_t opcode = 0;
    uint8_t called_by = 0;  // an opcode; 0: nothing
    Special special = Special::kNone;
    // How often it got onto the stack, and was called from there.
    int64_t num_pushed = 0;
    int64_t num_called = 0;
    ScanLevel raised = ScanLevel::kAllow;
    absl::string_view reason;  // for `raised`
  };

  // An opcode with what follows it.
  struct Instruction {
    uint8_t opcode = 0;
    int64_t offset = 0;
    int64_t end = 0;
    uint64_t number = 0;
    PickleText text;          // strings, the first line
    absl::string_view first;  // lines, until the next read
    std::string module;       // the first of two lines
  };

  bool Read(Instruction& at);
  bool ReadLine(int64_t begin, Instruction& at);
  bool ReadCounted(int width, Instruction& at);
  void Apply(const Instruction& at);
  void ApplyText(const Instruction& at);
  void ApplyStack(const Instruction& at);
  void ApplyMemo(const Instruction& at);
  void ApplyCall(const Instruction& at);
  void ApplyFill(const Instruction& at);
  void ApplyBuild(const Instruction& at);

  void Push(const Symbol& symbol);
  Symbol Pop();
  // Takes everything above the last mark, and the mark.
  std::vector<Symbol> PopToMark();
  void PopMark();
  // What SETITEMS adds to an object, if it is the state of joblib's wrapper.
  std::optional<Symbol> ArrayStateOf(absl::Span<const Symbol> items);
  bool SkipArray();
  void BeginNested();
  void EndNested();
  Symbol MakeTuple(absl::Span<const Symbol> items);
  // The first items of a tuple, as many as are kept.
  absl::Span<const Symbol> ItemsOf(const Symbol& tuple) const;
  void Put(uint64_t key, const Symbol& symbol);
  void Get(uint64_t key);

  std::optional<std::string> TextOf(const Symbol& symbol);
  Symbol Name(const std::string& module, const std::string& name,
              const Instruction& at);
  void StackGlobal(const Instruction& at);
  Symbol Call(const Symbol& callee, const Symbol& args, const Instruction& at);
  Symbol CallGlobal(int64_t number, const Symbol& args, const Instruction& at);
  Symbol GetAttribute(int64_t number, const Symbol& args,
                      const Instruction& at);
  Symbol Encode(int64_t number, const Symbol& args);
  Symbol MakeDtype(int64_t number, const Symbol& args);
  static Special SpecialOf(absl::string_view module, absl::string_view name);
  void MakePartial(int64_t number, const Symbol& args);
  void LoadBytes(int64_t number, const Symbol& args);
  // `number` calls them; -1: a persistent id does.
  void CallItems(int64_t number, const Symbol& tuple, const Instruction& at);
  Symbol Persistent(const Symbol& id, const Instruction& at);
  void Raise(int64_t number, ScanLevel level, absl::string_view reason);
  void Report(ScanLevel level, absl::string_view reason, const Instruction& at);
  enum class Loaded : uint8_t { kNo, kYes };
  void AddPayload(const Symbol& text, Loaded loaded);
  ScanLevel LevelOf(const Global& global, bool called) const;
  void Finish();

  ByteWindow& window_;
  ByteWindow& names_;  // for looking back
  int64_t& budget_;
  const Arrays arrays_;
  PickleWalk walk_;
  bool over_limit_ = false;

  // What one load of a pickle has for itself.
  struct Machine {
    std::vector<Symbol> stack;
    std::vector<size_t> marks;  // heights of the stack
    // What is not plain. How many keys were put is counted apart: all below
    // memo_dense were, and those of memo_sparse.
    absl::flat_hash_map<uint64_t, Symbol> memo;
    uint64_t memo_dense = 0;
    absl::flat_hash_set<uint64_t> memo_sparse;
  };
  Machine now_;
  std::vector<Machine> outer_;        // of pickles within joblib's
  std::optional<Symbol> next_array_;  // kArrayState, where BUILD found one
  bool has_wrapper_ = false;
  std::vector<Symbol> tuple_items_;
  std::vector<Global> globals_;
  absl::flat_hash_map<std::pair<std::string, std::string>, int64_t> numbers_;
  absl::flat_hash_map<int64_t, std::string> texts_;  // by offset, some
  absl::flat_hash_set<std::pair<const char*, uint8_t>> reported_;
  absl::flat_hash_set<int64_t> payload_offsets_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_WALK_H_
