// TreeTensors: the tensors of a file while their tree is read.

#ifndef PENSTOCK_COMPAT_SAFETENSORS_TREE_TENSORS_H_
#define PENSTOCK_COMPAT_SAFETENSORS_TREE_TENSORS_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/state_dict.h"
#include "core/tensor.h"

namespace penstock {

using SameBytes =
    absl::FunctionRef<absl::StatusOr<bool>(const Tensor&, const Tensor&)>;

// kDataLoss: the text does not fit the file.
absl::Status BadTree(absl::string_view what);

// The file's tensors by name, and what ties say of them. Thread-compatible.
class TreeTensors {
 public:
  TreeTensors(absl::Span<const NamedTensor> tensors, SameBytes same_bytes,
              std::vector<std::string>& warnings)
      : same_bytes_(same_bytes), warnings_(warnings) {
    for (const NamedTensor& entry : tensors) {
      tensors_.emplace(entry.name, entry.tensor);
    }
  }

  // Makes the first of `names` stand for all that the file does not have, or
  // has with equal bytes. Errors: kDataLoss, same_bytes's.
  absl::Status Tie(const std::vector<std::string>& names);
  // The tensor that a cell shows; null: no such name.
  const Tensor* Use(absl::string_view name);
  // Whether a cell showed it, or one that it is tied to.
  bool IsShown(absl::string_view name) const {
    return used_.contains(name) || tied_.contains(name);
  }

 private:
  absl::flat_hash_map<std::string, Tensor> tensors_;
  absl::flat_hash_map<std::string, std::string> tied_;  // name -> the first
  absl::flat_hash_set<std::string> used_;
  const SameBytes same_bytes_;
  std::vector<std::string>& warnings_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SAFETENSORS_TREE_TENSORS_H_
