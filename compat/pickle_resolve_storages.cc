// What PickleResolver knows about storages: persistent ids, and files in bytes.

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/pickle_resolve.h"
#include "core/checked.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace penstock::pickle {
namespace {

constexpr size_t kMaxKeyBytes = 1024;

absl::Status Bad(absl::string_view name, absl::string_view text) {
  return absl::DataLossError(absl::StrCat(name, ": ", text));
}

// Of "0", "1", "2"... as torch counts them.
std::optional<uint32_t> NumberOfKey(absl::string_view key) {
  constexpr size_t kMaxDigits = 9;
  if (key.empty() || key.size() > kMaxDigits ||
      (key[0] == '0' && key.size() > 1)) {
    return std::nullopt;
  }
  uint32_t number = 0;
  for (const char c : key) {
    if (!absl::ascii_isdigit(c)) return std::nullopt;
    number = 10 * number + static_cast<uint32_t>(c - '0');
  }
  return number;
}

}  // namespace

bool PickleResolver::OpensFiles(NodeId id) const {
  const std::optional<Meaning> meaning = FindMeaning(id);
  return meaning && meaning->role == Role::kLoadFromBytes &&
         around_.nested != nullptr;
}

absl::StatusOr<bool> PickleResolver::Lend(NodeId bytes, NestedFile file) {
  PENSTOCK_ASSIGN_OR_RETURN(std::optional<NestedStorage> nested,
                            around_.nested(std::move(file)));
  if (!nested) return false;
  lent_.insert_or_assign(bytes, *std::move(nested));
  return true;
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::LoadFromBytes(
    const Args& args) {
  if (args.size() != 1 || around_.nested == nullptr) {
    return std::optional<NodeId>();
  }
  const NodeKind kind = builder_.kind(args[0]);
  if (kind != NodeKind::kBytes && kind != NodeKind::kPy2Str) {
    return std::optional<NodeId>();
  }
  auto lent = lent_.find(args[0]);
  if (lent == lent_.end()) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const bool is_storage,
        Lend(args[0], {FileFromString(std::string(builder_.AsBytes(args[0])),
                                      "bytes")}));
    if (!is_storage) return std::optional<NodeId>();
    lent = lent_.find(args[0]);
  }
  return std::optional<NodeId>(
      builder_.Storage(lent->second.storage, lent->second.dtype));
}

absl::StatusOr<NodeId> PickleResolver::PersistentObject(NodeId id) {
  if (around_.persistent_ids == PersistentIds::kNone) {
    return Bad("persid_bad", "a bare pickle has no storages beside it");
  }
  if (around_.persistent_ids == PersistentIds::kTar) return TarObject(id);
  const bool is_legacy = around_.persistent_ids == PersistentIds::kLegacy;
  const size_t num_parts = is_legacy ? 6 : 5;
  if (is_legacy && builder_.kind(id) == NodeKind::kTuple &&
      builder_.children(id).size() == 4) {
    const Args parts = ChildrenOf(id);
    if (Text(parts[0]) == "module") {
      return ClassWithSource(absl::MakeConstSpan(parts).subspan(1));
    }
    return Bad("persid_bad", "expected ('module', class, source file, source)");
  }
  if (around_.persistent_ids == PersistentIds::kPackage) {
    const std::optional<NodeId> made = PackagedObject(id);
    if (made) return *made;
  }
  if (builder_.kind(id) != NodeKind::kTuple ||
      builder_.children(id).size() != num_parts) {
    return Bad("persid_bad",
               absl::StrCat("expected ('storage', class, key, location, count",
                            is_legacy ? ", view)" : ")"));
  }
  const Args parts = ChildrenOf(id);
  PENSTOCK_ASSIGN_OR_RETURN(StorageReference reference, ParseReference(parts));
  PENSTOCK_ASSIGN_OR_RETURN(const KnownStorage* const known, Know(reference));
  if (is_legacy) {
    PENSTOCK_ASSIGN_OR_RETURN(reference.view, ParseView(parts[5], reference));
  }
  if (reference.view) return ViewNode(reference, *known);
  return builder_.Storage(known->storage, reference.dtype);
}

