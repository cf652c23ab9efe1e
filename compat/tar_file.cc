#include "compat/tar_file.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "compat/extent_source.h"
#include "compat/file_kind.h"
#include "compat/pickle_names.h"
#include "compat/pickle_surroundings.h"
#include "compat/sub_file.h"
#include "compat/tar_reader.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {
namespace {

constexpr int64_t kTarVersion = 1000;

absl::Status Bad(absl::string_view text) {
  return absl::DataLossError(absl::StrCat("tar_bad: ", text));
}

// The descriptions of one storage or tensor are some dozens of bytes.
PickleLimits SmallLimits() {
  PickleLimits limits;
  limits.max_pickle_bytes = 64 << 10;
  limits.max_nodes = 10'000;
  return limits;
}

// One of torch's members, read from its front.
struct Member {
  std::shared_ptr<const RandomAccessFile> file;  // null: not there
  int64_t offset = 0;                            // in the tar file
  int64_t position = 0;                          // of what comes next

  std::string here() const {
    return absl::StrFormat("offset %d", offset + position);
  }
};

// FloatStorage or cuda.FloatTensor, by the second half of the name.
std::optional<DType> DTypeOfClass(const Value& type, absl::string_view kind) {
  if (type.kind() != NodeKind::kGlobal ||
      (type.module() != "torch" && type.module() != "torch.cuda")) {
    return std::nullopt;
  }
  absl::string_view name = type.name();
  if (!absl::ConsumeSuffix(&name, kind)) return std::nullopt;
  return DTypeOfStorageClass(absl::StrCat(name, "Storage"));
}

// The steps of OpenTar. Thread-compatible.
class TarOpener {
 public:
  TarOpener(std::shared_ptr<const RandomAccessFile> file,
            const PickleLimits& limits)
      : limits_(limits), stored_(std::make_shared<StoredStorages>()) {
    tar_.format = ForeignFormat::kPtTar;
    tar_.writer = "torch.save (tar)";
    tar_.file = std::move(file);
    stored_->files.push_back(tar_.file);
  }

  absl::StatusOr<ForeignFile> Open();

 private:
  // A storage, or a part of one.
  struct KnownStorage {
    std::shared_ptr<const Storage> storage;
    DType dtype = DType::kUInt8;
    // Of a part: of what, from which element on.
    const KnownStorage* root = nullptr;
    int64_t offset = 0;
  };
  struct TensorHead {
    int64_t key = 0;
    KnownStorage storage;
  };
  using Storages =
      absl::flat_hash_map<int64_t, std::unique_ptr<KnownStorage>>;  // by key

  absl::Status FindMembers();
  absl::StatusOr<PickleResult> ReadNext(Member& member,
                                        const PickleSurroundings& around,
                                        const PickleLimits& limits);
  absl::StatusOr<Value> ReadSmall(Member& member);
  absl::StatusOr<int64_t> ReadCount(Member& member);
  absl::StatusOr<std::vector<int64_t>> ReadNumbers(Member& member,
                                                   int64_t count);
  absl::Status ReadSysInfo();
  absl::Status ReadStorages();
  absl::StatusOr<bool> ReadStorage();
  absl::Status ReadViews();
  absl::Status AddStorage(int64_t key, KnownStorage storage,
                          absl::string_view location, int64_t offset,
                          int64_t size_bytes);
  absl::Status ReadTensors();
  absl::StatusOr<TensorHead> ReadTensorHead();
  absl::Status ReadTensor();
  absl::Status ReadObject();

