#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "core/status_macros.h"

namespace penstock {

Checkpoint::Checkpoint(std::unique_ptr<Opened> opened)
    : opened_(std::move(opened)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& path,
                                            const RunOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            OpenPath(path, options));
  return Open(std::move(file), options);
}

absl::StatusOr<Checkpoint> Checkpoint::Open(
    std::shared_ptr<const RandomAccessFile> file, const RunOptions& options) {
  auto opened = std::make_unique<Opened>();
  opened->options = options;
  opened->path = file->path();
  opened->file_bytes = file->size_bytes();
  PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(*file));
  PENSTOCK_RETURN_IF_ERROR(opened->OpenAs(kind, std::move(file)));
  return Checkpoint(std::move(opened));
}

Format Checkpoint::format() const { return opened_->format; }
int64_t Checkpoint::file_bytes() const { return opened_->file_bytes; }
const std::string& Checkpoint::writer() const { return opened_->writer; }
const std::string& Checkpoint::codec() const { return opened_->codec; }
const std::vector<std::string>& Checkpoint::warnings() const {
  return opened_->foreign.warnings;
}
const std::optional<Origin>& Checkpoint::origin() const {
  return opened_->origin;
}
const std::vector<std::pair<std::string, std::string>>& Checkpoint::metadata()
    const {
  return opened_->metadata;
}
const Value& Checkpoint::root() const { return opened_->root; }
const StateDict& Checkpoint::state_dict() const {
  return opened_->state_dict();
}

std::vector<std::string> Checkpoint::globals() const {
  if (opened_->native == nullptr) return opened_->foreign.globals;
  std::vector<std::string> result;
  absl::flat_hash_set<std::string> seen;
  const std::shared_ptr<const Graph>& graph = opened_->root.graph();
  for (int64_t id = 0; id < graph->num_nodes(); ++id) {
    const Value value(graph, static_cast<NodeId>(id));
    if (value.kind() != NodeKind::kGlobal) continue;
    std::string name = absl::StrCat(value.module(), " ", value.name());
    if (seen.insert(name).second) result.push_back(std::move(name));
  }
  return result;
}

StorageLayout Checkpoint::LayoutOf(const Storage& storage) const {
  StorageLayout layout;
  layout.size_bytes = storage.size_bytes();
  layout.stored_bytes = storage.size_bytes();
  if (opened_->native == nullptr || storage.size_bytes() == 0) return layout;
  const NativeIndex& index = opened_->native->index();
  const int64_t number = storage.file_number();
  layout.stored_bytes = opened_->native->StoredBytes(number);
  layout.coded = index.chunks[index.storages[number].first_chunk].coded != 0;
  return layout;
}

absl::StatusOr<Tensor> Checkpoint::Read(absl::string_view name) const {
  const NamedTensor* entry = opened_->state_dict().Find(name);
  if (entry == nullptr) return NoTensor(opened_->path, name);
  return opened_->Read(*entry, entry->tensor);
}

absl::StatusOr<Tensor> Checkpoint::ReadRows(absl::string_view name,
                                            int64_t begin, int64_t end) const {
  const NamedTensor* entry = opened_->state_dict().Find(name);
  if (entry == nullptr) return NoTensor(opened_->path, name);
  absl::StatusOr<Tensor> rows = entry->tensor.Rows(begin, end);
  if (!rows.ok()) return Annotate(rows.status(), entry->name);
  return opened_->Read(*entry, *rows);
}

absl::StatusOr<Tensor> Checkpoint::ReadView(absl::string_view name,
                                            const Tensor& view) const {
  const NamedTensor* entry = opened_->state_dict().Find(name);
  if (entry == nullptr) return NoTensor(opened_->path, name);
  if (view.storage() != entry->tensor.storage()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": the view is of another storage"));
  }
  return opened_->Read(*entry, view);
}

}  // namespace penstock
