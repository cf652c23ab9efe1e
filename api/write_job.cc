#include "api/write_job.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec/auto_codec.h"
#include "codec/derived_source.h"
#include "codec/native_sink.h"
#include "compat/file_scan.h"
#include "compat/foreign_sink.h"
#include "compat/layout_sink.h"
#include "compat/legacy_sink.h"
#include "compat/native_scan.h"
#include "compat/npz_sink.h"
#include "compat/origin.h"
#include "compat/pt_sink.h"
#include "compat/scan.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

int ThreadsOf(const RunOptions& options) {
  return options.threads > 0
             ? options.threads
             : std::max(1,
                        static_cast<int>(std::thread::hardware_concurrency()));
}

absl::Status CheckFreeSpace(const WriteJob& job, int64_t needed_bytes) {
  if (job.directory.empty()) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                            FilesOf(job.options.run).FreeSpace(job.directory));
  if (free >= needed_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(job.directory, ": the file needs ", needed_bytes, " bytes, ",
                   free, " are free"));
}

// Which disk a job writes to, for ProcessRates().
uint64_t DiskOf(const WriteJob& job) {
  FileSystem& files = FilesOf(job.options.run);
  return files.Stat(job.directory).value_or(FileInfo()).device;
}

// Sets the report's codec. Returns how many bytes of `file` hold noise now.
absl::StatusOr<int64_t> Settle(const WriteJob& job, WritableFile& file,
                               SaveReport& report) {
  report.codec = job.options.codec;
  if (report.codec != Codec::kAuto) return 0;
  if (job.directory.empty()) {
    report.codec = Codec::kZstd;
    report.codec_reason = "auto settled on zstd: a pipe cannot be measured";
    return 0;
  }
  const Clock::time_point start = Clock::now();
  const uint64_t disk = DiskOf(job);
  const Graph& graph = *job.root.graph();
  PENSTOCK_ASSIGN_OR_RETURN(
      CodecChoice choice, SettleCodec(file, ProcessRates().Find(disk),
                                      graph.storages(), graph.StorageDTypes(),
                                      job.source, ThreadsOf(job.options.run)));
  if (choice.probed_bytes > 0) {
    CodecRates probed;
    probed.disk = choice.rates.disk;
    ProcessRates().Put(disk, probed);
  }
  report.codec = choice.coded ? Codec::kZstd : Codec::kNone;
  report.codec_reason = std::move(choice.reason);
  report.settle_seconds = SecondsSince(start);
  return choice.probed_bytes;
}

absl::Status RunSink(const WriteJob& job, const Plan& plan, Source& source,
                     Sink& sink, SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const PumpStats stats,
      RunPump(plan, job.names, source, sink, job.options.run));
  report.threads = stats.threads;
  return absl::OkStatus();
}

// A sink that knows the size of its file from the start.
absl::Status RunForeign(const WriteJob& job, WritableFile& file, Source& source,
                        ForeignSink& sink, SaveReport& report) {
  PENSTOCK_RETURN_IF_ERROR(CheckFreeSpace(job, sink.FinalSize()));
  PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink.FinalSize()));
  PENSTOCK_RETURN_IF_ERROR(RunSink(job, sink.plan(), source, sink, report));
  report.file_bytes += sink.FinalSize();
  report.warnings.insert(report.warnings.end(), sink.warnings().begin(),
                         sink.warnings().end());
  return absl::OkStatus();
}

absl::Status RunNative(const WriteJob& job, WritableFile& file, Source& source,
                       const NativeOptions& options, SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<NativeSink> sink,
      NativeSink::Create(file, job.root.graph(), source, options));
  // How far a coded file stays under its bound shows only at its end.
  if (report.codec == Codec::kNone) {
    PENSTOCK_RETURN_IF_ERROR(CheckFreeSpace(job, sink->MaxFileBytes()));
    PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink->MaxFileBytes()));
  }
  PENSTOCK_RETURN_IF_ERROR(RunSink(job, sink->plan(), source, *sink, report));
  report.file_bytes = sink->FileBytes();
  return absl::OkStatus();
}

