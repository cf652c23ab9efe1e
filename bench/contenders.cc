#include "bench/contenders.h"

#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/child_process.h"
#include "bench/page_cache.h"
#include "core/posix_file_system.h"
#include "core/replaced_files.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

using ArenaPtr = std::shared_ptr<Arena>;

constexpr FileKind kKinds[] = {FileKind::kPt, FileKind::kRaw, FileKind::kZstd};
constexpr int64_t kManyTensors = 100'000;
constexpr int kIdleSeconds = 7;

Row RowOf(const Arena& arena, Section section, std::string contender,
          std::string what) {
  Row row;
  row.section = section;
  row.contender = std::move(contender);
  row.what = std::move(what);
  row.bytes = arena.tensor_bytes();
  return row;
}

// Deletes a file that was timed; its blocks may take a while.
absl::Status Delete(const std::string& path) {
  return PosixFileSystem().Unlink(path);
}

absl::Status SetCache(const std::string& path, Cache cache) {
  return cache == Cache::kCold ? DropFromCache(path) : BringIntoCache(path);
}

// ---------------------------------------------------------------------- save

absl::StatusOr<Sample> RunSaveNew(Arena& arena, FileKind kind) {
  const std::string path = arena.NewName(kind);
  const UsageMeter meter;
  const absl::StatusOr<SaveReport> report =
      Save(*arena.source(), path, arena.OptionsFor(kind));
  const Usage usage = meter.Stop();
  PENSTOCK_RETURN_IF_ERROR(report.status());
  Sample sample = SampleOf(usage, report->file_bytes);
  sample.seconds.insert(sample.seconds.begin(), report->written_seconds);
  PENSTOCK_RETURN_IF_ERROR(arena.CheckFile(path));
  PENSTOCK_RETURN_IF_ERROR(Delete(path));
  return sample;
}

// The replaced file is the one that is loaded cold: it becomes its own equal.
absl::StatusOr<Sample> RunReplace(Arena& arena, FileKind kind) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                            arena.File(kind, Cache::kCold));
  const UsageMeter meter;
  const absl::StatusOr<SaveReport> report =
      Save(*arena.source(), path, arena.OptionsFor(kind));
  const Usage usage = meter.Stop();
  PENSTOCK_RETURN_IF_ERROR(report.status());
  WaitForReplacedFiles();
  PENSTOCK_RETURN_IF_ERROR(arena.CheckFile(path));
  return SampleOf(usage, report->file_bytes);
}

// ---------------------------------------------------------------------- load

enum class Memory { kNew, kCallers, kMapped };

std::string NameOf(Memory memory) {
  switch (memory) {
    case Memory::kNew:
      return "new memory";
    case Memory::kCallers:
      return "caller's memory";
    case Memory::kMapped:
      return "mapped, verified";
  }
  return "?";
}

absl::StatusOr<Sample> RunLoadInto(Arena& arena, const std::string& path) {
  PENSTOCK_ASSIGN_OR_RETURN(StateDict* const target, arena.Target());
  const UsageMeter meter;
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint file,
                            Checkpoint::Open(path, arena.options().run));
  PENSTOCK_RETURN_IF_ERROR(
      file.LoadInto(*target, Strictness::kStrict).status());
  const Usage usage = meter.Stop();
  PENSTOCK_RETURN_IF_ERROR(arena.fingerprint().Check(*target, arena.threads()));
  return SampleOf(usage);
}

absl::StatusOr<Sample> RunLoad(Arena& arena, FileKind kind, Cache cache,
                               Memory memory) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path, arena.File(kind, cache));
  PENSTOCK_RETURN_IF_ERROR(SetCache(path, cache));
  if (memory == Memory::kCallers) return RunLoadInto(arena, path);
  const UsageMeter meter;
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint file,
                            Checkpoint::Open(path, arena.options().run));
  PENSTOCK_ASSIGN_OR_RETURN(const Value loaded, memory == Memory::kMapped
                                                    ? file.LoadMapped()
                                                    : file.Load());
  const Usage usage = meter.Stop();
  PENSTOCK_RETURN_IF_ERROR(arena.CheckValue(loaded));
  return SampleOf(usage);
}

