#include "compat/pickle_resolve.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "compat/pickle_text.h"
#include "core/checked.h"
#include "core/python_keys.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock::pickle {
namespace {

// Warnings may quote the file; it must not fill memory with them.
constexpr size_t kMaxWarnings = 20;
constexpr size_t kMaxQuotedBytes = 80;

absl::Status Bad(absl::string_view name, absl::string_view text) {
  return absl::DataLossError(absl::StrCat(name, ": ", text));
}

bool IsLatin1Codec(absl::string_view name) {
  return name == "latin1" || name == "latin-1";
}

// tensor_overflow where the element count or the last element's place does not
// fit. A tensor without elements has neither.
absl::Status CheckExtent(absl::Span<const int64_t> shape,
                         absl::Span<const int64_t> strides, int64_t offset) {
  if (absl::c_linear_search(shape, 0)) return absl::OkStatus();
  std::optional<int64_t> count = 1;
  std::optional<int64_t> last = offset;
  for (size_t i = 0; i < shape.size() && count && last; ++i) {
    count = CheckedMultiply(*count, shape[i]);
    const std::optional<int64_t> step =
        CheckedMultiply(shape[i] - 1, strides[i]);
    last = step ? CheckedAdd(*last, *step) : std::nullopt;
  }
  if (count && last && CheckedAdd(*last, 1)) return absl::OkStatus();
  return Bad("tensor_overflow",
             absl::StrFormat("a tensor of rank %d and offset %d has more "
                             "elements than 64 bits count",
                             shape.size(), offset));
}

}  // namespace

// FloatStorage and FloatTensor, on whatever device.
std::optional<PickleResolver::Meaning> PickleResolver::MeaningOfClass(
    absl::string_view name) {
  const bool is_tensor = absl::ConsumeSuffix(&name, "Tensor");
  const std::optional<DType> dtype = DTypeOfStorageClass(
      is_tensor ? absl::StrCat(name, "Storage") : std::string(name));
  if (!dtype) return std::nullopt;
  return Meaning{is_tensor ? Role::kTensorClass : Role::kStorageClass, *dtype};
}

std::optional<PickleResolver::Meaning> PickleResolver::MeaningInTorch(
    absl::string_view name) {
  if (name == "Size") return Meaning{Role::kSize};
  if (name == "UntypedStorage") return Meaning{Role::kUntypedStorage};
  if (const std::optional<Meaning> meaning = MeaningOfClass(name)) {
    return meaning;
  }
  if (const std::optional<DType> dtype = DTypeFromTorchName(name)) {
    return Meaning{Role::kDType, *dtype};
  }
  return std::nullopt;
}

std::optional<PickleResolver::Meaning> PickleResolver::MeaningOf(
    GlobalName global) {
  struct Entry {
    absl::string_view module;
    absl::string_view name;
    Role role;
  };
  static constexpr Entry kEntries[] = {
      {"torch._utils", "_rebuild_tensor", Role::kRebuildTensor},
      {"torch._utils", "_rebuild_tensor_v2", Role::kRebuildTensorV2},
      {"torch._utils", "_rebuild_tensor_v3", Role::kRebuildTensorV3},
      {"torch.storage", "UntypedStorage", Role::kUntypedStorage},
      {"torch.storage", "_load_from_bytes", Role::kLoadFromBytes},
      {"_codecs", "encode", Role::kEncode},
      {"builtins", "bytes", Role::kBytes},
      {"builtins", "bytearray", Role::kByteArray},
      {"builtins", "set", Role::kSet},
      {"builtins", "frozenset", Role::kFrozenSet},
      {"builtins", "complex", Role::kComplex},
  };
  if (global.module == "torch") return MeaningInTorch(global.name);
  if (global.module == "torch.cuda") {
    if (const auto meaning = MeaningOfClass(global.name)) return meaning;
  }
  for (const Entry& entry : kEntries) {
    if (entry.name == global.name && entry.module == global.module) {
      return Meaning{entry.role};
    }
  }
  return std::nullopt;
}

void PickleResolver::NoteGlobal(NodeId global, GlobalName name) {
  if (const std::optional<Meaning> meaning = MeaningOf(name)) {
    meanings_.emplace(global, *meaning);
    if (meaning->role == Role::kRebuildTensorV2) rebuild_tensor_ = global;
  }
}

