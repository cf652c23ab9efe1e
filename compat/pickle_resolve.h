// PickleResolver: what the globals, calls and persistent ids of a PyTorch
// pickle mean, without making any call.

#ifndef PENSTOCK_COMPAT_PICKLE_RESOLVE_H_
#define PENSTOCK_COMPAT_PICKLE_RESOLVE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/pickle_names.h"
#include "compat/pickle_surroundings.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/text_index.h"

namespace penstock {

namespace pickle {

// Turns what is known into nodes of its own kind and leaves the rest inert
// (pytorch-format.md 5 and 5.1): plain tensors and storages, bytes, bytearray,
// set, frozenset and complex; the tensors of torch 0.1.10, which are objects
// with a state; storages that are files within bytes. Thread-compatible.
//
// Errors begin with their name in pytorch-format.md 17 and are kDataLoss, but
// pickle_limit is kResourceExhausted.
class PickleResolver {
 public:
  // Both must outlive it. Calls make at most `max_made_bytes` of bytes and
  // bytearrays: each is a copy, and one text may be the argument of many.
  PickleResolver(GraphBuilder& builder, const PickleSurroundings& around,
                 int64_t max_made_bytes)
      : builder_(builder), around_(around), made_bytes_left_(max_made_bytes) {}

  // To be told of each global that is made; `name` is Python 3's.
  void NoteGlobal(NodeId global, GlobalName name);

  // What `callable(*args)` stands for; an inert object where it is unknown.
  // `args` is a tuple.
  // Errors: tensor_args, tensor_overflow, tensor_bounds, pickle_type,
  // pickle_limit.
  absl::StatusOr<NodeId> Call(NodeId callable, NodeId args);

  // The storage, or the class, that a persistent id stands for.
  // Errors: persid_bad, tensor_overflow, tensor_bounds, storage_size,
  // storage_dtype_conflict, and the storage resolver's.
  absl::StatusOr<NodeId> PersistentObject(NodeId id);

  // True for torch.storage._load_from_bytes where there is a nested resolver.
  bool OpensFiles(NodeId id) const;
  // Calling it with `bytes`, a node that stands for all of `file`, gives the
  // file's storage from now on. False where it holds none.
  absl::StatusOr<bool> Lend(NodeId bytes, NestedFile file);

  // True for torch.FloatTensor() and the like: a tensor once it has its state.
  bool IsBareTensor(NodeId id) const;
  // That tensor; nothing where the state is none of a tensor.
  // Errors: as Call.
  absl::StatusOr<std::optional<NodeId>> BareTensorWith(NodeId state);

  struct KnownStorage {
    std::string key;
    bool key_is_int;
    std::shared_ptr<const Storage> storage;
    DType dtype;  // kUInt8 where untyped
  };
  // The parts of ('storage', class, key, location, count).
  struct StorageParts {
    NodeId word;
    NodeId type;
    absl::string_view key;
    absl::string_view location;
    int64_t count;
  };
  // What PersistentObject finds for it in a zip file, without a node; valid
  // until the next one is known. Null for other pickles, and for every error,
  // which PersistentObject will say again.
  const KnownStorage* FindStorage(const StorageParts& parts);

  // True for torch._utils._rebuild_tensor_v2, as it was last named.
  bool RebuildsTensor(NodeId id) const { return id == rebuild_tensor_; }
  // True for the global collections.OrderedDict.
  bool IsOrderedDict(NodeId id) const;

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
    kDType,        // with a dtype
    kTensorClass,  // torch.FloatTensor
    kLoadFromBytes,
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
  // A storage node that is a part of another storage.
  struct KnownView {
    std::string key;  // of the other storage
    StorageView view;
    std::shared_ptr<const Storage> root;     // that storage
    std::shared_ptr<const Storage> storage;  // the part, as one of its own
  };
  using Args = absl::InlinedVector<NodeId, 8>;

