#include "bench/peer_contenders.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bench/child_process.h"
#include "bench/page_cache.h"
#include "bench/peer_worker_text.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

using ArenaPtr = std::shared_ptr<Arena>;
using WorkerPtr = std::shared_ptr<Worker>;
using Json = nlohmann::ordered_json;

Row RowOf(const Arena& arena, Section section, std::string contender,
          std::string what) {
  Row row;
  row.section = section;
  row.contender = std::move(contender);
  row.what = std::move(what);
  row.bytes = arena.tensor_bytes();
  return row;
}

absl::StatusOr<Sample> SampleFrom(const absl::StatusOr<Json>& answer,
                                  size_t num_rows) {
  PENSTOCK_RETURN_IF_ERROR(answer.status());
  Sample sample;
  // A worker that was replaced must not stop us with a JSON exception.
  const auto number = [](const Json& json) {
    return json.is_number() ? json.get<double>() : 0.0;
  };
  for (const Json& lap : answer->value("seconds", Json::array())) {
    sample.seconds.push_back(number(lap));
  }
  if (sample.seconds.size() != num_rows) {
    return absl::InternalError("the peers' worker answers without its times");
  }
  sample.cpu_seconds = number(answer->value("cpu_seconds", Json(0)));
  sample.peak_bytes =
      static_cast<int64_t>(number(answer->value("peak_bytes", Json(0))));
  return sample;
}

// What the worker calls a peer's file, and what we make of it.
struct SavingPeer {
  const char* name;       // of --against
  const char* contender;  // in the report
  const char* command;
  const char* extension;
};
constexpr SavingPeer kSaving[] = {
    {"torch", "torch.save", "save_torch", ".pt"},
    {"safetensors", "safetensors save_file", "save_safetensors",
     ".safetensors"},
    {"zipnn", "zipnn, 2 threads", "save_zipnn", ".zipnn"},
};

absl::Status CheckSaved(const SavingPeer& peer, const std::string& path,
                        Arena& arena, Worker& worker) {
  if (std::string(peer.name) != "zipnn") return arena.CheckFile(path);
  return worker.process->Call({{"do", "check_zipnn"}, {"path", path}}).status();
}

absl::StatusOr<Sample> RunSave(const SavingPeer& peer, Arena& arena,
                               Worker& worker) {
  const std::string path =
      absl::StrCat(arena.options().directory, "/peer", peer.extension);
  PENSTOCK_ASSIGN_OR_RETURN(
      Sample sample,
      SampleFrom(worker.process->Call({{"do", peer.command}, {"path", path}}),
                 2));
  PENSTOCK_ASSIGN_OR_RETURN(const FileInfo info, PosixFileSystem().Stat(path));
  sample.file_bytes = info.size_bytes;
  PENSTOCK_RETURN_IF_ERROR(CheckSaved(peer, path, arena, worker));
  PENSTOCK_RETURN_IF_ERROR(PosixFileSystem().Unlink(path));
  return sample;
}

// Over a file of the same size, which the first call has made.
absl::StatusOr<Sample> RunReplace(const SavingPeer& peer, Arena& arena,
                                  Worker& worker) {
  const std::string path =
      absl::StrCat(arena.options().directory, "/replaced", peer.extension);
  PENSTOCK_ASSIGN_OR_RETURN(
      Sample sample,
      SampleFrom(worker.process->Call({{"do", peer.command}, {"path", path}}),
                 2));
  sample.seconds.erase(sample.seconds.begin());  // when the call returned
  PENSTOCK_ASSIGN_OR_RETURN(const FileInfo info, PosixFileSystem().Stat(path));
  sample.file_bytes = info.size_bytes;
  PENSTOCK_RETURN_IF_ERROR(CheckSaved(peer, path, arena, worker));
  return sample;
}

struct LoadingPeer {
  const char* name;
  const char* contender;
  const char* command;
  const char* what;
};
constexpr LoadingPeer kLoading[] = {
    {"torch", "torch.load", "load_torch", "new memory"},
    {"torch", "torch.load mmap=True", "load_torch_mapped", "mapped, touched"},
    {"safetensors", "safetensors load_file", "load_safetensors",
     "mapped, touched"},
};

