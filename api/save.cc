#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "codec/auto_codec.h"
#include "codec/native_sink.h"
#include "compat/pt_sink.h"
#include "core/atomic_file.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int ThreadsOf(const RunOptions& options) {
  return options.threads > 0
             ? options.threads
             : std::max(1,
                        static_cast<int>(std::thread::hardware_concurrency()));
}

int64_t TotalBytes(const Graph& graph) {
  int64_t total = 0;
  for (const auto& storage : graph.storages()) total += storage->size_bytes();
  return total;
}

// One checkpoint on its way into one file.
struct WriteJob {
  const Value& root;
  const StorageNames& names;
  Source& source;
  const SaveOptions& options;
  std::string name;       // of the destination, for a .pt's prefix
  std::string directory;  // of the destination; empty for a pipe
};

absl::Status CheckFreeSpace(const WriteJob& job, int64_t needed_bytes) {
  if (job.directory.empty()) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                            FilesOf(job.options.run).FreeSpace(job.directory));
  if (free >= needed_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(job.directory, ": the file needs ", needed_bytes, " bytes, ",
                   free, " are free"));
}

absl::StatusOr<Codec> Settle(const WriteJob& job, SaveReport& report) {
  if (job.options.codec != Codec::kAuto) return job.options.codec;
  if (job.directory.empty()) {
    report.codec_reason = "auto settled on zstd: a pipe cannot be measured";
    return Codec::kZstd;
  }
  const Graph& graph = *job.root.graph();
  PENSTOCK_ASSIGN_OR_RETURN(
      CodecChoice choice, SettleCodec(FilesOf(job.options.run), job.directory,
                                      graph.storages(), graph.StorageDTypes(),
                                      job.source, ThreadsOf(job.options.run)));
  report.codec_reason = std::move(choice.reason);
  return choice.coded ? Codec::kZstd : Codec::kNone;
}

absl::Status WriteNative(const WriteJob& job, WritableFile& file,
                         SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(report.codec, Settle(job, report));
  NativeOptions options;
  options.codec =
      report.codec == Codec::kZstd ? NativeCodec::kZstd : NativeCodec::kNone;
  options.pump = PumpOptionsOf(job.options.run);
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<NativeSink> sink,
      NativeSink::Create(file, job.root.graph(), job.source, options));
  // How far a coded file stays under its bound shows only at its end.
  if (report.codec == Codec::kNone) {
    PENSTOCK_RETURN_IF_ERROR(CheckFreeSpace(job, sink->MaxFileBytes()));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const PumpStats stats,
      RunPump(sink->plan(), job.names, job.source, *sink, job.options.run));
  report.threads = stats.threads;
  report.file_bytes = sink->FileBytes();
  return absl::OkStatus();
}

absl::Status WritePt(const WriteJob& job, WritableFile& file,
                     SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string archive_name,
                            ArchiveNameFor(job.name));
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<PtSink> sink,
                            PtSink::Create(file, job.root, archive_name));
  PENSTOCK_RETURN_IF_ERROR(CheckFreeSpace(job, sink->FinalSize()));
  PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink->FinalSize()));
  PENSTOCK_ASSIGN_OR_RETURN(
      const PumpStats stats,
      RunPump(sink->plan(), job.names, job.source, *sink, job.options.run));
  report.threads = stats.threads;
  report.file_bytes = sink->FinalSize();
  report.warnings = sink->warnings();
  return absl::OkStatus();
}

absl::StatusOr<SaveReport> WriteTo(const WriteJob& job, WritableFile& file) {
  SaveReport report;
  report.format = job.options.format;
  report.raw_bytes = TotalBytes(*job.root.graph());
  const absl::Status written = report.format == Format::kNative
                                   ? WriteNative(job, file, report)
                                   : WritePt(job, file, report);
  PENSTOCK_RETURN_IF_ERROR(written);
  return report;
}

absl::StatusOr<SaveReport> WriteToPath(const Value& root,
                                       const StorageNames& names,
                                       Source& source, const std::string& path,
                                       const SaveOptions& options) {
  const Clock::time_point start = Clock::now();
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<AtomicFile> file,
      AtomicFile::Create(FilesOf(options.run), path, Caching::kDirect));
  const WriteJob job{root, names, source, options, path, DirectoryOf(path)};
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

SaveOptions SaveOptionsFor(absl::string_view path) {
  SaveOptions options;
  for (const char* extension : {".pt", ".pth", ".bin", ".ckpt"}) {
    if (absl::EndsWith(path, extension)) options.format = Format::kPt;
  }
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
  return WriteToPath(checkpoint, NamesOf(state_dict), source, path, options);
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
  PENSTOCK_ASSIGN_OR_RETURN(report.saved,
                            WriteToPath(opened.root, opened.names, *run.source,
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
  const WriteJob job{opened.root, opened.names,      *run.source,
                     options,     std::string(name), ""};
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
