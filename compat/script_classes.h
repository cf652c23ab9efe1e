// ScriptClasses: which attributes of a TorchScript module are parameters and
// buffers, as the archive's code says.

#ifndef PENSTOCK_COMPAT_SCRIPT_CLASSES_H_
#define PENSTOCK_COMPAT_SCRIPT_CLASSES_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace penstock {

// What stands in state_dict() of one class of modules.
struct ScriptClass {
  absl::flat_hash_set<std::string> parameters;
  absl::flat_hash_set<std::string> buffers;
};

// The classes of a TorchScript archive, read where they are asked for. Of the
// code only whole lines of these forms are looked at, and nothing is run:
//
//   class Linear(Module):
//     __parameters__ = ["weight", "bias", ]
//     __buffers__ = ["mask", ]
//     mask : Optional[Tensor]
//
// (a buffer of the last kind is in no state_dict() of torch's). Thread-
// compatible.
class ScriptClasses {
 public:
  // Gives the source of a Python module ("__torch__.net"), empty where the
  // archive has none.
  using SourceReader =
      std::function<absl::StatusOr<std::string>(absl::string_view module)>;

  explicit ScriptClasses(SourceReader read) : read_(std::move(read)) {}

  // Null for what is no module. Valid as long as this object.
  // Errors: the reader's.
  absl::StatusOr<const ScriptClass*> Find(absl::string_view module,
                                          absl::string_view name);

 private:
  void Parse(absl::string_view module, absl::string_view source);

  const SourceReader read_;
  absl::flat_hash_set<std::string> modules_;  // that were read
  absl::flat_hash_map<std::string, std::unique_ptr<ScriptClass>> classes_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SCRIPT_CLASSES_H_
