// ReadPt2Config: which tensors an exported program has, and where.

#ifndef PENSTOCK_COMPAT_PT2_CONFIG_H_
#define PENSTOCK_COMPAT_PT2_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/dtype.h"

namespace penstock {

// One entry of a config: a view of a record beside it, or something else.
struct Pt2Entry {
  std::string name;
  std::string path_name;    // of the record
  bool is_tensor = false;   // it has a tensor_meta
  bool is_pickled = false;  // the record is a torch.save of its own
  bool is_param = false;
  bool requires_grad = false;
  DType dtype = DType::kUInt8;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  int64_t offset = 0;  // of the storage, in elements
};

// Reads the JSON of a *_weights_config.json or *_constants_config.json: entries
// in order. Fields that are not known are left alone.
//
// Errors: kDataLoss (pt2_config: no JSON, a field of another kind, a name
// twice, no record), kUnimplemented (unsupported_format: a dtype or layout that
// is not known, a size that is no number), each with the entry's name.
absl::StatusOr<std::vector<Pt2Entry>> ReadPt2Config(absl::string_view json);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT2_CONFIG_H_
