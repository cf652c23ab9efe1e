// WritePickle: a Value as the data.pkl of a PyTorch checkpoint.

#ifndef PENSTOCK_COMPAT_PICKLE_WRITER_H_
#define PENSTOCK_COMPAT_PICKLE_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compat/pickle_names.h"
#include "core/value.h"

namespace penstock {

struct PickleWriteOptions {
  // 2, which every PyTorch reads, or 4. A value that protocol 2 cannot hold
  // raises it to 4 by itself, with a warning.
  int protocol = 2;
  int64_t max_bytes = int64_t{1} << 30;
  // kZip or kLegacy.
  PersistentIds persistent_ids = PersistentIds::kZip;
};

struct PickledCheckpoint {
  std::string pickle;
  // Numbers of the graph's storages in order of first occurrence: the record
  // `data/i` is storage_order[i].
  // The key of that storage is i, in decimal. torch's legacy keys are
  // addresses, so that no two of its files are equal; ours always are.
  std::vector<int64_t> storage_order;
  // Numbers of the storages that some place calls an UntypedStorage, ascending.
  std::vector<int64_t> untyped_storages;
  std::vector<std::string> warnings;  // for people
};

// Writes `root` as CPython's C pickler and torch.save 2.13 do, byte for byte
// for state_dicts and for what was read from a PyTorch file
// (pytorch-format.md 3.4 and 13), with two exceptions that
// torch.load(weights_only=True) needs: empty bytes go through _codecs.encode
// like all others, and tensors of a storage that is viewed as several types all
// become _rebuild_tensor_v3 over an UntypedStorage, where torch.save refuses.
//
// Iterative: a value may nest as deep as memory holds.
//
// Errors:
//   kInvalidArgument    a global's name holds a newline; a tuple, set or
//                       object that contains itself with nothing in between
//                       that Python could make first; an unknown protocol
//   kResourceExhausted  pickle_limit: more than max_bytes
absl::StatusOr<PickledCheckpoint> WritePickle(
    const Value& root, const PickleWriteOptions& options = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_WRITER_H_
