#include "compat/safetensors_tree_tensors.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "compat/safetensors_tree.h"
#include "compat/zip_name.h"
#include "core/status_macros.h"

namespace penstock {

absl::Status BadTree(absl::string_view what) {
  return absl::DataLossError(absl::StrCat(kTreeKey, ": ", what));
}

absl::Status TreeTensors::Tie(const std::vector<std::string>& names) {
  if (names.size() < 2) return BadTree("a tie of fewer than two tensors");
  const auto kept = tensors_.find(names[0]);
  if (kept == tensors_.end()) {
    return BadTree(absl::StrCat("tied tensor ", QuotedRecordName(names[0]),
                                " is not in the file"));
  }
  const Tensor tensor = kept->second;
  for (size_t i = 1; i < names.size(); ++i) {
    if (names[i] == names[0] || tied_.contains(names[i])) {
      return BadTree(absl::StrCat("tensor ", QuotedRecordName(names[i]),
                                  " is tied twice"));
    }
    const auto [other, is_new] = tensors_.try_emplace(names[i], tensor);
    if (!is_new) {
      const Tensor& copy = other->second;
      bool same =
          copy.dtype() == tensor.dtype() && copy.shape() == tensor.shape();
      if (same) {
        PENSTOCK_ASSIGN_OR_RETURN(same, same_bytes_(tensor, copy));
      }
      if (!same) {
        warnings_.push_back(absl::StrCat(
            QuotedRecordName(names[i]), " was tied to ",
            QuotedRecordName(names[0]), ", but is another tensor now"));
        continue;
      }
      other->second = tensor;
    }
    tied_.emplace(names[i], names[0]);
  }
  return absl::OkStatus();
}

const Tensor* TreeTensors::Use(absl::string_view name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return nullptr;
  used_.insert(found->first);
  // A container that hangs in two places is told once: by either of its names.
  const auto tie = tied_.find(name);
  if (tie != tied_.end()) used_.insert(tie->second);
  return &found->second;
}

}  // namespace penstock