absl::Status RunSettled(const WriteJob& job, WritableFile& file,
                        SaveReport& report) {
  NativeOptions options;
  options.codec =
      report.codec == Codec::kZstd ? NativeCodec::kZstd : NativeCodec::kNone;
  if (job.opened != nullptr) {
    for (const auto& [key, value] : job.opened->metadata) {
      options.meta.emplace_back(absl::StrCat(kMetadataPrefix, key), value);
    }
  }
  const OriginMode mode =
      job.opened == nullptr ? OriginMode::kNever : job.options.origin;
  if (mode != OriginMode::kNever && job.opened->native != nullptr) {
    KeepOrigin(*job.opened->native, options);
  }
  const bool is_one_file =
      job.opened != nullptr && job.opened->foreign.file != nullptr;
  if (mode == OriginMode::kAlways && !is_one_file &&
      job.opened->native == nullptr) {
    report.warnings.push_back("no origin is kept: the source is several files");
  }
  if (mode == OriginMode::kNever || !is_one_file) {
    return RunNative(job, file, job.source, options, report);
  }
  OriginSource source(job.opened->foreign, job.source);
  PENSTOCK_ASSIGN_OR_RETURN(
      std::string left_out,
      source.Attach(mode == OriginMode::kAlways, options));
  if (!left_out.empty()) report.warnings.push_back(std::move(left_out));
  return RunNative(job, file, source, options, report);
}

absl::Status WriteNative(const WriteJob& job, WritableFile& file,
                         SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t noise, Settle(job, file, report));
  PENSTOCK_RETURN_IF_ERROR(RunSettled(job, file, report));
  return report.file_bytes < noise ? file.Truncate(report.file_bytes)
                                   : absl::OkStatus();
}

absl::Status WritePt(const WriteJob& job, WritableFile& file,
                     SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string archive_name,
                            ArchiveNameFor(job.name));
  PtSinkOptions options;
  if (job.options.pt == PtLayout::kT16) options.profile = PtProfile::kT16;
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<PtSink> sink,
      PtSink::Create(file, job.root, archive_name, options));
  return RunForeign(job, file, job.source, *sink, report);
}

absl::Status WriteLegacy(const WriteJob& job, WritableFile& file,
                         SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<ForeignSink> sink,
                            CreateLegacySink(file, job.root));
  return RunForeign(job, file, job.source, *sink, report);
}

absl::Status WriteNpz(const WriteJob& job, WritableFile& file,
                      SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<NpzSink> sink,
                            NpzSink::Create(file, job.root));
  SaveOptions options = job.options;
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<DerivedSource> source,
      DerivedSource::MakeWithin(job.source, sink->derivations(),
                                options.run.memory_bytes));
  const WriteJob rest{job.root, job.names,     *source,   options,
                      job.name, job.directory, job.opened};
  return RunForeign(rest, file, *source, *sink, report);
}

absl::Status WriteSafetensors(const WriteJob& job, WritableFile& file,
                              SaveReport& report) {
  PENSTOCK_ASSIGN_OR_RETURN(SafetensorsPlan plan, PlanShards(job));
  if (plan.files.size() > 1) {
    return absl::InvalidArgumentError(
        "shards are several files, and a pipe is one: leave out --shard-size");
  }
  report.warnings = std::move(plan.warnings);
  return WriteShard(job, std::move(plan.files[0]), file, report);
}

// Names of torch's files do not tell its formats apart.
bool IsTorch(Format format) {
  return format == Format::kPt || format == Format::kPtLegacy ||
         format == Format::kPtTar || format == Format::kPickle ||
         format == Format::kPt2 || format == Format::kTorchPackage;
}

bool CanRestore(const WriteJob& job) {
  if (job.opened == nullptr || !job.opened->origin.has_value() ||
      job.options.writing != Writing::kRestore) {
    return false;
  }
  const Format original = job.opened->origin->format;
  const Format wanted = job.options.format;
  return wanted == original || (wanted == Format::kPt && IsTorch(original));
}

// Of what a scan of the given back file found; empty where nothing is
// dangerous.
std::string WarningOf(const ScanReport& scanned) {
  if (scanned.level != ScanLevel::kDangerous) return "";
  std::string what = "something dangerous";
  for (const ScanFinding& finding : scanned.findings) {
    if (finding.level != ScanLevel::kDangerous) continue;
    what =
        finding.kind == ScanKind::kGlobal
            ? absl::StrCat(finding.module, ".", finding.name,
                           finding.called_by.empty() ? ", named" : ", called")
            : finding.reason;
    if (!finding.record.empty()) absl::StrAppend(&what, " in ", finding.record);
    break;
  }
  return absl::StrCat(
      "the file given back is dangerous: Python's pickle would "
      "run it (",
      what, "); `penstock scan` lists all of it");
}

