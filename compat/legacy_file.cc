#include "compat/legacy_file.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "compat/extent_source.h"
#include "compat/pickle_surroundings.h"
#include "compat/read_window.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {
namespace {

// Before each storage: how many elements it has.
constexpr int64_t kCountBytes = 8;

// Up to this size a storage is read over, rather than past, to the next count.
constexpr int64_t kSmallStorageBytes = 64 << 10;

absl::Status Bad(absl::string_view name, absl::string_view text) {
  return absl::DataLossError(absl::StrCat(name, ": ", text));
}

// Magic, version and sys_info are some dozens of bytes.
PickleLimits SmallLimits() {
  PickleLimits limits;
  limits.max_pickle_bytes = 64 << 10;
  limits.max_nodes = 10'000;
  return limits;
}

// The steps of OpenLegacy. Thread-compatible.
class LegacyOpener {
 public:
  LegacyOpener(std::shared_ptr<const RandomAccessFile> file,
               const PickleLimits& limits, NestedOpener open_nested)
      : limits_(limits),
        stored_(std::make_shared<StoredStorages>()),
        nested_(std::move(open_nested), *stored_) {
    legacy_.format = ForeignFormat::kPtLegacy;
    legacy_.writer = "torch.save (legacy stream)";
    legacy_.file = std::move(file);
    stored_->files.push_back(legacy_.file);
  }

  absl::StatusOr<ForeignFile> Open();

 private:
  // A storage with bytes in the stream.
  struct Root {
    std::string key;
    int64_t place = 0;  // of it in stored_
    int64_t num_elements = 0;
    std::optional<DType> dtype;
    bool has_bytes = false;  // its key was in the list
  };
  struct View {
    int64_t place = 0;
    int64_t root_place = 0;
    int64_t offset_bytes = 0;
  };

  int64_t file_bytes() const { return legacy_.file->size_bytes(); }
  StoredAt& place(int64_t number) { return stored_->places[number]; }
  void Warn(std::string text) { legacy_.warnings.push_back(std::move(text)); }

  absl::StatusOr<PickleResult> ReadNext(absl::string_view what,
                                        const PickleSurroundings& around,
                                        const PickleLimits& limits);
  absl::Status ReadHead();
  void ReadSysInfo(const Value& info);
  absl::Status ReadObject();
  absl::StatusOr<std::shared_ptr<const Storage>> Resolve(
      const StorageReference& reference);
  absl::StatusOr<std::vector<Root*>> ReadKeys();
  absl::Status PlaceRoots(absl::Span<Root* const> roots);
  absl::Status CheckCount(const Root& root, int64_t offset, uint64_t count);
  absl::Status SetSwaps();

  const PickleLimits& limits_;
  const std::shared_ptr<StoredStorages> stored_;
  NestedStorages nested_;
  ForeignFile legacy_;
  bool big_endian_ = false;
  bool counts_swapped_ = false;
  int64_t position_ = 0;  // of what comes next

  std::vector<Root> roots_;
  absl::flat_hash_map<std::string, int64_t> root_numbers_;  // by key
  std::vector<View> views_;
};

absl::StatusOr<ForeignFile> LegacyOpener::Open() {
  PENSTOCK_RETURN_IF_ERROR(ReadHead());
  PENSTOCK_RETURN_IF_ERROR(ReadObject());
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Root*> roots, ReadKeys());
  PENSTOCK_RETURN_IF_ERROR(PlaceRoots(roots));
  PENSTOCK_RETURN_IF_ERROR(SetSwaps());
  SetStored(stored_, legacy_);
  if (position_ < file_bytes()) {
    Warn(absl::StrFormat(
        "%d bytes behind the end of the first object, at offset %d, are not "
        "read: perhaps something else was saved there",
        file_bytes() - position_, position_));
  }
  return std::move(legacy_);
}

absl::StatusOr<PickleResult> LegacyOpener::ReadNext(
    absl::string_view what, const PickleSurroundings& around,
    const PickleLimits& limits) {
  PickleInput input;
  input.file = legacy_.file;
  input.begin = position_;
  absl::StatusOr<PickleResult> result = ReadPickle(input, around, limits);
  if (!result.ok()) {
    return Annotate(result.status(),
                    absl::StrFormat("%s at offset %d", what, position_));
  }
  position_ += result->consumed_bytes;
  return result;
}