// What a package's own code would make: the call, inert.
std::optional<NodeId> PickleResolver::PackagedObject(NodeId id) {
  if (builder_.kind(id) != NodeKind::kTuple) return std::nullopt;
  const Args parts = ChildrenOf(id);
  if (parts.size() < 3 || parts.size() > 4 ||
      Text(parts[0]) != "reduce_package" ||
      builder_.kind(parts.back()) != NodeKind::kTuple) {
    return std::nullopt;
  }
  Warn("objects that only code in the package can make stay inert");
  return builder_.Object(Construction::kReduce, parts[parts.size() - 2],
                         parts.back());
}

// Of (class, source file, source) the class. Its source is never read.
absl::StatusOr<NodeId> PickleResolver::ClassWithSource(
    absl::Span<const NodeId> parts) {
  if (parts.size() != 3 || builder_.kind(parts[0]) != NodeKind::kGlobal) {
    return Bad("persid_bad", "expected a class, its source file and source");
  }
  if (builder_.kind(parts[2]) != NodeKind::kNone) {
    Warn("the source code of the classes was left out");
  }
  return parts[0];
}

absl::StatusOr<NodeId> PickleResolver::TarObject(NodeId id) {
  if (builder_.kind(id) == NodeKind::kTuple) {
    return ClassWithSource(ChildrenOf(id));
  }
  const std::string text = Text(id).value_or("");
  int64_t key = 0;
  if (text.empty() || !absl::c_all_of(text, absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &key)) {
    return Bad("persid_bad", "expected the number of a tensor or storage");
  }
  const auto [node, is_new] = keyed_.emplace(key, kNoNode);
  if (!is_new) return node->second;
  PENSTOCK_ASSIGN_OR_RETURN(KeyedObject object, around_.objects(key));
  node->second =
      object.tensor ? builder_.Tensor(*object.tensor)
                    : builder_.Storage(std::move(object.storage), object.dtype);
  return node->second;
}

const PickleResolver::KnownStorage* PickleResolver::FindKnown(
    absl::string_view key) const {
  const std::optional<uint32_t> place = NumberOfKey(key);
  if (place && *place < num_in_order_) return &known_storages_[*place];
  const uint32_t number =
      known_keys_.Find(key, [this](uint32_t i) { return known_key(i); });
  return number == TextIndex::kNone ? nullptr : &known_storages_[number];
}

absl::StatusOr<const PickleResolver::KnownStorage*> PickleResolver::Know(
    const StorageReference& reference) {
  const DType dtype = reference.dtype.value_or(DType::kUInt8);
  const KnownStorage* known = FindKnown(reference.key);
  if (known == nullptr) {
    if (known_views_.contains(reference.key)) {
      return Bad("persid_bad",
                 absl::StrCat("a storage has the key of view ", reference.key));
    }
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage,
                              around_.storages(reference));
    const auto number = static_cast<uint32_t>(known_storages_.size());
    known_storages_.push_back(
        {reference.key, reference.key_is_int, std::move(storage), dtype});
    if (number == num_in_order_ && NumberOfKey(reference.key) == number) {
      ++num_in_order_;
    } else {
      known_keys_.Insert(reference.key, number,
                         [this](uint32_t i) { return known_key(i); });
    }
    known = &known_storages_.back();
  }
  const KnownStorage& found = *known;
  if (found.key_is_int != reference.key_is_int) {
    // To torch these are two storages, of the same record.
    return Bad("persid_bad",
               absl::StrFormat("storage %s is named by a text and by a number",
                               reference.key));
  }
  if (found.dtype != dtype) {
    return Bad("storage_dtype_conflict",
               absl::StrFormat("storage %s is %s here and was %s before",
                               reference.key, InfoOf(dtype).name,
                               InfoOf(found.dtype).name));
  }
  if (found.storage->size_bytes() != reference.size_bytes) {
    return Bad("storage_size",
               absl::StrFormat("storage %s has %d bytes, the pickle says %d",
                               reference.key, found.storage->size_bytes(),
                               reference.size_bytes));
  }
  return &found;
}

