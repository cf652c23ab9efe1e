// PickleSurroundings: what lies around a pickle, the storages and files that it
// names.

#ifndef PENSTOCK_COMPAT_PICKLE_SURROUNDINGS_H_
#define PENSTOCK_COMPAT_PICKLE_SURROUNDINGS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "compat/pickle_names.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {

// A part of another storage that old files call a storage (torch 0.1.10 to
// 0.4.0). In bytes, within the other.
struct StorageView {
  std::string key;
  int64_t offset_bytes = 0;
  int64_t size_bytes = 0;
};

// One storage that a pickle names by a persistent id.
struct StorageReference {
  std::string key;             // not empty, no separators, no ".."
  bool key_is_int = false;     // it is the text of an int
  std::optional<DType> dtype;  // of a typed class; nothing for UntypedStorage
  std::string location;        // "cpu", "cuda:0"...
  int64_t num_elements = 0;    // of `dtype`, bytes where untyped
  int64_t size_bytes = 0;      // the same in bytes, checked
  // If set, the view is what is asked for, and the rest says of what. Only in
  // PersistentIds::kLegacy.
  std::optional<StorageView> view;
};

// Gives the storage of a reference, with its location set and of exactly
// size_bytes, of the view's where there is one. Called once for each key (again
// where that failed), and once for each view's key, by then its `key` has had
// its call.
using StorageResolver =
    std::function<absl::StatusOr<std::shared_ptr<const Storage>>(
        const StorageReference&)>;

// A file in a bytes object, and where in the pickle's own file it is; -1 where
// it is only in memory.
struct NestedFile {
  std::shared_ptr<const RandomAccessFile> file;
  int64_t offset = -1;
};

// The one storage that such a file holds.
struct NestedStorage {
  std::shared_ptr<const Storage> storage;
  std::optional<DType> dtype;  // nothing where untyped
};

// Opens what torch.storage._load_from_bytes is given (pytorch-format.md 5);
// nothing where it holds something else than a storage.
using NestedResolver =
    std::function<absl::StatusOr<std::optional<NestedStorage>>(NestedFile)>;

// What a number stands for in a tar file: a tensor, else a storage.
struct KeyedObject {
  std::optional<Tensor> tensor;
  std::shared_ptr<const Storage> storage;
  DType dtype = DType::kUInt8;  // of the storage
};

// Called once for each key that a pickle names. Errors: persid_bad.
using ObjectResolver = std::function<absl::StatusOr<KeyedObject>(int64_t key)>;

// How a pickle's reader gets at them.
struct PickleSurroundings {
  PersistentIds persistent_ids = PersistentIds::kZip;
  StorageResolver storages;  // may be null with kNone and kTar
  ObjectResolver objects;    // null but with kTar
  NestedResolver nested;     // null: _load_from_bytes stays an inert object
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_SURROUNDINGS_H_