bool PickleResolver::IsOrderedDict(NodeId id) const {
  if (builder_.kind(id) != NodeKind::kGlobal) return false;
  const absl::Span<const NodeId> names = builder_.children(id);
  return builder_.AsBytes(names[0]) == "collections" &&
         builder_.AsBytes(names[1]) == "OrderedDict";
}

std::optional<PickleResolver::Meaning> PickleResolver::FindMeaning(
    NodeId id) const {
  const auto found = meanings_.find(id);
  if (found == meanings_.end()) return std::nullopt;
  return found->second;
}

PickleResolver::Args PickleResolver::ChildrenOf(NodeId id) const {
  const absl::Span<const NodeId> children = builder_.children(id);
  return Args(children.begin(), children.end());
}

void PickleResolver::Warn(std::string text) {
  if (warnings_.size() < kMaxWarnings &&
      !absl::c_linear_search(warnings_, text)) {
    warnings_.push_back(std::move(text));
  }
}

absl::Status PickleResolver::CheckHashable(NodeId id) const {
  if (IsHashable(builder_.kind(id))) return absl::OkStatus();
  return Bad("pickle_type",
             "a list, dict, set or bytearray cannot be a key or lie in a set");
}

absl::StatusOr<NodeId> PickleResolver::Call(NodeId callable, NodeId args) {
  if (const std::optional<Meaning> meaning = FindMeaning(callable)) {
    switch (meaning->role) {
      case Role::kRebuildTensor:
      case Role::kRebuildTensorV2:
      case Role::kRebuildTensorV3:
        return RebuildTensor(meaning->role, ChildrenOf(args));
      default: {
        PENSTOCK_ASSIGN_OR_RETURN(const std::optional<NodeId> made,
                                  CallBuiltin(meaning->role, ChildrenOf(args)));
        if (made) return *made;
      }
    }
  }
  return builder_.Object(Construction::kReduce, callable, args);
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::CallBuiltin(
    Role role, const Args& args) {
  switch (role) {
    case Role::kLoadFromBytes:
      return LoadFromBytes(args);
    case Role::kEncode:
      return Encode(args);
    case Role::kBytes:
      if (args.empty()) return std::optional<NodeId>(builder_.Bytes(""));
      return std::optional<NodeId>();
    case Role::kByteArray:
      return MakeByteArray(args);
    case Role::kComplex:
      return MakeComplex(args);
    case Role::kSet:
    case Role::kFrozenSet:
      return MakeSet(role, args);
    default:
      return std::optional<NodeId>();
  }
}

absl::Status PickleResolver::Afford(size_t num_bytes) {
  made_bytes_left_ -= static_cast<int64_t>(num_bytes);
  if (made_bytes_left_ >= 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "pickle_limit: its calls make more bytes than a pickle may have");
}

// Protocols below 3 have no bytes: Python 3 writes their Latin-1 text.
absl::StatusOr<std::optional<std::string>> PickleResolver::Latin1Bytes(
    const Args& args) {
  if (args.size() != 2 || builder_.kind(args[0]) != NodeKind::kStr ||
      builder_.kind(args[1]) != NodeKind::kStr ||
      !IsLatin1Codec(builder_.AsBytes(args[1]))) {
    return std::optional<std::string>();
  }
  PENSTOCK_RETURN_IF_ERROR(Afford(builder_.AsBytes(args[0]).size()));
  return Utf8ToLatin1(builder_.AsBytes(args[0]));
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::Encode(const Args& args) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::optional<std::string> bytes,
                            Latin1Bytes(args));
  if (!bytes) return std::optional<NodeId>();
  return std::optional<NodeId>(builder_.Bytes(*bytes));
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::MakeByteArray(
    const Args& args) {
  if (args.empty()) return std::optional<NodeId>(builder_.ByteArray(""));
  if (args.size() == 1 && builder_.kind(args[0]) == NodeKind::kBytes) {
    PENSTOCK_RETURN_IF_ERROR(Afford(builder_.AsBytes(args[0]).size()));
    return std::optional<NodeId>(
        builder_.ByteArray(std::string(builder_.AsBytes(args[0]))));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::optional<std::string> bytes,
                            Latin1Bytes(args));
  if (!bytes) return std::optional<NodeId>();
  return std::optional<NodeId>(builder_.ByteArray(*bytes));
}

std::optional<NodeId> PickleResolver::MakeComplex(const Args& args) {
  if (args.size() != 2 || builder_.kind(args[0]) != NodeKind::kFloat ||
      builder_.kind(args[1]) != NodeKind::kFloat) {
    return std::nullopt;
  }
  return builder_.Complex(builder_.AsFloat(args[0]), builder_.AsFloat(args[1]));
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::MakeSet(
    Role role, const Args& args) {
  Args items;
  if (args.size() > 1) return std::optional<NodeId>();
  if (args.size() == 1) {
    const NodeKind kind = builder_.kind(args[0]);
    if (kind != NodeKind::kList && kind != NodeKind::kTuple) {
      return std::optional<NodeId>();
    }
    items = ChildrenOf(args[0]);
  }
  for (NodeId item : items) PENSTOCK_RETURN_IF_ERROR(CheckHashable(item));
  return std::optional<NodeId>(role == Role::kSet ? builder_.Set(items)
                                                  : builder_.FrozenSet(items));
}

absl::StatusOr<NodeId> PickleResolver::RebuildTensor(Role role,
                                                     const Args& args) {
  const size_t least = role == Role::kRebuildTensor     ? 4
                       : role == Role::kRebuildTensorV2 ? 6
                                                        : 7;
  const size_t most = role == Role::kRebuildTensor ? least : least + 1;
  if (args.size() < least || args.size() > most) {
    return Bad("tensor_args",
               absl::StrFormat("a tensor is rebuilt from %d to %d arguments, "
                               "found %d",
                               least, most, args.size()));
  }
  if (builder_.kind(args[0]) != NodeKind::kStorage) {
    return Bad("tensor_args", "the first argument of a tensor is no storage");
  }
  PENSTOCK_ASSIGN_OR_RETURN(const DType dtype, TensorDType(role, args));
  uint8_t flags = 0;
  if (role != Role::kRebuildTensor) {
    if (builder_.kind(args[4]) != NodeKind::kBool) {
      return Bad("tensor_args", "requires_grad is no bool");
    }
    if (builder_.AsBool(args[4])) flags |= TensorFlags::kRequiresGrad;
    NoteHooks(args[5]);
    if (args.size() == most) {
      PENSTOCK_ASSIGN_OR_RETURN(const uint8_t more, MetadataFlags(args.back()));
      flags |= more;
    }
  }
  return MakeTensor(args, dtype, flags);
}

// Of (storage, offset, sizes, strides...).
absl::StatusOr<NodeId> PickleResolver::MakeTensor(const Args& args, DType dtype,
                                                  uint8_t flags) {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t offset, Offset(args[1]));
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<int64_t> shape, Dims(args[2]));
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<int64_t> strides, Dims(args[3]));
  if (shape.size() != strides.size()) {
    return Bad("tensor_args", absl::StrFormat("%d sizes but %d strides",
                                              shape.size(), strides.size()));
  }
  PENSTOCK_RETURN_IF_ERROR(CheckExtent(shape, strides, offset));
  absl::StatusOr<Tensor> tensor =
      Tensor::Make(builder_.AsStorage(args[0]), dtype, std::move(shape),
                   std::move(strides), offset);
  if (!tensor.ok()) return Bad("tensor_bounds", tensor.status().message());
  PENSTOCK_ASSIGN_OR_RETURN(tensor, RootTensor(args[0], *tensor));
  return builder_.Tensor(*tensor, flags);
}

