// TensorEmitter: tensors and storages as torch.save writes them into a pickle.

#ifndef PENSTOCK_COMPAT_PICKLE_TENSORS_H_
#define PENSTOCK_COMPAT_PICKLE_TENSORS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "compat/pickle_emitter.h"
#include "compat/pickle_names.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/storage.h"

namespace penstock::pickle {

// In a PyTorch file one storage has one class. torch.save refuses a storage
// that is viewed as several; here all its views then go over an UntypedStorage,
// which torch loads (pytorch-format.md 6). UntypedStorage and ByteStorage count
// as one class, as in torch. Thread-compatible.
class TensorEmitter {
 public:
  // Both must outlive it; `tables` are proven.
  TensorEmitter(const GraphTables& tables, PersistentIds ids,
                PickleEmitter& emit);

  // A kTensor node; gives its place in the memo.
  MemoIndex Tensor(const Node& node);
  // A kStorage node; it has no place in the memo.
  void BareStorage(const Node& bare);

  // As PickledCheckpoint::storage_order, so far.
  const std::vector<int64_t>& storage_order() const { return storage_order_; }
  // As PickledCheckpoint::untyped_storages, so far.
  std::vector<int64_t> untyped_storages() const;
  // True where a bare storage had to lose its element type.
  bool has_retyped_storage() const { return has_retyped_storage_; }

 private:
  struct Type {
    std::optional<DType> dtype;  // kUInt8 where untyped
    bool conflict = false;
    bool written_untyped = false;
  };

  struct Key {
    int64_t number = -1;       // -1: not mentioned yet
    MemoIndex memo = kNoMemo;  // its last string
  };

  static void Note(Type& type, const Storage& storage, DType dtype);
  // The class for a view of `dtype`; nothing: UntypedStorage.
  std::optional<DType> ClassFor(uint32_t storage, DType dtype) const;
  void StorageId(uint32_t storage, std::optional<DType> type);
  void StorageKey(uint32_t storage);
  void Metadata(uint8_t flags);

  const GraphTables& tables_;
  const PersistentIds ids_;
  PickleEmitter& emit_;
  std::vector<Type> types_;  // by storage
  std::vector<Key> keys_;    // by storage
  std::vector<int64_t> storage_order_;
  bool has_retyped_storage_ = false;
};

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_TENSORS_H_
