// Edits: what Convert changes on the way.

#ifndef PENSTOCK_API_EDITS_H_
#define PENSTOCK_API_EDITS_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"

namespace penstock {

// Changes to a checkpoint, made in the order of these fields. Names are those
// of StateDict::FromValue, of what was selected, before any change. A key is
// the last text key on the way to a tensor: "0.weight" of
// {"model": {"0.weight": tensor}}, "layers" of {"layers": [tensor]}. Text keys
// beside it that lead to no tensor (`_extra_state`) go with it. Everything else
// stays as it is: values that are no tensors, key order, sharing, cycles.
struct Edits {
  // What becomes the whole checkpoint: a path as names are written, to a
  // tensor, a dict, a list or an object; "." is the root itself. A pickled
  // nn.Module there becomes its state_dict, an OrderedDict. Empty: everything.
  std::string select;

  // Globs over whole names (core/glob.h). A tensor stays if it matches one of
  // `keep`, or there is none, and no `drop`. A dropped tensor takes its pair of
  // a dict along; in a list or tuple None takes its place, so that its
  // neighbours keep their names.
  std::vector<std::string> keep;
  std::vector<std::string> drop;

  // Taken off keys that begin so, each once.
  std::vector<std::string> strip_prefixes;
  // Then of each pair, once: the leftmost match of `first` (RE2 syntax) in a
  // key becomes `second`, where \1 is the first group.
  std::vector<std::pair<std::string, std::string>> renames;

  // Where the storages lay, for torch.load: "cpu". Empty: as it was.
  std::string map_location;

  // kFloat32, kFloat16 or kBFloat16: casts the tensors of these dtypes and
  // kFloat64 that have dimensions, by whole storages: ties and strides stay.
  std::optional<DType> dtype;

  bool any() const {
    return !select.empty() || !keep.empty() || !drop.empty() ||
           !strip_prefixes.empty() || !renames.empty() ||
           !map_location.empty() || dtype.has_value();
  }
};

}  // namespace penstock

#endif  // PENSTOCK_API_EDITS_H_
