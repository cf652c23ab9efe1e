#include "compat/pickle_tensors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/pickle_names.h"
#include "compat/pickle_opcodes.h"

namespace penstock::pickle {

TensorEmitter::TensorEmitter(const GraphTables& tables, PersistentIds ids,
                             PickleEmitter& emit)
    : tables_(tables),
      ids_(ids),
      emit_(emit),
      types_(tables.storages.size()),
      keys_(tables.storages.size()) {
  for (const Node& node : tables.nodes) {
    if (node.kind == NodeKind::kTensor) {
      const TensorRow& row = tables.tensors[node.payload];
      Note(types_[row.storage], *tables.storages[row.storage],
           static_cast<DType>(row.dtype));
    } else if (node.kind == NodeKind::kStorage) {
      Note(types_[node.payload], *tables.storages[node.payload],
           node.detail == 0 ? DType::kUInt8
                            : static_cast<DType>(node.detail - 1));
    }
  }
}

void TensorEmitter::Note(Type& type, const Storage& storage, DType dtype) {
  if (!HasStorageClass(dtype)) dtype = DType::kUInt8;
  // The class counts elements: it cannot say a size that is no multiple.
  if (type.dtype.value_or(dtype) != dtype ||
      storage.size_bytes() % InfoOf(dtype).size_bytes != 0) {
    type.conflict = true;
  }
  type.dtype = dtype;
}

std::optional<DType> TensorEmitter::ClassFor(uint32_t storage,
                                             DType dtype) const {
  if (types_[storage].conflict || !HasStorageClass(dtype)) return std::nullopt;
  return dtype;
}

// As torch._tensor's _reduce_ex_internal.
MemoIndex TensorEmitter::Tensor(const Node& node) {
  const TensorRow& row = tables_.tensors[node.payload];
  const auto dtype = static_cast<DType>(row.dtype);
  const std::optional<DType> type = ClassFor(row.storage, dtype);
  const auto dims = absl::MakeConstSpan(tables_.dims);
  emit_.Global("torch._utils",
               type ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  emit_.Code(kMark);
  StorageId(row.storage, type);
  emit_.Int(row.offset);
  emit_.IntTuple(dims.subspan(row.dims, row.rank));
  emit_.IntTuple(dims.subspan(row.dims + row.rank, row.rank));
  emit_.Bool((row.flags & TensorFlags::kRequiresGrad) != 0);
  emit_.EmptyOrderedDict();
  if (!type) emit_.Global("torch", InfoOf(dtype).name);
  Metadata(row.flags);
  emit_.Code(kTuple);
  emit_.Put();
  emit_.Code(kReduce);
  return emit_.Put();
}

void TensorEmitter::Metadata(uint8_t flags) {
  const bool is_negated = (flags & TensorFlags::kNegated) != 0;
  const bool is_conjugated = (flags & TensorFlags::kConjugated) != 0;
  if (!is_negated && !is_conjugated) return;
  const bool is_both = is_negated && is_conjugated;
  emit_.Code(kEmptyDict);
  emit_.Put();
  if (is_both) emit_.Code(kMark);
  for (absl::string_view key : {"neg", "conj"}) {
    if (key == "neg" ? is_negated : is_conjugated) {
      emit_.SharedStr(key);
      emit_.Bool(true);
    }
  }
  emit_.Code(is_both ? kSetItems : kSetItem);
}

// A storage that is a value itself.
void TensorEmitter::BareStorage(const Node& bare) {
  const uint32_t storage = static_cast<uint32_t>(bare.payload);
  std::optional<DType> type;
  if (bare.detail != 0) {
    type = ClassFor(storage, static_cast<DType>(bare.detail - 1));
    has_retyped_storage_ |= !type;
  }
  StorageId(storage, type);
}

// ('storage', class, key, location, count) as a persistent id.
void TensorEmitter::StorageId(uint32_t storage, std::optional<DType> type) {
  const Storage& bytes = *tables_.storages[storage];
  emit_.Code(kMark);
  emit_.SharedStr("storage");
  if (type) {
    emit_.Global("torch", StorageClassName(*type));
  } else {
    emit_.Global("torch.storage", "UntypedStorage");
    types_[storage].written_untyped = true;
  }
  StorageKey(storage);
  if (SharesByValue(bytes.location())) {
    emit_.SharedStr(bytes.location());
  } else {
    emit_.Str(bytes.location());
  }
  emit_.Int(bytes.size_bytes() /
            InfoOf(type.value_or(DType::kUInt8)).size_bytes);
  if (ids_ == PersistentIds::kLegacy) emit_.Code(kNone);  // no view
  emit_.Code(kTuple);
  emit_.Put();
  emit_.Code(kBinPersId);
}

// torch has one string for all mentions of a key; in the legacy stream it makes
// one for each.
void TensorEmitter::StorageKey(uint32_t storage) {
  Key& key = keys_[storage];
  const bool is_new = key.number < 0;
  if (is_new) {
    key.number = static_cast<int64_t>(storage_order_.size());
    storage_order_.push_back(storage);
  }
  if (is_new || ids_ == PersistentIds::kLegacy) {
    key.memo = emit_.Str(absl::StrCat(key.number));
  } else {
    emit_.Get(key.memo);
  }
}

std::vector<int64_t> TensorEmitter::untyped_storages() const {
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < types_.size(); ++i) {
    if (types_[i].written_untyped) numbers.push_back(i);
  }
  return numbers;
}

}  // namespace penstock::pickle
