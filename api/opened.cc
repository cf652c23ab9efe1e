#include "api/opened.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "codec/native_source.h"
#include "codec/reporting_source.h"
#include "compat/extent_source.h"
#include "compat/open_foreign.h"
#include "compat/origin.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"
#include "core/tensor_walk.h"

namespace penstock {
namespace {

// Of tensors, where sharing multiplies them (StateDict::FromValue).
constexpr int64_t kMaxNames = 4'000'000;

}  // namespace

Format FormatOf(ForeignFormat format) {
  switch (format) {
    case ForeignFormat::kPt:
      return Format::kPt;
    case ForeignFormat::kPtLegacy:
      return Format::kPtLegacy;
    case ForeignFormat::kPtTar:
      return Format::kPtTar;
    case ForeignFormat::kPickle:
      return Format::kPickle;
    case ForeignFormat::kSafetensors:
      return Format::kSafetensors;
    case ForeignFormat::kNpz:
      return Format::kNpz;
    case ForeignFormat::kNpy:
      return Format::kNpy;
    case ForeignFormat::kDcp:
      return Format::kDcp;
    case ForeignFormat::kPt2:
      return Format::kPt2;
    case ForeignFormat::kTorchPackage:
      return Format::kTorchPackage;
  }
  return Format::kPt;
}

StorageNames NamesOf(const StateDict& state_dict) {
  StorageNames names;
  for (const NamedTensor& entry : state_dict.entries()) {
    names.try_emplace(entry.tensor.storage().get(), entry.name);
  }
  return names;
}

std::vector<std::string> NamesFor(const Plan& plan, const StorageNames& names) {
  std::vector<std::string> result;
  for (const auto& storage : plan.storages) {
    const auto found = names.find(storage.get());
    result.push_back(found == names.end() ? "?" : found->second);
  }
  return result;
}

absl::Status NoTensor(const std::string& path, absl::string_view name) {
  return absl::NotFoundError(
      absl::StrCat(path, ": no tensor is named \"", name, "\""));
}

absl::StatusOr<Tensor> RebasedOn(std::shared_ptr<const Storage> storage,
                                 const Tensor& view) {
  // The range begins with the byte of the first element, which is not the
  // byte's first one where several share it.
  const int64_t offset =
      storage->size_bytes() == 0
          ? 0
          : view.offset() % InfoOf(view.dtype()).values_per_byte;
  return Tensor::Make(
      std::move(storage), view.dtype(),
      std::vector<int64_t>(view.shape().begin(), view.shape().end()),
      std::vector<int64_t>(view.strides().begin(), view.strides().end()),
      offset);
}

int64_t StorageBytesOf(const Graph& graph) {
  int64_t total = 0;
  for (const auto& storage : graph.storages()) total += storage->size_bytes();
  return total;
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

FileSystem& FilesOf(const RunOptions& options) {
  return options.files == nullptr ? PosixFileSystem() : *options.files;
}

absl::StatusOr<std::shared_ptr<const RandomAccessFile>> OpenPath(
    const std::string& path, const RunOptions& options) {
  FileSystem& files = FilesOf(options);
  auto file = files.OpenRead(path);
  if (absl::IsInvalidArgument(file.status()) &&
      files.Stat(path).value_or(FileInfo()).type ==
          FileInfo::Type::kDirectory) {
    file = files.OpenRead(
        absl::StrCat(absl::StripSuffix(path, "/"), "/", kDcpMetadataName));
    if (absl::IsNotFound(file.status())) {
      return absl::InvalidArgumentError(absl::StrCat(
          path,
          ": is a directory, and no distributed checkpoint: give one of "
          "its files; penstock doctor says which"));
    }
  }
  PENSTOCK_RETURN_IF_ERROR(file.status());
  return std::shared_ptr<const RandomAccessFile>(*std::move(file));
}

PumpOptions PumpOptionsOf(const RunOptions& options) {
  PumpOptions pump;
  pump.threads = options.threads;
  pump.memory_bytes = options.memory_bytes;
  pump.progress = options.progress;
  return pump;
}

absl::StatusOr<PumpStats> RunPump(const Plan& plan, const StorageNames& names,
                                  Source& source, Sink& sink,
                                  const RunOptions& options) {
  ReportingSource reporting(source, NamesFor(plan, names),
                            ReportingSource::OnDamage::kFail);
  return Pump(plan, reporting, sink, PumpOptionsOf(options));
}

absl::Status Checkpoint::Opened::OpenAs(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file) {
  if (kind == FileKind::kNative) {
    PENSTOCK_ASSIGN_OR_RETURN(native, NativeFile::Open(std::move(file)));
    root = native->root();
    for (const auto& [key, value] : native->index().meta) {
      if (key == "writer") writer = value;
      if (key == "codec") codec = value;
      if (absl::StartsWith(key, kMetadataPrefix)) {
        metadata.emplace_back(key.substr(kMetadataPrefix.size()), value);
      }
    }
    PENSTOCK_ASSIGN_OR_RETURN(const std::optional<OriginInfo> info,
                              OriginOf(native->index()));
    if (info.has_value()) {
      origin = Origin{FormatOf(info->format), info->file_bytes,
                      info->skeleton_bytes};
    }
  } else {
    ForeignOptions how;
    how.inflate.files = options.files;
    how.inflate.directory = options.temporary_directory;
    if (options.int_keys) how.dcp_keys = DcpKeys::kIntsUnderState;
    PENSTOCK_ASSIGN_OR_RETURN(foreign, OpenForeign(kind, std::move(file), how));
    format = FormatOf(foreign.format);
    if (foreign.file == nullptr) {
      for (const auto& part : foreign.stored->files) {
        file_bytes += part->size_bytes();
      }
    }
    root = foreign.root;
    writer = foreign.writer;
    metadata = foreign.metadata;
    extent_offsets.assign(root.graph()->storages().size(), -1);
    for (const FileExtent& extent : foreign.extents) {
      extent_offsets[extent.storage] = extent.file_offset;
    }
  }
  // Naming them may be an error, which belongs to opening; almost always it is
  // plain that it will be none.
  if (HasFewPaths(*root.graph(), kMaxNames)) return absl::OkStatus();
  absl::Status named;
  std::call_once(named_, [&] { named = NameTensors(); });
  return named.ok() ? named : Annotate(named, path);
}

absl::Status Checkpoint::Opened::NameTensors() const {
  PENSTOCK_ASSIGN_OR_RETURN(state_dict_, StateDict::FromValue(root, kMaxNames));
  names_ = NamesOf(state_dict_);
  if (native != nullptr) {
    for (const auto& attachment : native->index().attachments) {
      names_.emplace(attachment.get(), "(origin)");
    }
  }
  return absl::OkStatus();
}

const StateDict& Checkpoint::Opened::state_dict() const {
  std::call_once(named_, [this] { PENSTOCK_CHECK(NameTensors().ok()); });
  return state_dict_;
}

const StorageNames& Checkpoint::Opened::names() const {
  state_dict();
  return names_;
}

Checkpoint::Opened::Run Checkpoint::Opened::NewRun(
    std::shared_ptr<const uint8_t> pages) const {
  Run run;
  if (native != nullptr) {
    run.source = std::make_unique<NativeSource>(*native, std::move(pages));
    return run;
  }
  std::unique_ptr<ForeignSource> source = foreign.new_source();
  if (pages != nullptr) source->UsePages(std::move(pages));
  run.foreign = source.get();
  run.source = std::move(source);
  return run;
}

Plan Checkpoint::Opened::TreePlan() const {
  return native != nullptr ? native->TreePlan()
                           : PlanInOrder(root.graph()->storages());
}

absl::StatusOr<Tensor> Checkpoint::Opened::Read(const NamedTensor& entry,
                                                const Tensor& view) const {
  const ByteRange range = view.byte_range();
  PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> storage,
                            Storage::Allocate(range.size()));
  storage->set_location(view.storage()->location());
  const Plan plan = PlanRange(view.storage(), range.begin, range.end);
  const Run run = NewRun();
  MemorySink sink({{storage, range.begin}});
  PENSTOCK_RETURN_IF_ERROR(RunPump(plan, {{view.storage().get(), entry.name}},
                                   *run.source, sink, options)
                               .status());
  return RebasedOn(storage, view);
}

}  // namespace penstock