  const PickleLimits& limits_;
  const std::shared_ptr<StoredStorages> stored_;
  ForeignFile tar_;
  Member sys_info_, storages_member_, tensors_member_, pickle_;
  Storages storages_;
  absl::flat_hash_map<int64_t, Tensor> tensors_;  // by key
};

absl::StatusOr<ForeignFile> TarOpener::Open() {
  PENSTOCK_RETURN_IF_ERROR(FindMembers());
  PENSTOCK_RETURN_IF_ERROR(ReadSysInfo());
  PENSTOCK_RETURN_IF_ERROR(ReadStorages());
  PENSTOCK_RETURN_IF_ERROR(ReadTensors());
  PENSTOCK_RETURN_IF_ERROR(ReadObject());
  SetStored(stored_, tar_);
  return std::move(tar_);
}

absl::Status TarOpener::FindMembers() {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<TarMember> members,
                            ReadTarDirectory(*tar_.file));
  struct Wanted {
    absl::string_view name;
    Member* member;
  };
  const Wanted all[] = {{"sys_info", &sys_info_},
                        {"storages", &storages_member_},
                        {"tensors", &tensors_member_},
                        {"pickle", &pickle_}};
  int64_t num_others = 0;
  for (const TarMember& found : members) {
    const auto* wanted =
        std::find_if(std::begin(all), std::end(all),
                     [&](const Wanted& one) { return one.name == found.name; });
    if (wanted == std::end(all)) {
      ++num_others;
      continue;
    }
    if (found.type != '0') {
      return Bad(absl::StrFormat(
          "member %s at offset %d is no regular file, but of type %s",
          found.name, found.header_offset,
          QuotedRecordName(std::string(1, found.type))));
    }
    if (wanted->member->file != nullptr) {
      return Bad(absl::StrFormat("member %s comes twice, again at offset %d",
                                 found.name, found.header_offset));
    }
    wanted->member->file =
        std::make_shared<SubFile>(tar_.file, found.offset, found.size_bytes);
    wanted->member->offset = found.offset;
  }
  const bool is_torchs =
      storages_member_.file != nullptr && pickle_.file != nullptr;
  if (!is_torchs) return RefusalOf(FileKind::kTar);
  for (const Wanted& one : all) {
    if (one.member->file == nullptr) {
      return Bad(absl::StrCat("the file has no member ", one.name));
    }
  }
  if (num_others > 0) {
    tar_.warnings.push_back(absl::StrCat(
        num_others, " members of the tar file that torch does not know"));
  }
  return absl::OkStatus();
}

absl::StatusOr<PickleResult> TarOpener::ReadNext(
    Member& member, const PickleSurroundings& around,
    const PickleLimits& limits) {
  PickleInput input;
  input.file = member.file;
  input.begin = member.position;
  absl::StatusOr<PickleResult> result = ReadPickle(input, around, limits);
  if (!result.ok()) {
    return Annotate(result.status(),
                    absl::StrCat("the pickle at ", member.here()));
  }
  member.position += result->consumed_bytes;
  return result;
}

absl::StatusOr<Value> TarOpener::ReadSmall(Member& member) {
  PickleSurroundings none;
  none.persistent_ids = PersistentIds::kNone;
  PENSTOCK_ASSIGN_OR_RETURN(PickleResult result,
                            ReadNext(member, none, SmallLimits()));
  return std::move(result.root);
}

absl::StatusOr<int64_t> TarOpener::ReadCount(Member& member) {
  const std::string where = member.here();
  PENSTOCK_ASSIGN_OR_RETURN(const Value count, ReadSmall(member));
  if (count.kind() != NodeKind::kInt || count.AsInt() < 0) {
    return Bad(absl::StrCat("the pickle at ", where, " is no count"));
  }
  return count.AsInt();
}

// Little-endian, 8 bytes each.
absl::StatusOr<std::vector<int64_t>> TarOpener::ReadNumbers(Member& member,
                                                            int64_t count) {
  const int64_t size = count * 8;
  if (!RangeFits(member.position, size, member.file->size_bytes())) {
    return Bad(absl::StrFormat("%d bytes at %s go beyond the end of the member",
                               size, member.here()));
  }
  std::vector<uint8_t> bytes(size);
  PENSTOCK_RETURN_IF_ERROR(
      member.file->Read(member.position, absl::MakeSpan(bytes)));
  member.position += size;
  std::vector<int64_t> numbers(count);
  for (int64_t i = 0; i < size; ++i) {
    numbers[i / 8] |= static_cast<int64_t>(uint64_t{bytes[i]} << i % 8 * 8);
  }
  return numbers;
}