Contender LoadContender(const ArenaPtr& arena, FileKind kind, Cache cache,
                        Memory memory) {
  const Section section =
      cache == Cache::kCold ? Section::kLoadCold : Section::kLoadWarm;
  return {{RowOf(*arena, section, ContenderName(kind), NameOf(memory))},
          [=]() -> absl::Status {
            PENSTOCK_RETURN_IF_ERROR(arena->File(kind, cache).status());
            return memory == Memory::kCallers ? arena->Target().status()
                                              : absl::OkStatus();
          },
          [=] { return RunLoad(*arena, kind, cache, memory); }};
}

absl::StatusOr<Sample> RunIdle(Arena& arena, FileKind kind) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                            arena.File(kind, Cache::kWarm));
  PENSTOCK_RETURN_IF_ERROR(BringIntoCache(path));
  std::this_thread::sleep_for(std::chrono::seconds(kIdleSeconds));
  return RunLoad(arena, kind, Cache::kWarm, Memory::kNew);
}

// ---------------------------------------------------------------------- part

absl::StatusOr<Sample> RunPart(Arena& arena, FileKind kind, bool whole) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                            arena.File(kind, Cache::kCold));
  PENSTOCK_RETURN_IF_ERROR(DropFromCache(path));
  const UsageMeter meter;
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint file,
                            Checkpoint::Open(path, arena.options().run));
  PENSTOCK_ASSIGN_OR_RETURN(
      const Tensor part,
      whole ? file.Read(arena.largest())
            : file.ReadRows(arena.largest(), arena.slice_begin(),
                            arena.slice_end()));
  const Usage usage = meter.Stop();
  PENSTOCK_RETURN_IF_ERROR(
      whole ? arena.fingerprint().CheckOne(arena.largest(), part)
            : arena.CheckSlice(part));
  return SampleOf(usage);
}

// ------------------------------------------------------------------- convert

absl::StatusOr<Sample> RunConvert(Arena& arena, const std::string& program,
                                  FileKind to) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string from,
                            arena.File(FileKind::kPt, Cache::kWarm));
  PENSTOCK_RETURN_IF_ERROR(BringIntoCache(from));
  const std::string path = arena.NewName(to);
  std::vector<std::string> argv = {program,     "convert",
                                   from,        path,
                                   "--threads", absl::StrCat(arena.threads())};
  if (to != FileKind::kPt) {
    argv.insert(argv.end(), {"--codec", "none"});
  }
  PENSTOCK_ASSIGN_OR_RETURN(const Usage usage, RunChild(argv));
  PENSTOCK_ASSIGN_OR_RETURN(const FileInfo info, PosixFileSystem().Stat(path));
  PENSTOCK_RETURN_IF_ERROR(arena.CheckFile(path));
  PENSTOCK_RETURN_IF_ERROR(Delete(path));
  return SampleOf(usage, info.size_bytes);
}

// ---------------------------------------------------------------------- open

absl::StatusOr<Sample> RunOpen(const Arena& arena, const std::string& path,
                               int64_t num_tensors) {
  PENSTOCK_RETURN_IF_ERROR(BringIntoCache(path));
  const UsageMeter meter;
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint file,
                            Checkpoint::Open(path, arena.options().run));
  const Usage usage = meter.Stop();
  if (file.state_dict().size() != num_tensors) {
    return absl::DataLossError(
        absl::StrCat("wrong result: ", file.state_dict().size(),
                     " tensors instead of ", num_tensors));
  }
  return SampleOf(usage);
}

std::string ManyName(const Arena& arena, FileKind kind) {
  return absl::StrCat(arena.options().directory, "/many", ExtensionOf(kind));
}