  static std::optional<Meaning> MeaningOf(GlobalName name);
  static std::optional<Meaning> MeaningInTorch(absl::string_view name);
  static std::optional<Meaning> MeaningOfClass(absl::string_view name);

  std::optional<Meaning> FindMeaning(NodeId id) const;
  Args ChildrenOf(NodeId id) const;
  void Warn(std::string text);

  // Nothing where the arguments are none that the type takes.
  absl::StatusOr<std::optional<NodeId>> CallBuiltin(Role role,
                                                    const Args& args);
  // What encoding a str as Latin-1 gives; nothing where the arguments are other
  // ones.
  absl::StatusOr<std::optional<std::string>> Latin1Bytes(const Args& args);
  absl::StatusOr<std::optional<NodeId>> Encode(const Args& args);
  absl::StatusOr<std::optional<NodeId>> MakeByteArray(const Args& args);
  absl::Status Afford(size_t num_bytes);
  std::optional<NodeId> MakeComplex(const Args& args);
  absl::StatusOr<std::optional<NodeId>> MakeSet(Role role, const Args& args);

  absl::StatusOr<std::optional<NodeId>> LoadFromBytes(const Args& args);

  absl::StatusOr<NodeId> RebuildTensor(Role role, const Args& args);
  absl::StatusOr<NodeId> MakeTensor(const Args& args, DType dtype,
                                    uint8_t flags);
  // Where the tensor of a storage node lies, once it was proven to be within
  // its view.
  absl::StatusOr<Tensor> RootTensor(NodeId storage, const Tensor& tensor) const;
  absl::StatusOr<DType> TensorDType(Role role, const Args& args) const;
  absl::StatusOr<int64_t> Offset(NodeId id) const;
  absl::StatusOr<std::vector<int64_t>> Dims(NodeId id) const;
  void NoteHooks(NodeId hooks);
  absl::StatusOr<uint8_t> MetadataFlags(NodeId metadata);

  std::optional<NodeId> PackagedObject(NodeId id);
  absl::StatusOr<NodeId> TarObject(NodeId id);
  absl::StatusOr<NodeId> ClassWithSource(absl::Span<const NodeId> parts);
  absl::StatusOr<StorageReference> ParseReference(const Args& id) const;
  // Its dtype; false where it is no storage class.
  bool TakeStorageClass(NodeId id, StorageReference& reference) const;
  static absl::Status CountBytes(StorageReference& reference);
  static absl::string_view KeyProblem(absl::string_view key);
  absl::StatusOr<std::optional<StorageView>> ParseView(
      NodeId id, const StorageReference& root) const;
  absl::string_view known_key(uint32_t number) const {
    return known_storages_[number].key;
  }
  // Null where no storage has the key; valid until the next one is known.
  const KnownStorage* FindKnown(absl::string_view key) const;
  absl::StatusOr<const KnownStorage*> Know(const StorageReference& reference);
  absl::StatusOr<NodeId> ViewNode(const StorageReference& reference,
                                  const KnownStorage& root);
  absl::StatusOr<std::string> StorageKey(NodeId id) const;
  std::optional<std::string> Text(NodeId id) const;

  GraphBuilder& builder_;
  const PickleSurroundings& around_;
  int64_t made_bytes_left_;
  absl::flat_hash_map<NodeId, Meaning> meanings_;
  NodeId rebuild_tensor_ = kNoNode;
  std::vector<KnownStorage> known_storages_;
  // The first have the keys "0", "1", "2"..., as torch has it; of the rest,
  // known_keys_ knows.
  uint32_t num_in_order_ = 0;
  TextIndex known_keys_;
  absl::node_hash_map<std::string, KnownView> known_views_;
  absl::flat_hash_map<NodeId, const KnownView*> views_;  // by storage node
  absl::flat_hash_map<NodeId, NestedStorage> lent_;      // by bytes node
  absl::flat_hash_map<int64_t, NodeId> keyed_;           // of a tar file
  std::vector<std::string> warnings_;
};

}  // namespace pickle
}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_RESOLVE_H_
