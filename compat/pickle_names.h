// The names that pickles use: Python 2's for Python 3's, storage classes for
// dtypes.

#ifndef PENSTOCK_COMPAT_PICKLE_NAMES_H_
#define PENSTOCK_COMPAT_PICKLE_NAMES_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "core/dtype.h"

namespace penstock {

// A module and a name in it. Views text that outlives it; thread-compatible.
struct GlobalName {
  absl::string_view module;
  absl::string_view name;
};

// How a pickle names the storages that lie outside of it (pytorch-format.md 4).
enum class PersistentIds {
  kNone,     // there are none: pickle.dump
  kZip,      // ('storage', class, key, location, count)
  kPackage,  // the same; ('reduce_package', number, function, arguments), of
             // torch.package, without the number up to torch 1.9
  kLegacy,   // the same and (view key, offset, count) or None;
             // ('module', class, source file, source)
  kTar,      // "94382700" for a tensor or a storage;
             // (class, source file, source)
};

// Pickles of protocol 0 to 2 name globals as Python 2 did. These two are what
// CPython's `fix_imports` does on reading and on writing (its _compat_pickle);
// a name that neither side renamed comes back as it is.
GlobalName ToPython3(GlobalName python2);
GlobalName ToPython2(GlobalName python3);

// "FloatStorage" for kFloat32: libtorch's name of the scalar type + "Storage",
// in module `torch`. Every dtype has one.
absl::string_view StorageClassName(DType dtype);

// True for the 17 dtypes whose storage class Python's torch has. Tensors of the
// others are written over an UntypedStorage (pytorch-format.md 4.1).
bool HasStorageClass(DType dtype);

// The reverse of StorageClassName; nothing for any other text.
std::optional<DType> DTypeOfStorageClass(absl::string_view class_name);

// From a global of module `torch`: the dtype names, and torch's aliases ("half"
// for "float16").
std::optional<DType> DTypeFromTorchName(absl::string_view name);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_NAMES_H_