absl::Status MakeMany(const Arena& arena) {
  PENSTOCK_ASSIGN_OR_RETURN(const Value many, MakeManyTensors(kManyTensors));
  for (const FileKind kind : {FileKind::kPt, FileKind::kRaw}) {
    PENSTOCK_RETURN_IF_ERROR(
        Save(many, ManyName(arena, kind), arena.OptionsFor(kind)).status());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Contender> SaveContenders(const ArenaPtr& arena) {
  std::vector<Contender> contenders;
  for (const FileKind kind : kKinds) {
    const std::string name = ContenderName(kind);
    contenders.push_back({{RowOf(*arena, Section::kSave, name, "handed over"),
                           RowOf(*arena, Section::kSave, name, "durable")},
                          nullptr,
                          [=] { return RunSaveNew(*arena, kind); }});
    contenders.push_back(
        {{RowOf(*arena, Section::kSave, name, "replace, durable")},
         [=] { return arena->File(kind, Cache::kCold).status(); },
         [=] { return RunReplace(*arena, kind); }});
  }
  return contenders;
}

std::vector<Contender> LoadContenders(const ArenaPtr& arena) {
  std::vector<Contender> contenders;
  for (const Cache cache : {Cache::kCold, Cache::kWarm}) {
    for (const FileKind kind : kKinds) {
      for (const Memory memory :
           {Memory::kNew, Memory::kCallers, Memory::kMapped}) {
        if (kind == FileKind::kZstd && memory == Memory::kMapped) continue;
        contenders.push_back(LoadContender(arena, kind, cache, memory));
      }
    }
  }
  return contenders;
}

std::vector<Contender> IdleContenders(const ArenaPtr& arena) {
  std::vector<Contender> contenders;
  for (const FileKind kind : kKinds) {
    contenders.push_back(
        {{RowOf(*arena, Section::kLoadIdle, ContenderName(kind),
                absl::StrCat("new memory, after ", kIdleSeconds, " s"))},
         [=] { return arena->File(kind, Cache::kWarm).status(); },
         [=] { return RunIdle(*arena, kind); }});
  }
  return contenders;
}

std::vector<Contender> PartContenders(const ArenaPtr& arena) {
  std::vector<Contender> contenders;
  for (const FileKind kind : kKinds) {
    for (const bool whole : {true, false}) {
      Row row = RowOf(*arena, Section::kPart, ContenderName(kind),
                      whole ? "one tensor, cold" : "10 % of its rows, cold");
      row.bytes = whole ? arena->largest_bytes() : arena->slice_bytes();
      contenders.push_back(
          {{std::move(row)},
           [=] { return arena->File(kind, Cache::kCold).status(); },
           [=] { return RunPart(*arena, kind, whole); }});
    }
  }
  return contenders;
}

std::vector<Contender> ConvertContenders(const ArenaPtr& arena,
                                         const std::string& program) {
  std::vector<Contender> contenders;
  for (const FileKind to : {FileKind::kPt, FileKind::kRaw}) {
    contenders.push_back(
        {{RowOf(*arena, Section::kConvert, "penstock convert",
                absl::StrCat(".pt to ", to == FileKind::kPt ? "" : "raw ",
                             ExtensionOf(to)))},
         [=] { return arena->File(FileKind::kPt, Cache::kWarm).status(); },
         [=] { return RunConvert(*arena, program, to); }});
  }
  return contenders;
}

std::vector<Contender> OpenContenders(const ArenaPtr& arena) {
  const auto made = std::make_shared<bool>(false);
  std::vector<Contender> contenders;
  for (const FileKind kind : {FileKind::kPt, FileKind::kRaw}) {
    Row row = RowOf(*arena, Section::kOpen, ContenderName(kind),
                    "this checkpoint, warm");
    row.bytes = 0;
    contenders.push_back(
        {{row},
         [=] { return arena->File(kind, Cache::kWarm).status(); },
         [=]() -> absl::StatusOr<Sample> {
           PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                                     arena->File(kind, Cache::kWarm));
           return RunOpen(*arena, path, arena->num_tensors());
         }});
    row.what = absl::StrCat(kManyTensors, " tensors, warm");
    contenders.push_back({{row},
                          [=] {
                            if (std::exchange(*made, true))
                              return absl::OkStatus();
                            return MakeMany(*arena);
                          },
                          [=] {
                            return RunOpen(*arena, ManyName(*arena, kind),
                                           kManyTensors);
                          }});
  }
  return contenders;
}

}  // namespace penstock::bench
