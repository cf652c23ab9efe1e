#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/edited_run.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "api/write_job.h"
#include "codec/block_writer.h"
#include "core/atomic_file.h"
#include "core/bytes.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Several files: all of them are complete before the first appears, and the
// index is the last to.
absl::StatusOr<SaveReport> WriteShards(const WriteJob& job) {
  const Clock::time_point start = Clock::now();
  PENSTOCK_ASSIGN_OR_RETURN(SafetensorsPlan plan, PlanShards(job));
  SaveReport report;
  report.format = job.options.format;
  report.warnings = std::move(plan.warnings);
  report.raw_bytes = StorageBytesOf(*job.root.graph());
  std::vector<std::unique_ptr<AtomicFile>> files;
  const auto create = [&](const std::string& name) -> absl::Status {
    PENSTOCK_ASSIGN_OR_RETURN(
        std::unique_ptr<AtomicFile> file,
        AtomicFile::Create(FilesOf(job.options.run),
                           absl::StrCat(job.directory, "/", name),
                           Caching::kDirect));
    files.push_back(std::move(file));
    report.files.push_back(name);
    return absl::OkStatus();
  };
  for (SafetensorsOutput& shard : plan.files) {
    PENSTOCK_RETURN_IF_ERROR(create(shard.file_name));
    PENSTOCK_RETURN_IF_ERROR(
        WriteShard(job, std::move(shard), files.back()->file(), report));
  }
  if (!plan.index_file_name.empty()) {
    PENSTOCK_RETURN_IF_ERROR(create(plan.index_file_name));
    BlockWriter index(files.back()->file());
    PENSTOCK_RETURN_IF_ERROR(index.Append(ByteSpan(plan.index_json)));
    PENSTOCK_RETURN_IF_ERROR(index.Finish());
    report.file_bytes += static_cast<int64_t>(plan.index_json.size());
  }
  if (job.foreign != nullptr) {
    PENSTOCK_RETURN_IF_ERROR(job.foreign->VerifyRest());
  }
  report.written_seconds = SecondsSince(start);
  for (const auto& file : files) PENSTOCK_RETURN_IF_ERROR(file->Commit());
  if (files.size() == 1) report.files.clear();
  report.seconds = SecondsSince(start);
  return report;
}

absl::StatusOr<SaveReport> WriteToPath(const WriteJob& job) {
  const Clock::time_point start = Clock::now();
  if (job.options.format == Format::kSafetensors &&
      job.options.shard_bytes > 0) {
    return WriteShards(job);
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<AtomicFile> file,
      AtomicFile::Create(FilesOf(job.options.run), job.name, Caching::kDirect));
  PENSTOCK_ASSIGN_OR_RETURN(SaveReport report, WriteTo(job, file->file()));
  report.written_seconds = SecondsSince(start);
  PENSTOCK_RETURN_IF_ERROR(file->Commit());
  report.seconds = SecondsSince(start);
  Remember(job, report);
  return report;
}

// Convert, where `write` brings a WriteJob to its destination.
template <typename Write>
absl::StatusOr<ConvertReport> ConvertBy(const Write& write,
                                        const Checkpoint::Opened& opened,
                                        const std::string& name,
                                        const std::string& directory,
                                        const SaveOptions& options) {
  const Checkpoint::Opened::Run run = opened.NewRun();
  PENSTOCK_ASSIGN_OR_RETURN(const EditedRun edited,
                            EditRun(opened, *run.source, options));
  ConvertReport report;
  report.from = opened.format;
  report.num_tensors = edited.num_tensors;
  PENSTOCK_ASSIGN_OR_RETURN(
      report.saved,
      write(WriteJob{edited.root, *edited.names, *edited.source, edited.options,
                     name, directory, &opened, run.foreign}));
  report.saved.notes = edited.Notes();
  return report;
}

}  // namespace

absl::string_view NameOf(Format format) {
  switch (format) {
    case Format::kNative:
      return "pstk";
    case Format::kPt:
      return "pt";
    case Format::kPtLegacy:
      return "pt-legacy";
    case Format::kPtTar:
      return "pt-tar";
    case Format::kPickle:
      return "pickle";
    case Format::kSafetensors:
      return "safetensors";
    case Format::kNpz:
      return "npz";
    case Format::kNpy:
      return "npy";
    case Format::kDcp:
      return "dcp";
    case Format::kPt2:
      return "pt2";
    case Format::kTorchPackage:
      return "torch-package";
  }
  return "?";
}

std::optional<Format> FormatOfName(absl::string_view path) {
  struct Extension {
    absl::string_view text;
    Format format;
  };
  static constexpr Extension kExtensions[] = {
      {".pstk", Format::kNative}, {".pt", Format::kPt},
      {".pth", Format::kPt},      {".bin", Format::kPt},
      {".ckpt", Format::kPt},     {".jit", Format::kPt},
      {".npz", Format::kNpz},     {".npy", Format::kNpy},
      {".pkl", Format::kPickle},  {".safetensors", Format::kSafetensors},
  };
  for (const Extension& extension : kExtensions) {
    if (absl::EndsWith(path, extension.text)) return extension.format;
  }
  return std::nullopt;
}

SaveOptions SaveOptionsFor(absl::string_view path) {
  SaveOptions options;
  options.format = FormatOfName(path).value_or(Format::kNative);
  return options;
}

absl::StatusOr<SaveReport> Save(const Value& checkpoint,
                                const std::string& path,
                                const SaveOptions& options) {
  for (const auto& storage : checkpoint.graph()->storages()) {
    if (storage->in_file()) {
      return absl::FailedPreconditionError(
          "Save: a storage is still in a file; use Convert, or Load it first");
    }
  }
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict state_dict,
                            StateDict::FromValue(checkpoint));
  MemorySource source;
  const StorageNames names = NamesOf(state_dict);
  return WriteToPath(
      {checkpoint, names, source, options, path, DirectoryOf(path)});
}

absl::StatusOr<SaveReport> Save(const Value& checkpoint,
                                const std::string& path) {
  return Save(checkpoint, path, SaveOptionsFor(path));
}

absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      const std::string& destination,
                                      const SaveOptions& options) {
  return ConvertBy(WriteToPath, *source.opened_, destination,
                   DirectoryOf(destination), options);
}

absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      WritableFile& destination,
                                      absl::string_view name,
                                      const SaveOptions& options) {
  const Clock::time_point start = Clock::now();
  const auto write = [&](const WriteJob& job) -> absl::StatusOr<SaveReport> {
    PENSTOCK_ASSIGN_OR_RETURN(SaveReport saved, WriteTo(job, destination));
    saved.seconds = saved.written_seconds = SecondsSince(start);
    return saved;
  };
  return ConvertBy(write, *source.opened_, std::string(name), "", options);
}

absl::StatusOr<ConvertReport> Convert(const std::string& source,
                                      const std::string& destination,
                                      const SaveOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                            Checkpoint::Open(source, options.run));
  return Convert(checkpoint, destination, options);
}

}  // namespace penstock