absl::Status TarOpener::ReadSysInfo() {
  const std::string where = sys_info_.here();
  PENSTOCK_ASSIGN_OR_RETURN(const Value info, ReadSmall(sys_info_));
  const bool is_dict = info.kind() == NodeKind::kDict;
  const Value version = is_dict ? info.Find("protocol_version") : Value();
  if (!version || version.kind() != NodeKind::kInt ||
      version.AsInt() != kTarVersion) {
    return Bad(absl::StrFormat(
        "sys_info at %s: expected protocol_version %d, found %s", where,
        kTarVersion,
        version && version.kind() == NodeKind::kInt
            ? absl::StrCat(version.AsInt())
            : "none"));
  }
  const Value little = info.Find("little_endian");
  if (little && little.kind() == NodeKind::kBool && !little.AsBool()) {
    return absl::UnimplementedError(
        "unsupported_format: a tar file of a big-endian machine; no torch "
        "reads it right, save it again on that machine");
  }
  return absl::OkStatus();
}

absl::Status TarOpener::AddStorage(int64_t key, KnownStorage storage,
                                   absl::string_view location, int64_t offset,
                                   int64_t size_bytes) {
  const auto place = static_cast<int64_t>(stored_->places.size());
  std::shared_ptr<Storage> in_file = Storage::InFile(size_bytes, place);
  in_file->set_location(location);
  storage.storage = std::move(in_file);
  stored_->places.push_back({absl::StrCat(key), 0, offset, size_bytes, 0, 1,
                             /*is_part=*/storage.root != nullptr});
  const bool is_new =
      storages_.emplace(key, std::make_unique<KnownStorage>(std::move(storage)))
          .second;
  if (is_new) return absl::OkStatus();
  return Bad(absl::StrFormat("two storages have key %d", key));
}

// (key, location, class), or (key, class) as torch up to about 0.1.5 wrote;
// then the element count, then the elements. True for the former.
absl::StatusOr<bool> TarOpener::ReadStorage() {
  Member& member = storages_member_;
  PENSTOCK_ASSIGN_OR_RETURN(const Value about, ReadSmall(member));
  const int64_t num_parts = about.kind() == NodeKind::kTuple ? about.size() : 0;
  const bool has_location = num_parts == 3;
  if ((num_parts != 2 && !has_location) ||
      about.item(0).kind() != NodeKind::kInt) {
    return Bad("it is no (key, location, class)");
  }
  const std::optional<DType> dtype =
      DTypeOfClass(about.item(num_parts - 1), "Storage");
  if (!dtype) return Bad("it has no class that torch has");
  absl::string_view location = "cpu";
  if (has_location) {
    const Value text = about.item(1);
    if (text.kind() != NodeKind::kStr && text.kind() != NodeKind::kPy2Str) {
      return Bad("its location is no text");
    }
    location = text.AsBytes();
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<int64_t> count,
                            ReadNumbers(member, 1));
  const std::optional<int64_t> size_bytes =
      CheckedMultiply(count[0], InfoOf(*dtype).size_bytes);
  if (!size_bytes ||
      !RangeFits(member.position, *size_bytes, member.file->size_bytes())) {
    return Bad(
        absl::StrFormat("its %d elements of %s go beyond the end of the member",
                        count[0], InfoOf(*dtype).name));
  }
  KnownStorage storage;
  storage.dtype = *dtype;
  PENSTOCK_RETURN_IF_ERROR(AddStorage(about.item(0).AsInt(), std::move(storage),
                                      location, member.offset + member.position,
                                      *size_bytes));
  member.position += *size_bytes;
  return has_location;
}

