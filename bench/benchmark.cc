#include "bench/benchmark.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/arena.h"
#include "bench/ceilings.h"
#include "bench/contenders.h"
#include "bench/machine.h"
#include "bench/peer_contenders.h"
#include "bench/room.h"
#include "bench/rounds.h"
#include "bench/usage.h"
#include "core/glob.h"
#include "core/posix_file_system.h"
#include "core/replaced_files.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

// Below, a round is a few milliseconds, and halving gains nothing.
constexpr int64_t kLeastBytes = 16'000'000;
// For asking only which contenders there are.
constexpr int64_t kTinyBytes = 1 << 16;

bool Wanted(const Contender& contender, const std::vector<std::string>& only) {
  if (only.empty()) return true;
  return std::any_of(only.begin(), only.end(), [&](const std::string& glob) {
    return std::any_of(
        contender.rows.begin(), contender.rows.end(),
        [&](const Row& row) { return MatchesGlob(glob, row.Name()); });
  });
}

absl::StatusOr<std::vector<Contender>> ContendersFor(
    const BenchmarkOptions& options, const std::shared_ptr<Arena>& arena,
    const std::shared_ptr<Worker>& worker) {
  const int threads = arena->threads();
  std::vector<Contender> all;
  const auto add = [&](std::vector<Contender> more) {
    for (Contender& contender : more) {
      if (Wanted(contender, options.only)) all.push_back(std::move(contender));
    }
  };
  add(CopyCeilings(arena->tensor_bytes(), threads));
  add(WriteCeilings(arena->options().directory, arena->tensor_bytes()));
  add(ReadCeilings(
      [arena] { return arena->File(FileKind::kRaw, Cache::kCold); },
      arena->tensor_bytes(), threads));
  add(SaveContenders(arena));
  add(LoadContenders(arena));
  if (options.idle) add(IdleContenders(arena));
  add(PartContenders(arena));
  add(ConvertContenders(arena, options.program));
  add(OpenContenders(arena));
  add(PeerContenders(arena, options.against, worker));
  if (all.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--only ", absl::StrJoin(options.only, ","),
                     ": nothing has such a name"));
  }
  return all;
}

bool Saves(const std::vector<Contender>& contenders) {
  return std::any_of(contenders.begin(), contenders.end(),
                     [](const Contender& contender) {
                       return contender.rows[0].section == Section::kSave;
                     });
}

absl::StatusOr<std::shared_ptr<Arena>> MakeArena(
    const BenchmarkOptions& options, const std::string& folder,
    int64_t size_bytes) {
  ArenaOptions arena;
  arena.directory = folder;
  arena.tensors = options.tensors;
  arena.size_bytes = size_bytes;
  arena.run = options.run;
  return Arena::Make(arena);
}

// One benchmark of one size, with a folder of its own.
class SizedRun {
 public:
  SizedRun(const BenchmarkOptions& options, Report& report)
      : options_(options), report_(report) {}

  absl::StatusOr<Rounds> Run(int64_t size_bytes, double deadline_seconds) {
    PENSTOCK_RETURN_IF_ERROR(CheckRoomFor(size_bytes));
    std::string folder = options_.directory + "/penstock-bench-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) {
      return absl::ErrnoToStatus(errno, options_.directory);
    }
    const auto remove = absl::MakeCleanup([&folder] {
      WaitForReplacedFiles();
      std::error_code ignored;  // nothing to be done about it
      std::filesystem::remove_all(folder, ignored);
    });
    PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<Arena> arena,
                              MakeArena(options_, folder, size_bytes));
    std::shared_ptr<Worker> worker;
    if (NeedsWorker(options_.against)) {
      PENSTOCK_ASSIGN_OR_RETURN(
          worker, StartWorker(options_.python, options_.against, *arena));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Contender> contenders,
                              ContendersFor(options_, arena, worker));
    Describe(*arena, worker.get());
    return RunRounds(contenders,
                     RoundsFor(arena, Saves(contenders), deadline_seconds));
  }

 private:
  // Before any large thing is made: what a tiny one would run.
  absl::Status CheckRoomFor(int64_t size_bytes) const {
    PENSTOCK_ASSIGN_OR_RETURN(const std::shared_ptr<Arena> tiny,
                              MakeArena(options_, "", kTinyBytes));
    PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Contender> contenders,
                              ContendersFor(options_, tiny, nullptr));
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                              PosixFileSystem().FreeSpace(options_.directory));
    const Peers peers =
        NeedsWorker(options_.against) ? Peers::kSome : Peers::kNone;
    return CheckRoom(RoomFor(contenders, size_bytes, peers),
                     {free, AvailableMemory()}, options_.directory);
  }

  RoundsOptions RoundsFor(const std::shared_ptr<Arena>& arena, bool saves,
                          double deadline_seconds) const {
    RoundsOptions rounds;
    rounds.rounds = options_.rounds;
    rounds.seed = options_.seed;
    rounds.deadline_seconds = deadline_seconds;
    rounds.now = &Now;
    rounds.keep_going = options_.keep_going;
    rounds.prepared = [arena, saves] {
      if (!saves) arena->ReleaseSource();
    };
    return rounds;
  }

  void Describe(const Arena& arena, const Worker* worker) {
    report_.tensor_bytes = arena.tensor_bytes();
    report_.num_tensors = arena.num_tensors();
    report_.versions.resize(1);  // a size that was given up left its own
    if (worker == nullptr) return;
    report_.versions.insert(report_.versions.end(), worker->versions.begin(),
                            worker->versions.end());
  }

  const BenchmarkOptions& options_;
  Report& report_;
};

}  // namespace

std::string NameOf(Tensors tensors) {
  switch (tensors) {
    case Tensors::kLarge:
      return "large";
    case Tensors::kSmall:
      return "small";
    case Tensors::kOne:
      return "one";
  }
  return "?";
}

absl::StatusOr<Report> RunBenchmark(const BenchmarkOptions& options) {
  const double start = Now();
  const double deadline =
      options.limit_seconds > 0 ? start + options.limit_seconds : 0;
  Report report;
  report.machine = DescribeMachine(options.directory);
  report.versions = {{"penstock", options.version}};
  report.tensors = NameOf(options.tensors);
  report.rounds = options.rounds;
  report.threads = options.run.threads;
  report.seed = options.seed;
  SizedRun sized(options, report);
  PENSTOCK_ASSIGN_OR_RETURN(
      Rounds rounds,
      RunHalving(
          options.size_bytes, kLeastBytes, deadline,
          [&](int64_t size_bytes, double deadline_seconds) {
            return sized.Run(size_bytes, deadline_seconds);
          },
          [&](int64_t size_bytes) {
            report.notes.push_back(absl::StrFormat(
                "the first of %d rounds took too long for %.0f s; begun again "
                "with %.3f GB (--limit 0 keeps the size)",
                options.rounds, options.limit_seconds,
                static_cast<double>(size_bytes) * 1e-9));
          }));
  report.rows = std::move(rounds.rows);
  // Peers stand beside Penstock, table by table.
  std::stable_sort(
      report.rows.begin(), report.rows.end(),
      [](const Row& a, const Row& b) { return a.section < b.section; });
  report.num_checks = rounds.num_checks;
  report.notes.insert(report.notes.end(), rounds.notes.begin(),
                      rounds.notes.end());
  report.seconds = Now() - start;
  return report;
}

}  // namespace penstock::bench
