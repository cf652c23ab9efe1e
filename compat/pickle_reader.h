// ReadPickle: a PyTorch pickle as a Value, without executing anything.

#ifndef PENSTOCK_COMPAT_PICKLE_READER_H_
#define PENSTOCK_COMPAT_PICKLE_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "compat/pickle_cursor.h"
#include "compat/pickle_surroundings.h"
#include "core/value.h"

namespace penstock {

// What one pickle may ask for (pytorch-format.md 16).
struct PickleLimits {
  int64_t max_pickle_bytes = int64_t{1} << 30;    // up to STOP
  int64_t max_string_bytes = int64_t{256} << 20;  // of one string or line
  int64_t max_long_bytes = 64 << 10;              // of one integer
  int64_t max_opcodes = 200'000'000;
  int64_t max_nodes = 50'000'000;
  int64_t max_stack = 10'000'000;
  int64_t max_marks = 10'000;
  int64_t max_memo_entries = 50'000'000;
};

struct PickleResult {
  Value root;
  int64_t consumed_bytes = 0;  // to behind STOP; what follows is the caller's
  // Every "module name" that the pickle names, also where nothing refers to it;
  // each once, in order, under Python 3's names.
  std::vector<std::string> globals;
  // For people: what was understood but left out.
  std::vector<std::string> warnings;
};

// Reads the pickle at the front of `input`, of any protocol from 0 to 5.
//
// Builds a graph and can call nothing: what Python would build by a call is a
// node of its own kind where PickleResolver knows it, else an inert object.
// Globals have Python 3's names. Each string of the stream is a node of its
// own, shared only through the memo. Time is linear in the pickle; nothing
// recurses.
//
// Errors, each beginning with its name in pytorch-format.md 17 and ending with
// opcode and offset, such as "pickle_underflow: needs 2 items, found 1 (REDUCE
// at byte 812)":
//   kDataLoss           pickle_truncated, pickle_unknown_opcode,
//                       pickle_underflow, pickle_no_mark, pickle_memo,
//                       pickle_type, pickle_protocol, pickle_utf8,
//                       pickle_number, and PickleResolver's
//   kResourceExhausted  pickle_limit: beyond `limits`
//   the resolver's own  for a storage
//
// Where the input is a file, bytes that are only there to be opened by
// _load_from_bytes stay in it.
absl::StatusOr<PickleResult> ReadPickle(const PickleInput& input,
                                        const PickleSurroundings& around,
                                        const PickleLimits& limits = {});

// The same for the data.pkl of a zip file.
absl::StatusOr<PickleResult> ReadPickle(absl::Span<const uint8_t> pickle,
                                        const StorageResolver& storages,
                                        const PickleLimits& limits = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_READER_H_