// None, or (key, offset, count).
absl::StatusOr<std::optional<StorageView>> PickleResolver::ParseView(
    NodeId id, const StorageReference& root) const {
  if (builder_.kind(id) == NodeKind::kNone) return std::optional<StorageView>();
  if (builder_.kind(id) != NodeKind::kTuple ||
      builder_.children(id).size() != 3) {
    return Bad("persid_bad", "expected a view of (key, offset, count)");
  }
  const Args parts = ChildrenOf(id);
  StorageView view;
  PENSTOCK_ASSIGN_OR_RETURN(view.key, StorageKey(parts[0]));
  int64_t elements[2];
  for (int i = 0; i < 2; ++i) {
    if (builder_.kind(parts[i + 1]) != NodeKind::kInt) {
      return Bad("persid_bad", "offset or count of a view are no int");
    }
    elements[i] = builder_.AsInt(parts[i + 1]);
  }
  if (!RangeFits(elements[0], elements[1], root.num_elements)) {
    return Bad(
        "tensor_bounds",
        absl::StrFormat("a view of %d elements from %d, storage %s has "
                        "%d",
                        elements[1], elements[0], root.key, root.num_elements));
  }
  // Both are within the storage, whose bytes were counted.
  const int element_bytes =
      InfoOf(root.dtype.value_or(DType::kUInt8)).size_bytes;
  view.offset_bytes = elements[0] * element_bytes;
  view.size_bytes = elements[1] * element_bytes;
  return std::optional<StorageView>(std::move(view));
}

absl::StatusOr<NodeId> PickleResolver::ViewNode(
    const StorageReference& reference, const KnownStorage& root) {
  const StorageView& view = *reference.view;
  auto known = known_views_.find(view.key);
  if (known == known_views_.end()) {
    if (FindKnown(view.key) != nullptr) {
      return Bad("persid_bad",
                 absl::StrCat("a view has the key of storage ", view.key));
    }
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage,
                              around_.storages(reference));
    known = known_views_
                .emplace(view.key, KnownView{reference.key, view, root.storage,
                                             std::move(storage)})
                .first;
  }
  const KnownView& found = known->second;
  if (found.key != reference.key ||
      found.view.offset_bytes != view.offset_bytes ||
      found.view.size_bytes != view.size_bytes) {
    return Bad("persid_bad",
               absl::StrCat("two different views have the key ", view.key));
  }
  const NodeId node = builder_.Storage(found.storage, reference.dtype);
  if (node != kNoNode) views_.emplace(node, &found);
  return node;
}

absl::StatusOr<Tensor> PickleResolver::RootTensor(NodeId storage,
                                                  const Tensor& tensor) const {
  const auto view = views_.find(storage);
  if (view == views_.end()) return tensor;
  const int element_bytes = InfoOf(tensor.dtype()).size_bytes;
  const int64_t offset_bytes = view->second->view.offset_bytes;
  if (offset_bytes % element_bytes != 0) return tensor;
  // The offset of an empty tensor says nothing, and may be any.
  const int64_t offset = tensor.num_elements() == 0
                             ? tensor.offset()
                             : tensor.offset() + offset_bytes / element_bytes;
  const absl::Span<const int64_t> shape = tensor.shape();
  const absl::Span<const int64_t> strides = tensor.strides();
  return Tensor::Make(view->second->root, tensor.dtype(),
                      std::vector<int64_t>(shape.begin(), shape.end()),
                      std::vector<int64_t>(strides.begin(), strides.end()),
                      offset);
}

