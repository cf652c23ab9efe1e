#include "compat/nested_storages.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {
namespace {

constexpr size_t kMaxWarnings = 20;

std::string NameOf(const NestedFile& nested) {
  return nested.offset < 0
             ? absl::StrFormat("the file in %d bytes of a pickle",
                               nested.file->size_bytes())
             : absl::StrFormat("the file in %d bytes at offset %d",
                               nested.file->size_bytes(), nested.offset);
}

// All of the one storage, checked as far as its format lets it be.
absl::StatusOr<std::string> ReadWhole(const ForeignFile& opened) {
  const Plan plan = PlanInOrder(opened.root.graph()->storages());
  std::string bytes(plan.total_bytes, '\0');
  const std::unique_ptr<ForeignSource> source = opened.new_source();
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    // A storage of several chunks shares none.
    const Piece& piece = plan.pieces_of(chunk)[0];
    auto* const target = reinterpret_cast<uint8_t*>(&bytes[piece.begin]);
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> read,
                              source->Bytes(plan, chunk, slot, target));
    if (read.data() != target) std::copy(read.begin(), read.end(), target);
  }
  PENSTOCK_RETURN_IF_ERROR(source->Finish());
  return bytes;
}

}  // namespace

NestedResolver NestedStorages::resolver() {
  if (open_ == nullptr) return nullptr;
  return [this](const NestedFile& nested)
             -> absl::StatusOr<std::optional<NestedStorage>> {
    absl::StatusOr<std::optional<NestedStorage>> storage = Open(nested);
    if (!storage.ok()) return Annotate(storage.status(), NameOf(nested));
    return storage;
  };
}

absl::StatusOr<std::optional<NestedStorage>> NestedStorages::Open(
    const NestedFile& nested) {
  PENSTOCK_ASSIGN_OR_RETURN(const ForeignFile opened, open_(nested.file));
  Note(opened);
  if (opened.root.kind() != NodeKind::kStorage) {
    warnings_.push_back(absl::StrCat(
        NameOf(nested), " holds no single storage; it was left as it is"));
    return std::optional<NestedStorage>();
  }
  const Storage& inner = *opened.root.AsStorage();
  PENSTOCK_ASSIGN_OR_RETURN(StoredAt place, PlaceOf(nested, opened));
  auto storage = Storage::InFile(inner.size_bytes(),
                                 static_cast<int64_t>(stored_.places.size()));
  storage->set_location(inner.location());
  stored_.places.push_back(std::move(place));
  return std::optional<NestedStorage>(
      {std::move(storage), opened.root.storage_dtype()});
}

absl::StatusOr<StoredAt> NestedStorages::PlaceOf(const NestedFile& nested,
                                                 const ForeignFile& opened) {
  StoredAt place;
  place.name = NameOf(nested);
  place.size_bytes = opened.root.AsStorage()->size_bytes();
  if (place.size_bytes == 0) return place;
  // Only a zip file has checksums; they are used up here.
  if (opened.format == ForeignFormat::kPtLegacy && opened.extents.size() == 1) {
    place.offset = opened.extents[0].file_offset;
    if (nested.offset >= 0) {
      place.offset += nested.offset;
    } else {
      PENSTOCK_ASSIGN_OR_RETURN(place.file, Keep(nested.file));
    }
    return place;
  }
  PENSTOCK_RETURN_IF_ERROR(Afford(place.size_bytes));
  PENSTOCK_ASSIGN_OR_RETURN(std::string bytes, ReadWhole(opened));
  PENSTOCK_ASSIGN_OR_RETURN(place.file,
                            Keep(FileFromString(std::move(bytes), place.name)));
  return place;
}

absl::Status NestedStorages::Afford(int64_t num_bytes) const {
  if (num_bytes <= memory_bytes_left_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("materialize_limit: %d bytes must be held in memory, %d "
                      "may still be",
                      num_bytes, memory_bytes_left_));
}

absl::StatusOr<int64_t> NestedStorages::Keep(
    std::shared_ptr<const RandomAccessFile> file) {
  PENSTOCK_RETURN_IF_ERROR(Afford(file->size_bytes()));
  memory_bytes_left_ -= file->size_bytes();
  stored_.files.push_back(std::move(file));
  return static_cast<int64_t>(stored_.files.size()) - 1;
}

void NestedStorages::Note(const ForeignFile& opened) {
  for (const std::string& global : opened.globals) {
    if (seen_globals_.insert(global).second) globals_.push_back(global);
  }
  for (const std::string& warning : opened.warnings) {
    if (warnings_.size() < kMaxWarnings &&
        !absl::c_linear_search(warnings_, warning)) {
      warnings_.push_back(warning);
    }
  }
}

void NestedStorages::Report(ForeignFile& foreign) const {
  const absl::flat_hash_set<std::string> known(foreign.globals.begin(),
                                               foreign.globals.end());
  for (const std::string& global : globals_) {
    if (!known.contains(global)) foreign.globals.push_back(global);
  }
  foreign.warnings.insert(foreign.warnings.end(), warnings_.begin(),
                          warnings_.end());
}

}  // namespace penstock