absl::Status LegacyOpener::ReadHead() {
  PickleSurroundings none;
  none.persistent_ids = PersistentIds::kNone;
  PENSTOCK_ASSIGN_OR_RETURN(const PickleResult magic,
                            ReadNext("magic number", none, SmallLimits()));
  // A number itself: what a call would make of it nobody knows.
  if (magic.root.kind() != NodeKind::kBigInt ||
      magic.root.AsBytes() != kLegacyMagic) {
    return Bad("legacy_magic",
               "the first pickle is not the number 0x1950A86A20F9469CFC6C; "
               "torch refuses it, too");
  }
  const int64_t begin = position_;
  PENSTOCK_ASSIGN_OR_RETURN(const PickleResult version,
                            ReadNext("version", none, SmallLimits()));
  if (version.root.kind() != NodeKind::kInt ||
      version.root.AsInt() != kLegacyVersion) {
    return Bad("legacy_version",
               absl::StrFormat("the pickle at offset %d: expected %d, found %s",
                               begin, kLegacyVersion,
                               version.root.kind() == NodeKind::kInt
                                   ? absl::StrCat(version.root.AsInt())
                                   : "something else"));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const PickleResult info,
                            ReadNext("sys_info", none, SmallLimits()));
  ReadSysInfo(info.root);
  return absl::OkStatus();
}

// torch reads it, and uses nothing of it.
void LegacyOpener::ReadSysInfo(const Value& info) {
  const Value little =
      info.kind() == NodeKind::kDict ? info.Find("little_endian") : Value();
  if (!little || little.kind() != NodeKind::kBool) {
    Warn("sys_info does not say little_endian: taken to be so");
    return;
  }
  big_endian_ = !little.AsBool();
  if (big_endian_) legacy_.writer = "torch.save (legacy stream, big-endian)";
}