absl::StatusOr<StorageReference> PickleResolver::ParseReference(
    const Args& id) const {
  StorageReference reference;
  if (Text(id[0]) != "storage") {
    return Bad("persid_bad", "the first word is not 'storage'");
  }
  if (!TakeStorageClass(id[1], reference)) {
    return Bad("persid_bad", "the second part is no storage class of torch");
  }
  PENSTOCK_ASSIGN_OR_RETURN(reference.key, StorageKey(id[2]));
  reference.key_is_int = builder_.kind(id[2]) == NodeKind::kInt;
  const std::optional<std::string> location = Text(id[3]);
  if (!location || location->size() > kMaxKeyBytes) {
    return Bad("persid_bad", "the location is no short text");
  }
  reference.location = *location;
  const NodeKind kind = builder_.kind(id[4]);
  if (kind == NodeKind::kBigInt) {
    return Bad("tensor_overflow", "an element count does not fit 64 bits");
  }
  if (kind != NodeKind::kInt) {
    return Bad("persid_bad", "the element count is no int");
  }
  reference.num_elements = builder_.AsInt(id[4]);
  PENSTOCK_RETURN_IF_ERROR(CountBytes(reference));
  return reference;
}

bool PickleResolver::TakeStorageClass(NodeId id,
                                      StorageReference& reference) const {
  const std::optional<Meaning> meaning = FindMeaning(id);
  if (!meaning) return false;
  if (meaning->role == Role::kStorageClass) reference.dtype = meaning->dtype;
  return meaning->role == Role::kStorageClass ||
         meaning->role == Role::kUntypedStorage;
}

absl::Status PickleResolver::CountBytes(StorageReference& reference) {
  if (reference.num_elements < 0) {
    return Bad("storage_size",
               absl::StrFormat("storage %s has %d elements", reference.key,
                               reference.num_elements));
  }
  // Of packed dtypes the count is in bytes, which is their element size here.
  const int element_bytes =
      InfoOf(reference.dtype.value_or(DType::kUInt8)).size_bytes;
  const std::optional<int64_t> size =
      CheckedMultiply(reference.num_elements, element_bytes);
  if (!size) {
    return Bad(
        "tensor_overflow",
        absl::StrFormat("storage %s: %d elements of %d bytes", reference.key,
                        reference.num_elements, element_bytes));
  }
  reference.size_bytes = *size;
  return absl::OkStatus();
}

const PickleResolver::KnownStorage* PickleResolver::FindStorage(
    const StorageParts& parts) {
  StorageReference reference;
  if (around_.persistent_ids != PersistentIds::kZip ||
      !TakeStorageClass(parts.type, reference) ||
      builder_.kind(parts.word) != NodeKind::kStr ||
      builder_.AsBytes(parts.word) != "storage" ||
      !KeyProblem(parts.key).empty() || parts.location.size() > kMaxKeyBytes) {
    return nullptr;
  }
  reference.key = std::string(parts.key);
  reference.location = std::string(parts.location);
  reference.num_elements = parts.count;
  if (!CountBytes(reference).ok()) return nullptr;
  const absl::StatusOr<const KnownStorage*> known = Know(reference);
  return known.ok() ? *known : nullptr;
}

absl::StatusOr<std::string> PickleResolver::StorageKey(NodeId id) const {
  if (builder_.kind(id) == NodeKind::kInt && builder_.AsInt(id) >= 0) {
    return absl::StrCat(builder_.AsInt(id));
  }
  const std::optional<std::string> key = Text(id);
  const absl::string_view problem = KeyProblem(key ? *key : "");
  if (!problem.empty()) {
    return Bad("persid_bad", absl::StrCat("the storage key ", problem));
  }
  return *key;
}

// Empty where there is none.
absl::string_view PickleResolver::KeyProblem(absl::string_view key) {
  constexpr absl::string_view kForbidden("/\\\0", 3);
  if (key.empty() || key.size() > kMaxKeyBytes) return "is no short text";
  if (key.find_first_of(kForbidden) != absl::string_view::npos ||
      absl::StrContains(key, "..")) {
    return "has a separator or '..' in it";
  }
  return "";
}

}  // namespace penstock::pickle
