// ApplyEdits: Edits done to the tree of a checkpoint. Private to api/.

#ifndef PENSTOCK_API_APPLY_EDITS_H_
#define PENSTOCK_API_APPLY_EDITS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/edits.h"
#include "codec/derived_source.h"
#include "core/value.h"

namespace penstock {

struct EditedCheckpoint {
  Value root;
  // Of the storages in `root` that the old source cannot give. The others have
  // the numbers and sizes that they had, but may be new objects.
  std::vector<Derivation> derivations;
  // For people, one line each: what was done, and what had no effect.
  std::vector<std::string> notes;
};

// Reads no bytes of tensors. Iterative: no checkpoint makes it recurse.
//
// Errors:
//   kNotFound         nothing is at `select`
//   kInvalidArgument  a pattern or its replacement is no RE2; `dtype` is no
//                     target of a cast; two names would become equal; a tensor
//                     cannot go without another that stays (parts of one sparse
//                     tensor, a dict that two paths share), or is the root; a
//                     storage that would be cast is viewed as two dtypes. The
//                     message names both tensors.
//   kResourceExhausted  more names than StateDict::FromValue allows
absl::StatusOr<EditedCheckpoint> ApplyEdits(const Value& root,
                                            const Edits& edits);

// Its steps, each over the whole tree of `root`.
absl::StatusOr<Value> Select(const Value& root, const std::string& path);
absl::StatusOr<Value> EditNames(const Value& root, const Edits& edits,
                                std::vector<std::string>& notes);
absl::StatusOr<Value> MoveStorages(const Value& root,
                                   const std::string& location);
absl::StatusOr<Value> CastTensors(const Value& root, DType to,
                                  std::vector<Derivation>& derivations,
                                  std::vector<std::string>& notes);

}  // namespace penstock

#endif  // PENSTOCK_API_APPLY_EDITS_H_