bool PickleResolver::IsBareTensor(NodeId id) const {
  if (builder_.kind(id) != NodeKind::kObject) return false;
  const std::optional<Meaning> meaning =
      FindMeaning(builder_.object_child(id, ObjectChild::kCallable));
  return meaning && meaning->role == Role::kTensorClass &&
         builder_.children(builder_.object_child(id, ObjectChild::kArgs))
             .empty() &&
         builder_.object_child(id, ObjectChild::kState) == kNoNode;
}

absl::StatusOr<std::optional<NodeId>> PickleResolver::BareTensorWith(
    NodeId state) {
  const Args parts =
      builder_.kind(state) == NodeKind::kTuple ? ChildrenOf(state) : Args();
  if (parts.size() != 4 || builder_.kind(parts[0]) != NodeKind::kStorage) {
    return std::optional<NodeId>();
  }
  const DType dtype = builder_.storage_dtype(parts[0]).value_or(DType::kUInt8);
  PENSTOCK_ASSIGN_OR_RETURN(const NodeId tensor, MakeTensor(parts, dtype, 0));
  return std::optional<NodeId>(tensor);
}

absl::StatusOr<DType> PickleResolver::TensorDType(Role role,
                                                  const Args& args) const {
  if (role != Role::kRebuildTensorV3) {
    return builder_.storage_dtype(args[0]).value_or(DType::kUInt8);
  }
  const std::optional<Meaning> meaning = FindMeaning(args[6]);
  if (!meaning || meaning->role != Role::kDType) {
    return Bad("tensor_args", "the seventh argument of a tensor is no dtype");
  }
  return meaning->dtype;
}