// torch reads Penstock's own files, safetensors files of its own.
absl::StatusOr<std::string> FileFor(const LoadingPeer& peer, Cache cache,
                                    Arena& arena) {
  if (std::string(peer.name) == "torch") {
    return arena.File(FileKind::kPt, cache);
  }
  return absl::StrCat(arena.options().directory,
                      cache == Cache::kCold ? "/cold" : "/warm",
                      ".safetensors");
}

absl::Status PrepareLoad(const LoadingPeer& peer, Cache cache, Arena& arena,
                         Worker& worker) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                            FileFor(peer, cache, arena));
  if (std::string(peer.name) == "torch") return absl::OkStatus();
  return worker.process->Call({{"do", "make_safetensors"}, {"path", path}})
      .status();
}

absl::StatusOr<Sample> RunLoad(const LoadingPeer& peer, Cache cache,
                               Arena& arena, Worker& worker) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                            FileFor(peer, cache, arena));
  PENSTOCK_RETURN_IF_ERROR(cache == Cache::kCold ? DropFromCache(path)
                                                 : BringIntoCache(path));
  return SampleFrom(
      worker.process->Call({{"do", peer.command}, {"path", path}}), 1);
}

struct PartPeer {
  const char* name;
  const char* contender;
  const char* command;
};
constexpr PartPeer kParts[] = {
    {"torch", "torch.load mmap=True", "part_torch"},
    {"safetensors", "safetensors get_slice", "part_safetensors"},
};

absl::StatusOr<Sample> RunPart(const PartPeer& peer, bool whole,
                               const std::string& path, Arena& arena,
                               Worker& worker) {
  PENSTOCK_RETURN_IF_ERROR(DropFromCache(path));
  Json request = {{"do", peer.command},
                  {"path", path},
                  {"name", arena.largest()},
                  {"begin", nullptr},
                  {"end", nullptr}};
  if (!whole) {
    request["begin"] = arena.slice_begin();
    request["end"] = arena.slice_end();
  }
  return SampleFrom(worker.process->Call(request), 1);
}

// A program that makes `to` from a warm .pt, then fsync.
absl::StatusOr<Sample> RunProgram(Arena& arena, bool compress) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string from,
                            arena.File(FileKind::kPt, Cache::kWarm));
  PENSTOCK_RETURN_IF_ERROR(BringIntoCache(from));
  const std::string copy = arena.options().directory + "/peer-copy.pt";
  const std::string to = compress ? copy + ".zst" : copy;
  const std::vector<std::string> argv =
      compress
          ? std::vector<std::string>{"zstd", "-T0", "-1", "-q", from, "-o", to}
          : std::vector<std::string>{"cp", from, to};
  const double start = Now();
  PENSTOCK_ASSIGN_OR_RETURN(Usage usage, RunChild(argv));
  PENSTOCK_RETURN_IF_ERROR(MakeDurable(to));
  usage.seconds = Now() - start;
  PENSTOCK_ASSIGN_OR_RETURN(const FileInfo info, PosixFileSystem().Stat(to));
  if (compress) {
    PENSTOCK_RETURN_IF_ERROR(
        RunChild({"zstd", "-d", "-q", "--rm", to, "-o", copy}).status());
  }
  PENSTOCK_RETURN_IF_ERROR(arena.CheckFile(copy));
  PENSTOCK_RETURN_IF_ERROR(PosixFileSystem().Unlink(copy));
  return SampleOf(usage, info.size_bytes);
}

