// PickleResolver: what the globals, calls and persistent ids of a PyTorch
// pickle mean, without making any call.

#ifndef PENSTOCK_COMPAT_PICKLE_RESOLVE_H_
#define PENSTOCK_COMPAT_PICKLE_RESOLVE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/pickle_names.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/storage.h"

namespace penstock {

// One storage that a pickle names by a persistent id.
struct StorageReference {
  std::string key;             // not empty, no separators, no ".."
  std::optional<DType> dtype;  // of a typed class; nothing for UntypedStorage
  std::string location;        // "cpu", "cuda:0"...
  int64_t num_elements = 0;    // of `dtype`, bytes where untyped
  int64_t size_bytes = 0;      // the same in bytes, checked
};

// Gives the storage of a reference, with its location set and of exactly
// size_bytes. Called once for each key.
using StorageResolver =
    std::function<absl::StatusOr<std::shared_ptr<const Storage>>(
        const StorageReference&)>;

namespace pickle {

// Turns what is known into nodes of its own kind and leaves the rest inert
// (pytorch-format.md 5 and 5.1): plain tensors and storages, bytes, bytearray,
// set, frozenset and complex. Thread-compatible.
//
// Errors begin with their name in pytorch-format.md 17 and are kDataLoss.
class PickleResolver {
 public:
  // Both must outlive it.
  PickleResolver(GraphBuilder& builder, const StorageResolver& storages)
      : builder_(builder), storages_(storages) {}

  // To be told of each global that is made; `name` is Python 3's.
  void NoteGlobal(NodeId global, GlobalName name);

  // What `callable(*args)` stands for; an inert object where it is unknown.
  // `args` is a tuple.
  // Errors: tensor_args, tensor_overflow, tensor_bounds, pickle_type.
  absl::StatusOr<NodeId> Call(NodeId callable, NodeId args);

  // The storage of ('storage', class, key, location, count).
  // Errors: persid_bad, tensor_overflow, storage_size, storage_dtype_conflict,
  // and the storage resolver's.
  absl::StatusOr<NodeId> PersistentObject(NodeId id);

  // pickle_type for what Python cannot hash: it can be no key nor in a set.
  absl::Status CheckHashable(NodeId id) const;

  std::vector<std::string> TakeWarnings() { return std::move(warnings_); }

 private:
  enum class Role {
    kRebuildTensor,
    kRebuildTensorV2,
    kRebuildTensorV3,
    kStorageClass,  // with a dtype
    kUntypedStorage,
    kDType,  // with a dtype
    kSize,
    kEncode,
    kBytes,
    kByteArray,
    kSet,
    kFrozenSet,
    kComplex,
  };
  struct Meaning {
    Role role;
    DType dtype = DType::kUInt8;
  };
  struct KnownStorage {
    std::shared_ptr<const Storage> storage;
    DType dtype;  // kUInt8 where untyped
  };
  using Args = std::vector<NodeId>;

  static std::optional<Meaning> MeaningOf(GlobalName name);
  static std::optional<Meaning> MeaningInTorch(absl::string_view name);

  std::optional<Meaning> FindMeaning(NodeId id) const;
  Args ChildrenOf(NodeId id) const;
  void Warn(std::string text);

  // Nothing where the arguments are none that the type takes.
  absl::StatusOr<std::optional<NodeId>> CallBuiltin(Role role,
                                                    const Args& args);
  std::optional<NodeId> Encode(const Args& args);
  std::optional<NodeId> MakeByteArray(const Args& args);
  std::optional<NodeId> MakeComplex(const Args& args);
  absl::StatusOr<std::optional<NodeId>> MakeSet(Role role, const Args& args);

  absl::StatusOr<NodeId> RebuildTensor(Role role, const Args& args);
  absl::StatusOr<DType> TensorDType(Role role, const Args& args) const;
  absl::StatusOr<int64_t> Offset(NodeId id) const;
  absl::StatusOr<std::vector<int64_t>> Dims(NodeId id) const;
  void NoteHooks(NodeId hooks);
  absl::StatusOr<uint8_t> MetadataFlags(NodeId metadata);

  absl::StatusOr<StorageReference> ParseReference(const Args& id) const;
  absl::StatusOr<std::string> StorageKey(NodeId id) const;
  std::optional<std::string> Text(NodeId id) const;

  GraphBuilder& builder_;
  const StorageResolver& storages_;
  absl::flat_hash_map<NodeId, Meaning> meanings_;
  absl::flat_hash_map<std::string, KnownStorage> known_storages_;
  std::vector<std::string> warnings_;
};

}  // namespace pickle
}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_RESOLVE_H_
