#include "api/apply_edits.h"

#include <memory>
#include <utility>

#include "core/graph_rewrite.h"
#include "core/module_state_dict.h"
#include "core/python_shapes.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor_walk.h"

namespace penstock {
namespace {

// The same bytes at another location: of a file's storage another number
// holder, of memory another view that keeps the first alive.
std::shared_ptr<const Storage> Moved(std::shared_ptr<const Storage> storage,
                                     const std::string& location) {
  if (storage->location() == location) return storage;
  std::shared_ptr<Storage> moved;
  if (storage->in_file()) {
    moved = Storage::InFile(storage->size_bytes(), storage->file_number());
  } else {
    const absl::Span<const uint8_t> bytes = storage->bytes();
    moved = Storage::Adopt(
        absl::MakeSpan(const_cast<uint8_t*>(bytes.data()), bytes.size()),
        [storage] {});
  }
  moved->set_location(location);
  return moved;
}

}  // namespace

absl::StatusOr<EditedCheckpoint> ApplyEdits(const Value& root,
                                            const Edits& edits) {
  EditedCheckpoint edited;
  edited.root = root;
  if (!edits.select.empty()) {
    PENSTOCK_ASSIGN_OR_RETURN(edited.root, Select(edited.root, edits.select));
  }
  if (!edits.keep.empty() || !edits.drop.empty() ||
      !edits.strip_prefixes.empty() || !edits.renames.empty()) {
    PENSTOCK_ASSIGN_OR_RETURN(edited.root,
                              EditNames(edited.root, edits, edited.notes));
  }
  // Before casts: what is derived takes its location from what it is made of.
  if (!edits.map_location.empty()) {
    PENSTOCK_ASSIGN_OR_RETURN(edited.root,
                              MoveStorages(edited.root, edits.map_location));
  }
  if (edits.dtype.has_value()) {
    PENSTOCK_ASSIGN_OR_RETURN(
        edited.root, CastTensors(edited.root, *edits.dtype, edited.derivations,
                                 edited.notes));
  }
  return edited;
}

absl::StatusOr<Value> Select(const Value& root, const std::string& path) {
  Value selected = root;
  if (path != ".") {
    PENSTOCK_ASSIGN_OR_RETURN(selected, FindPath(root, path));
  }
  if (IsPickledModule(selected)) return ModuleStateDict(selected);
  return Rewritten(selected.graph()->tables(), selected.id());
}

absl::StatusOr<Value> MoveStorages(const Value& root,
                                   const std::string& location) {
  GraphTables tables = root.graph()->tables();
  for (std::shared_ptr<const Storage>& storage : tables.storages) {
    storage = Moved(std::move(storage), location);
  }
  return Rewritten(tables, root.id());
}

}  // namespace penstock
