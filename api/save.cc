#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "api/write_job.h"
#include "core/atomic_file.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::StatusOr<SaveReport> WriteToPath(const Value& root,
                                       const StorageNames& names,
                                       Source& source,
                                       const Checkpoint::Opened* opened,
                                       const std::string& path,
                                       const SaveOptions& options) {
  const Clock::time_point start = Clock::now();
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<AtomicFile> file,
      AtomicFile::Create(FilesOf(options.run), path, Caching::kDirect));
  const WriteJob job{root,  names, source, options, path, DirectoryOf(path),
                     opened};
  PENSTOCK_ASSIGN_OR_RETURN(SaveReport report, WriteTo(job, file->file()));
  PENSTOCK_RETURN_IF_ERROR(file->Commit());
  report.seconds = SecondsSince(start);
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
    case Format::kPickle:
      return "pickle";
    case Format::kSafetensors:
      return "safetensors";
    case Format::kNpz:
      return "npz";
    case Format::kNpy:
      return "npy";
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
  return WriteToPath(checkpoint, NamesOf(state_dict), source, nullptr, path,
                     options);
}

absl::StatusOr<SaveReport> Save(const Value& checkpoint,
                                const std::string& path) {
  return Save(checkpoint, path, SaveOptionsFor(path));
}

absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      const std::string& destination,
                                      const SaveOptions& options) {
  const Checkpoint::Opened& opened = *source.opened_;
  const Checkpoint::Opened::Run run = opened.NewRun();
  ConvertReport report;
  report.from = opened.format;
  report.num_tensors = opened.state_dict.size();
  PENSTOCK_ASSIGN_OR_RETURN(
      report.saved, WriteToPath(opened.root, opened.names, *run.source, &opened,
                                destination, options));
  return report;
}

absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      WritableFile& destination,
                                      absl::string_view name,
                                      const SaveOptions& options) {
  const Clock::time_point start = Clock::now();
  const Checkpoint::Opened& opened = *source.opened_;
  const Checkpoint::Opened::Run run = opened.NewRun();
  ConvertReport report;
  report.from = opened.format;
  report.num_tensors = opened.state_dict.size();
  const WriteJob job{opened.root,       opened.names, *run.source, options,
                     std::string(name), "",           &opened};
  PENSTOCK_ASSIGN_OR_RETURN(report.saved, WriteTo(job, destination));
  report.saved.seconds = SecondsSince(start);
  return report;
}

absl::StatusOr<ConvertReport> Convert(const std::string& source,
                                      const std::string& destination,
                                      const SaveOptions& options) {
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                            Checkpoint::Open(source, options.run));
  return Convert(checkpoint, destination, options);
}

}  // namespace penstock