bool Contains(const std::vector<std::string>& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void AddSaves(const ArenaPtr& arena, const std::vector<std::string>& names,
              const WorkerPtr& worker, std::vector<Contender>& contenders) {
  for (const SavingPeer& peer : kSaving) {
    if (!Contains(names, peer.name)) continue;
    contenders.push_back(
        {{RowOf(*arena, Section::kSave, peer.contender, "handed over"),
          RowOf(*arena, Section::kSave, peer.contender, "durable")},
         nullptr,
         [=] { return RunSave(peer, *arena, *worker); }});
    if (std::string(peer.name) == "zipnn") continue;
    contenders.push_back(
        {{RowOf(*arena, Section::kSave, peer.contender, "replace, durable")},
         [=] { return RunReplace(peer, *arena, *worker).status(); },
         [=] { return RunReplace(peer, *arena, *worker); }});
  }
}

void AddLoads(const ArenaPtr& arena, const std::vector<std::string>& names,
              const WorkerPtr& worker, std::vector<Contender>& contenders) {
  for (const Cache cache : {Cache::kCold, Cache::kWarm}) {
    for (const LoadingPeer& peer : kLoading) {
      if (!Contains(names, peer.name)) continue;
      const Section section =
          cache == Cache::kCold ? Section::kLoadCold : Section::kLoadWarm;
      contenders.push_back(
          {{RowOf(*arena, section, peer.contender, peer.what)},
           [=] { return PrepareLoad(peer, cache, *arena, *worker); },
           [=] { return RunLoad(peer, cache, *arena, *worker); }});
    }
  }
}

void AddParts(const ArenaPtr& arena, const std::vector<std::string>& names,
              const WorkerPtr& worker, std::vector<Contender>& contenders) {
  for (const PartPeer& peer : kParts) {
    if (!Contains(names, peer.name)) continue;
    // The file that it loads whole, cold.
    const LoadingPeer& loading =
        *std::find_if(std::begin(kLoading), std::end(kLoading),
                      [&](const LoadingPeer& other) {
                        return std::string(other.name) == peer.name;
                      });
    for (const bool whole : {true, false}) {
      Row row = RowOf(*arena, Section::kPart, peer.contender,
                      whole ? "one tensor, cold" : "10 % of its rows, cold");
      row.bytes = whole ? arena->largest_bytes() : arena->slice_bytes();
      contenders.push_back(
          {{std::move(row)},
           [=] { return PrepareLoad(loading, Cache::kCold, *arena, *worker); },
           [=]() -> absl::StatusOr<Sample> {
             PENSTOCK_ASSIGN_OR_RETURN(const std::string path,
                                       FileFor(loading, Cache::kCold, *arena));
             return RunPart(peer, whole, path, *arena, *worker);
           }});
    }
  }
}

}  // namespace

bool NeedsWorker(const std::vector<std::string>& names) {
  return Contains(names, "torch") || Contains(names, "safetensors") ||
         Contains(names, "zipnn");
}

absl::StatusOr<std::shared_ptr<Worker>> StartWorker(
    const std::string& python, const std::vector<std::string>& names,
    Arena& arena) {
  constexpr const char* kHint =
      "; ./bazelw run //cli:penstock -- bench --against ... makes the "
      "environment that it needs (PENSTOCK_PYTHON)";
  auto worker = std::make_shared<Worker>();
  absl::StatusOr<std::unique_ptr<PeerProcess>> process = PeerProcess::Start(
      {python.empty() ? "python3" : python, "-c", kPeerWorkerText});
  if (!process.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--against: ", std::string(process.status().message()), kHint));
  }
  worker->process = *std::move(process);
  PENSTOCK_ASSIGN_OR_RETURN(const std::string source,
                            arena.File(FileKind::kPt, Cache::kWarm));
  Json peers = Json::array();
  for (const SavingPeer& peer : kSaving) {
    if (Contains(names, peer.name)) peers.push_back(peer.name);
  }
  const absl::StatusOr<Json> answer =
      worker->process->Call({{"do", "start"},
                             {"peers", peers},
                             {"threads", arena.threads()},
                             {"source", source}});
  if (!answer.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--against: ", std::string(answer.status().message()), kHint));
  }
  const Json versions = answer->value("versions", Json::object());
  for (const auto& [name, version] : versions.items()) {
    if (version.is_string()) {
      worker->versions.emplace_back(name, version.get<std::string>());
    }
  }
  return worker;
}

std::vector<Contender> PeerContenders(const ArenaPtr& arena,
                                      const std::vector<std::string>& names,
                                      const WorkerPtr& worker) {
  std::vector<Contender> contenders;
  AddSaves(arena, names, worker, contenders);
  AddLoads(arena, names, worker, contenders);
  AddParts(arena, names, worker, contenders);
  for (const bool compress : {false, true}) {
    if (!Contains(names, compress ? "zstd" : "cp")) continue;
    contenders.push_back(
        {{RowOf(*arena, Section::kConvert, compress ? "zstd -T0 -1" : "cp",
                "a .pt, fsync")},
         [=] { return arena->File(FileKind::kPt, Cache::kWarm).status(); },
         [=] { return RunProgram(*arena, compress); }});
  }
  return contenders;
}

}  // namespace penstock::bench