absl::Status TarOpener::ReadStorages() {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t count, ReadCount(storages_member_));
  bool may_have_views = true;
  for (int64_t i = 0; i < count; ++i) {
    const std::string where = storages_member_.here();
    const absl::StatusOr<bool> read = ReadStorage();
    if (!read.ok()) {
      return Annotate(read.status(), absl::StrCat("the storage at ", where));
    }
    may_have_views = *read;
  }
  const bool at_end =
      storages_member_.position == storages_member_.file->size_bytes();
  if (at_end && (count == 0 || !may_have_views)) return absl::OkStatus();
  return ReadViews();
}

// [(key, key of the root, offset, count)], in elements.
absl::Status TarOpener::ReadViews() {
  const std::string where = storages_member_.here();
  PickleSurroundings none;
  none.persistent_ids = PersistentIds::kNone;
  PENSTOCK_ASSIGN_OR_RETURN(const PickleResult views,
                            ReadNext(storages_member_, none, limits_));
  if (views.root.kind() != NodeKind::kList) {
    return Bad(absl::StrCat("the pickle at ", where, " is no list of views"));
  }
  for (int64_t i = 0; i < views.root.size(); ++i) {
    const Value view = views.root.item(i);
    int64_t numbers[4];
    bool is_view = view.kind() == NodeKind::kTuple && view.size() == 4;
    for (int64_t k = 0; is_view && k < 4; ++k) {
      is_view = view.item(k).kind() == NodeKind::kInt;
      if (is_view) numbers[k] = view.item(k).AsInt();
    }
    if (!is_view) {
      return Bad(
          absl::StrFormat("view %d in the pickle at %s is none", i, where));
    }
    const auto root = storages_.find(numbers[1]);
    if (root == storages_.end() || root->second->root != nullptr) {
      return Bad(absl::StrFormat("view %d is of storage %d, which is none",
                                 numbers[0], numbers[1]));
    }
    const KnownStorage& of = *root->second;
    const int element_bytes = InfoOf(of.dtype).size_bytes;
    if (!RangeFits(numbers[2], numbers[3],
                   of.storage->size_bytes() / element_bytes)) {
      return absl::DataLossError(absl::StrFormat(
          "tensor_bounds: view %d of %d elements from %d: storage %d has %d",
          numbers[0], numbers[3], numbers[2], numbers[1],
          of.storage->size_bytes() / element_bytes));
    }
    KnownStorage part;
    part.dtype = of.dtype;
    part.root = &of;
    part.offset = numbers[2];
    const int64_t begin = stored_->places[of.storage->file_number()].offset;
    PENSTOCK_RETURN_IF_ERROR(AddStorage(
        numbers[0], std::move(part), of.storage->location(),
        begin + numbers[2] * element_bytes, numbers[3] * element_bytes));
  }
  return absl::OkStatus();
}

// What a tensor says of itself before its sizes: (key, key of the storage or
// None, class), or (key, class, key) in torch 0.1.1.
absl::StatusOr<TarOpener::TensorHead> TarOpener::ReadTensorHead() {
  PENSTOCK_ASSIGN_OR_RETURN(const Value about, ReadSmall(tensors_member_));
  if (about.kind() != NodeKind::kTuple || about.size() != 3 ||
      about.item(0).kind() != NodeKind::kInt) {
    return Bad("it is no (key, storage, class)");
  }
  const bool is_swapped = about.item(1).kind() == NodeKind::kGlobal;
  const Value storage_key = about.item(is_swapped ? 2 : 1);
  const std::optional<DType> dtype =
      DTypeOfClass(about.item(is_swapped ? 1 : 2), "Tensor");
  if (!dtype) return Bad("it has no class that torch has");
  TensorHead head;
  head.key = about.item(0).AsInt();
  if (storage_key.kind() == NodeKind::kNone) {
    head.storage.dtype = *dtype;
    PENSTOCK_ASSIGN_OR_RETURN(head.storage.storage, Storage::Allocate(0));
    return head;
  }
  const auto found = storage_key.kind() == NodeKind::kInt
                         ? storages_.find(storage_key.AsInt())
                         : storages_.end();
  if (found == storages_.end()) return Bad("it is over no storage");
  head.storage = *found->second;
  if (head.storage.dtype != *dtype) {
    return Bad(absl::StrFormat("it is %s, its storage is %s",
                               InfoOf(*dtype).name,
                               InfoOf(head.storage.dtype).name));
  }
  return head;
}