// Errors: kCancelled.
absl::Status WarnOfDanger(const WriteJob& job, SaveReport& report) {
  const absl::StatusOr<ScanReport> scanned =
      ScanOrigin(*job.opened->native, ScanLimitsOf(job.options.run));
  if (absl::IsCancelled(scanned.status())) return scanned.status();
  std::string warning =
      scanned.ok() ? WarningOf(*scanned)
                   : absl::StrCat("the file given back was not scanned: ",
                                  scanned.status().message());
  if (!warning.empty()) report.warnings.push_back(std::move(warning));
  return absl::OkStatus();
}

absl::Status Restore(const WriteJob& job, WritableFile& file,
                     SaveReport& report) {
  PENSTOCK_RETURN_IF_ERROR(WarnOfDanger(job, report));
  PENSTOCK_ASSIGN_OR_RETURN(FileLayout layout,
                            LayOutOrigin(*job.opened->native));
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<LayoutSink> sink,
                            LayoutSink::Create(file, std::move(layout)));
  report.restored = true;
  report.format = job.opened->origin->format;
  return RunForeign(job, file, job.source, *sink, report);
}

absl::Status Write(const WriteJob& job, WritableFile& file,
                   SaveReport& report) {
  if (CanRestore(job)) return Restore(job, file, report);
  switch (report.format) {
    case Format::kNative:
      return WriteNative(job, file, report);
    case Format::kPt:
      return WritePt(job, file, report);
    case Format::kPtLegacy:
      return WriteLegacy(job, file, report);
    case Format::kSafetensors:
      return WriteSafetensors(job, file, report);
    case Format::kNpz:
      return WriteNpz(job, file, report);
    case Format::kPtTar:
    case Format::kPickle:
    case Format::kNpy:
    case Format::kDcp:
    case Format::kPt2:
    case Format::kTorchPackage:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("the format ", NameOf(report.format),
                   " is read, but not written; of arrays, `penstock extract` "
                   "writes .npy files"));
}

}  // namespace

absl::StatusOr<SafetensorsPlan> PlanShards(const WriteJob& job) {
  SafetensorsOptions options;
  if (job.opened != nullptr) options.metadata = job.opened->metadata;
  if (job.options.ties == Ties::kDrop) options.ties = SafetensorsTies::kDrop;
  options.shard_bytes = job.options.shard_bytes;
  options.file_name = BaseName(job.name);
  return PlanSafetensors(job.root, options);
}

absl::Status WriteShard(const WriteJob& job, SafetensorsOutput shard,
                        WritableFile& file, SaveReport& report) {
  SaveOptions options = job.options;
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<DerivedSource> source,
      DerivedSource::MakeWithin(job.source, std::move(shard.derivations),
                                options.run.memory_bytes));
  StorageNames names;
  for (size_t i = 0; i < shard.names.size(); ++i) {
    names.emplace(shard.layout.storages[i].get(), shard.names[i]);
  }
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<LayoutSink> sink,
                            LayoutSink::Create(file, std::move(shard.layout)));
  const WriteJob named{job.root, names,         *source,   options,
                       job.name, job.directory, job.opened};
  return RunForeign(named, file, *source, *sink, report);
}

void Remember(const WriteJob& job, const SaveReport& report) {
  // What is read from a file may have been the limit itself.
  if (report.format != Format::kNative || job.opened != nullptr ||
      report.raw_bytes < kAutoProbeFrom) {
    return;
  }
  FinishedSave save;
  save.coded = report.codec == Codec::kZstd;
  save.raw_bytes = report.raw_bytes;
  save.file_bytes = report.file_bytes;
  save.seconds = report.seconds - report.settle_seconds;
  ProcessRates().Learn(DiskOf(job), save);
}

absl::StatusOr<SaveReport> WriteTo(const WriteJob& job, WritableFile& file) {
  SaveReport report;
  report.format = job.options.format;
  report.raw_bytes = StorageBytesOf(*job.root.graph());
  PENSTOCK_RETURN_IF_ERROR(Write(job, file, report));
  if (job.foreign != nullptr) {
    PENSTOCK_RETURN_IF_ERROR(job.foreign->VerifyRest());
  }
  return report;
}

}  // namespace penstock