absl::StatusOr<int64_t> PickleResolver::Offset(NodeId id) const {
  const NodeKind kind = builder_.kind(id);
  if (kind == NodeKind::kBigInt) {
    return Bad("tensor_overflow", "an offset does not fit 64 bits");
  }
  if (kind != NodeKind::kInt || builder_.AsInt(id) < 0) {
    return Bad("tensor_args", "an offset is no whole number from 0 on");
  }
  return builder_.AsInt(id);
}

absl::StatusOr<std::vector<int64_t>> PickleResolver::Dims(NodeId id) const {
  // torch.Size((2, 3)) loads as a plain tuple does.
  if (builder_.kind(id) == NodeKind::kObject) {
    const std::optional<Meaning> meaning =
        FindMeaning(builder_.object_child(id, ObjectChild::kCallable));
    const Args args = ChildrenOf(builder_.object_child(id, ObjectChild::kArgs));
    if (meaning && meaning->role == Role::kSize && args.size() == 1) {
      id = args[0];
    }
  }
  const NodeKind kind = builder_.kind(id);
  if (kind != NodeKind::kTuple && kind != NodeKind::kList) {
    return Bad("tensor_args", "sizes or strides are no tuple");
  }
  const absl::Span<const NodeId> items = builder_.children(id);
  if (items.size() > kMaxRank) {
    return Bad("tensor_args", absl::StrFormat("rank %d, the limit is %d",
                                              items.size(), kMaxRank));
  }
  std::vector<int64_t> dims;
  for (NodeId item : items) {
    if (builder_.kind(item) == NodeKind::kBigInt) {
      return Bad("tensor_overflow", "a size or stride does not fit 64 bits");
    }
    if (builder_.kind(item) != NodeKind::kInt || builder_.AsInt(item) < 0) {
      return Bad("tensor_args",
                 "a size or stride is no whole number from 0 on");
    }
    dims.push_back(builder_.AsInt(item));
  }
  return dims;
}

void PickleResolver::NoteHooks(NodeId hooks) {
  const NodeKind kind = builder_.kind(hooks);
  const NodeId pairs = kind == NodeKind::kObject
                           ? builder_.object_child(hooks, ObjectChild::kPairs)
                           : hooks;
  const bool is_mapping = kind == NodeKind::kDict || kind == NodeKind::kObject;
  if (kind == NodeKind::kNone || (is_mapping && pairs == kNoNode)) return;
  if (is_mapping && builder_.children(pairs).empty()) return;
  Warn("backward hooks of a tensor were left out");
}

absl::StatusOr<uint8_t> PickleResolver::MetadataFlags(NodeId metadata) {
  if (builder_.kind(metadata) == NodeKind::kNone) return uint8_t{0};
  if (builder_.kind(metadata) != NodeKind::kDict) {
    return Bad("tensor_args", "a tensor's metadata is no dict");
  }
  uint8_t flags = 0;
  const absl::Span<const NodeId> pairs = builder_.children(metadata);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const std::optional<std::string> key = Text(pairs[i]);
    const uint8_t flag = key == "conj"  ? TensorFlags::kConjugated
                         : key == "neg" ? TensorFlags::kNegated
                                        : uint8_t{0};
    if (flag == 0) {
      Warn(absl::StrCat(
          "a tensor's metadata was left out: ",
          key ? key->substr(0, kMaxQuotedBytes) : "(no text as key)"));
    }
    flags |= flag;  // whatever the value is: torch does not look at it
  }
  return flags;
}

std::optional<std::string> PickleResolver::Text(NodeId id) const {
  const NodeKind kind = builder_.kind(id);
  if (kind != NodeKind::kStr && kind != NodeKind::kPy2Str) return std::nullopt;
  const absl::string_view text = builder_.AsBytes(id);
  // Python 2's may be any bytes, which torch takes for UTF-8.
  if (!IsPythonText(text)) return std::nullopt;
  return std::string(text);
}

}  // namespace penstock::pickle