absl::Status TarOpener::ReadTensor() {
  PENSTOCK_ASSIGN_OR_RETURN(const TensorHead head, ReadTensorHead());
  // The upper half was never written: it may be anything.
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<int64_t> word,
                            ReadNumbers(tensors_member_, 1));
  const auto rank = static_cast<int32_t>(word[0]);
  if (rank < 0 || rank > kMaxRank) {
    return Bad(absl::StrFormat("tensor %d has rank %d, the limit is %d",
                               head.key, rank, kMaxRank));
  }
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<int64_t> shape,
                            ReadNumbers(tensors_member_, rank));
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<int64_t> strides,
                            ReadNumbers(tensors_member_, rank));
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<int64_t> offset,
                            ReadNumbers(tensors_member_, 1));
  if (rank == 0) shape = strides = {0};
  // Within the part first: it is what the tensor may see.
  const KnownStorage& of = head.storage;
  absl::StatusOr<Tensor> tensor =
      Tensor::Make(of.storage, of.dtype, shape, strides, offset[0]);
  if (tensor.ok() && of.root != nullptr && tensor->num_elements() > 0) {
    tensor = Tensor::Make(of.root->storage, of.dtype, std::move(shape),
                          std::move(strides), offset[0] + of.offset);
  }
  if (!tensor.ok()) {
    return absl::DataLossError(absl::StrFormat(
        "tensor_bounds: tensor %d: %s", head.key, tensor.status().message()));
  }
  if (storages_.contains(head.key) ||
      !tensors_.emplace(head.key, *std::move(tensor)).second) {
    return Bad(absl::StrFormat("two things have key %d", head.key));
  }
  return absl::OkStatus();
}

absl::Status TarOpener::ReadTensors() {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t count, ReadCount(tensors_member_));
  for (int64_t i = 0; i < count; ++i) {
    const std::string where = tensors_member_.here();
    const absl::Status read = ReadTensor();
    if (!read.ok()) {
      return Annotate(read, absl::StrFormat("the tensor at %s", where));
    }
  }
  return absl::OkStatus();
}

absl::Status TarOpener::ReadObject() {
  PickleSurroundings around;
  around.persistent_ids = PersistentIds::kTar;
  around.objects = [this](int64_t key) -> absl::StatusOr<KeyedObject> {
    KeyedObject object;
    const auto tensor = tensors_.find(key);
    const auto storage = storages_.find(key);
    if (tensor != tensors_.end()) {
      object.tensor = tensor->second;
    } else if (storage != storages_.end()) {
      object.storage = storage->second->storage;
      object.dtype = storage->second->dtype;
    } else {
      return absl::DataLossError(
          absl::StrFormat("persid_bad: no tensor or storage has key %d", key));
    }
    return object;
  };
  PENSTOCK_ASSIGN_OR_RETURN(PickleResult result,
                            ReadNext(pickle_, around, limits_));
  tar_.root = std::move(result.root);
  tar_.globals = std::move(result.globals);
  for (std::string& warning : result.warnings) {
    tar_.warnings.push_back(std::move(warning));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ForeignFile> OpenTar(
    std::shared_ptr<const RandomAccessFile> file, const PickleLimits& limits) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> tar = TarOpener(std::move(file), limits).Open();
  if (!tar.ok()) return Annotate(tar.status(), path);
  return tar;
}

}  // namespace penstock
