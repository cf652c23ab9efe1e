// StateDict: an ordered map from name to tensor.

#ifndef PENSTOCK_CORE_STATE_DICT_H_
#define PENSTOCK_CORE_STATE_DICT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/tensor.h"
#include "core/text_index.h"
#include "core/value.h"

namespace penstock {

// A tensor and where it hangs in its checkpoint.
struct NamedTensor {
  std::string name;  // "model.layers.0.weight"
  Tensor tensor;
  uint8_t flags = 0;    // TensorFlags
  int64_t number = -1;  // of the tensor in its graph, -1 without one
};

enum class Strictness { kStrict, kLenient };

// What LoadInto found. Names are in the order of the map they come from.
struct LoadReport {
  std::vector<std::string> missing;     // in the target, not in the source
  std::vector<std::string> unexpected;  // in the source, not in the target
  std::vector<std::string> mismatched;  // "name: source f32 [2, 3], target ..."
  int64_t num_loaded = 0;
};

// What LoadInto would do. Points into both maps.
struct LoadPlan {
  struct Copy {
    const NamedTensor* from = nullptr;
    const NamedTensor* to = nullptr;
  };
  LoadReport report;         // nothing loaded yet
  std::vector<Copy> copies;  // in the order of the target
};

// Ordered map from name to tensor, with what users know from PyTorch.
// Copies views, never bytes. Thread-compatible.
class StateDict {
 public:
  // All tensors that a checkpoint reaches, each under its path: dict keys (str
  // as is, int in decimal, others as Python's repr), list and tuple indices,
  // joined by '.'. Parameters and other wrappers of one tensor are transparent;
  // a pickled nn.Module shows its state_dict (pytorch-format.md 7) at its
  // place. An object's other tensors come by attribute name or argument index.
  // The root alone is "tensor". A tensor reached twice has two names; a name
  // that is taken gets "~2", "~3"... Cycles end; no recursion on input depth.
  //
  // Errors: kResourceExhausted where more than `max_names` names would come
  // (sharing can multiply paths).
  static absl::StatusOr<StateDict> FromValue(const Value& root,
                                             int64_t max_names = 4'000'000);

  // Appends. Errors: kAlreadyExists.
  absl::Status Add(NamedTensor entry);

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  absl::Span<const NamedTensor> entries() const { return entries_; }
  const NamedTensor* Find(absl::string_view name) const;  // null: none

  // The same tensors under other names.
  // Errors: kInvalidArgument, naming both, where two become equal.
  absl::StatusOr<StateDict> Renamed(
      const std::function<std::string(absl::string_view)>& rename) const;
  // Takes `prefix` ("module.", "_orig_mod.") off the names that have it.
  absl::StatusOr<StateDict> WithoutPrefix(absl::string_view prefix) const;

  // Copies the tensors of this map into those of the same name in `target`,
  // whose storages are in memory and writable; strides may differ, dtype and
  // shape may not. Every storage here must be in memory. With kStrict nothing
  // is copied unless all names and shapes fit.
  // Errors: kInvalidArgument (strict and something does not fit: the message
  // lists it), kFailedPrecondition (bytes not in memory).
  absl::StatusOr<LoadReport> LoadInto(StateDict& target,
                                      Strictness strictness) const;
  // Its first half: what fits by name, dtype and shape. Both maps outlive it.
  // Errors: kInvalidArgument as LoadInto; kFailedPrecondition where the bytes
  // of a target are not in memory.
  absl::StatusOr<LoadPlan> PlanLoadInto(const StateDict& target,
                                        Strictness strictness) const;

 private:
  // False, and no change, where the name is taken.
  bool TryAdd(NamedTensor&& entry);
  absl::string_view name_of(uint32_t number) const {
    return entries_[number].name;
  }

  std::vector<NamedTensor> entries_;
  TextIndex numbers_;  // of entries_, by name
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_STATE_DICT_H_