absl::Status LegacyOpener::ReadObject() {
  PickleSurroundings around;
  around.persistent_ids = PersistentIds::kLegacy;
  around.storages = [this](const StorageReference& reference) {
    return Resolve(reference);
  };
  around.nested = nested_.resolver();
  PENSTOCK_ASSIGN_OR_RETURN(PickleResult result,
                            ReadNext("object", around, limits_));
  legacy_.root = std::move(result.root);
  legacy_.globals = std::move(result.globals);
  for (std::string& warning : result.warnings) Warn(std::move(warning));
  nested_.Report(legacy_);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Storage>> LegacyOpener::Resolve(
    const StorageReference& reference) {
  const auto number = static_cast<int64_t>(stored_->places.size());
  StoredAt at;
  at.name = reference.key;
  at.size_bytes = reference.size_bytes;
  if (reference.view) {
    at.size_bytes = reference.view->size_bytes;
    at.is_part = true;
    const Root& root = roots_[root_numbers_.at(reference.key)];
    views_.push_back({number, root.place, reference.view->offset_bytes});
  } else {
    root_numbers_.emplace(reference.key, roots_.size());
    roots_.push_back({reference.key, number, reference.num_elements,
                      reference.dtype, false});
  }
  std::shared_ptr<Storage> storage = Storage::InFile(at.size_bytes, number);
  storage->set_location(reference.location);
  stored_->places.push_back(std::move(at));
  return std::shared_ptr<const Storage>(std::move(storage));
}

// The storages in the order in which their bytes follow.
absl::StatusOr<std::vector<LegacyOpener::Root*>> LegacyOpener::ReadKeys() {
  PickleSurroundings none;
  none.persistent_ids = PersistentIds::kNone;
  const int64_t begin = position_;
  PENSTOCK_ASSIGN_OR_RETURN(const PickleResult keys,
                            ReadNext("storage keys", none, limits_));
  const std::string where = absl::StrFormat("the pickle at offset %d", begin);
  if (keys.root.kind() != NodeKind::kList) {
    return Bad("legacy_keys", absl::StrCat(where, " is no list of keys"));
  }
  std::vector<Root*> roots;
  for (int64_t i = 0; i < keys.root.size(); ++i) {
    const Value key = keys.root.item(i);
    if (key.kind() != NodeKind::kStr && key.kind() != NodeKind::kPy2Str &&
        key.kind() != NodeKind::kBytes) {
      return Bad("legacy_keys", absl::StrFormat("%s: item %d of %d is no key",
                                                where, i, keys.root.size()));
    }
    const auto found = root_numbers_.find(key.AsBytes());
    if (found == root_numbers_.end()) {
      return Bad("legacy_keys",
                 absl::StrFormat("%s: nothing refers to storage %s", where,
                                 QuotedRecordName(key.AsBytes())));
    }
    Root& root = roots_[found->second];
    if (root.has_bytes) {
      return Bad("legacy_keys", absl::StrFormat("%s: storage %s comes twice",
                                                where, root.key));
    }
    root.has_bytes = true;
    roots.push_back(&root);
  }
  for (const Root& root : roots_) {
    if (root.has_bytes) continue;
    return Bad("legacy_keys",
               absl::StrFormat("%s lacks storage %s", where, root.key));
  }
  return roots;
}

absl::Status LegacyOpener::PlaceRoots(absl::Span<Root* const> roots) {
  std::optional<int64_t> end = position_;  // of the last storage
  for (const Root* root : roots) {
    if (end) end = CheckedAdd(*end, place(root->place).size_bytes);
    if (end) end = CheckedAdd(*end, kCountBytes);
  }
  if (!end) return Bad("legacy_size", "the storages have over 2^63 bytes");
  ReadWindow window(*legacy_.file);
  for (const Root* root : roots) {
    StoredAt& at = place(root->place);
    const bool has_count = kCountBytes <= file_bytes() - position_;
    if (has_count) {
      const int64_t ahead =
          at.size_bytes <= kSmallStorageBytes ? kReadWindowBytes : kCountBytes;
      PENSTOCK_ASSIGN_OR_RETURN(
          const absl::Span<const uint8_t> bytes,
          window.Get(position_, kCountBytes, position_ + ahead));
      uint64_t count = 0;
      for (int i = kCountBytes - 1; i >= 0; --i) count = count << 8 | bytes[i];
      PENSTOCK_RETURN_IF_ERROR(CheckCount(*root, position_, count));
    }
    if (!has_count || at.size_bytes > file_bytes() - position_ - kCountBytes) {
      return Bad("legacy_size",
                 absl::StrFormat("storage %s of %d bytes at offset %d goes "
                                 "beyond the end of the file; in all %d bytes "
                                 "are missing",
                                 root->key, at.size_bytes,
                                 position_ + kCountBytes, *end - file_bytes()));
    }
    at.offset = position_ + kCountBytes;
    position_ = at.offset + at.size_bytes;
  }
  for (const View& view : views_) {
    place(view.place).offset =
        place(view.root_place).offset + view.offset_bytes;
  }
  return absl::OkStatus();
}

absl::Status LegacyOpener::CheckCount(const Root& root, int64_t offset,
                                      uint64_t count) {
  const auto expected = static_cast<uint64_t>(root.num_elements);
  if (count == expected) return absl::OkStatus();
  if (__builtin_bswap64(count) == expected) {
    // As big-endian machines wrote it up to torch 1.3.
    if (!std::exchange(counts_swapped_, true)) {
      Warn("the sizes of the storages are big-endian: torch refuses them");
    }
    return absl::OkStatus();
  }
  return Bad("legacy_size",
             absl::StrFormat("storage %s at offset %d has %d elements, the "
                             "object's pickle says %d",
                             root.key, offset, count, expected));
}

absl::Status LegacyOpener::SetSwaps() {
  if (!big_endian_) return absl::OkStatus();
  absl::flat_hash_map<int64_t, const Root*> roots;  // by place
  for (const Root& root : roots_) roots.emplace(root.place, &root);
  const Graph& graph = *legacy_.root.graph();
  const std::vector<DType> dtypes = graph.StorageDTypes();
  for (size_t i = 0; i < dtypes.size(); ++i) {
    const auto found = roots.find(graph.storages()[i]->file_number());
    if (found == roots.end()) continue;
    const Root& root = *found->second;
    const DTypeInfo& info = InfoOf(root.dtype.value_or(dtypes[i]));
    if (!root.dtype) {
      place(root.place).swap_bytes = info.word_bytes;
    } else if (info.word_bytes != info.size_bytes) {
      return absl::UnimplementedError(absl::StrFormat(
          "unsupported_format: storage %s holds %s numbers of a big-endian "
          "machine, whose halves torch left in an order that depends on its "
          "version; save it again as real numbers",
          root.key, info.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ForeignFile> OpenLegacy(
    std::shared_ptr<const RandomAccessFile> file, const PickleLimits& limits,
    NestedOpener open_nested) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> legacy =
      LegacyOpener(std::move(file), limits, std::move(open_nested)).Open();
  if (!legacy.ok()) return Annotate(legacy.status(), path);
  return legacy;
}

}  // namespace penstock
