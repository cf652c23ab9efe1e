#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/penstock.h"
#include "bench/ceilings.h"
#include "bench/machine.h"
#include "bench/rounds.h"
#include "bench/statistics.h"
#include "bench/usage.h"
#include "cli/console.h"
#include "cli/demo_checkpoint.h"
#include "cli/verbs.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kCeilingBytes = 256 << 20;
constexpr int kCeilingRounds = 3;

struct Flags {
  std::string directory = ".";
  std::string size = "1GB";
  bool keep = false;
  RunFlags run;
};

absl::Status CheckRoom(const std::string& directory, int64_t size_bytes) {
  // .pt, .pstk and .pt again lie side by side; then the ceilings' file.
  const int64_t disk = size_bytes * 3 + kCeilingBytes + (64 << 20);
  const int64_t memory = size_bytes * 2 + (512 << 20);
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                            PosixFileSystem().FreeSpace(directory));
  if (free < disk) {
    return absl::ResourceExhaustedError(absl::StrCat(
        directory, ": the demo needs ", HumanBytes(disk), " of free space, ",
        HumanBytes(free), " are there; choose --dir or a smaller --size"));
  }
  if (bench::AvailableMemory() < memory) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the demo needs ", HumanBytes(memory), " of memory, ",
                     HumanBytes(bench::AvailableMemory()),
                     " are available; choose a smaller --size"));
  }
  return absl::OkStatus();
}

void PrintStep(const std::string& what, int64_t file_bytes, int64_t raw_bytes,
               double seconds) {
  std::puts(absl::StrFormat("%-22s %10s  ratio %.3f  %8s  %s", what,
                            HumanBytes(file_bytes),
                            static_cast<double>(raw_bytes) /
                                static_cast<double>(file_bytes),
                            HumanTime(seconds), HumanRate(raw_bytes, seconds))
                .c_str());
  std::fflush(stdout);
}

absl::Status ConvertStep(const std::string& what, const std::string& from,
                         const std::string& to, const RunOptions& run) {
  SaveOptions options = SaveOptionsFor(to);
  options.run = run;
  PENSTOCK_ASSIGN_OR_RETURN(const ConvertReport report,
                            Convert(from, to, options));
  PrintStep(what, report.saved.file_bytes, report.saved.raw_bytes,
            report.saved.seconds);
  return absl::OkStatus();
}

absl::Status VerifyStep(const std::string& path, const RunOptions& run) {
  PENSTOCK_ASSIGN_OR_RETURN(const VerifyReport report, Verify(path, run));
  if (!report.findings.empty()) {
    return absl::InternalError(
        absl::StrCat("verify found damage: ", report.findings.front()));
  }
  PrintStep("verify model.pstk", report.file_bytes, report.raw_bytes,
            report.seconds);
  return absl::OkStatus();
}

// What came back against what was made, in memory.
absl::Status ProveEqual(const Value& made, const std::string& path,
                        const RunOptions& run) {
  const auto start = std::chrono::steady_clock::now();
  PENSTOCK_ASSIGN_OR_RETURN(const Value loaded, Load(path, run));
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  int64_t bytes = 0;
  for (const auto& storage : loaded.graph()->storages()) {
    bytes += storage->size_bytes();
  }
  PrintStep("load back/model.pt", bytes, bytes, seconds.count());
  PENSTOCK_RETURN_IF_ERROR(
      Annotate(Compare(made, loaded), "what came back differs"));
  std::puts(absl::StrFormat(
                "\nequal: %d tensors on %d storages, every tie, stride, key, "
                "number and byte",
                loaded.graph()->num_tensors(),
                loaded.graph()->storages().size())
                .c_str());
  return absl::OkStatus();
}

absl::Status PrintCeilings(const std::string& directory, int threads) {
  std::vector<bench::Contender> ways =
      bench::CopyCeilings(kCeilingBytes, threads);
  for (bench::Contender& way : bench::WriteCeilings(directory, kCeilingBytes)) {
    ways.push_back(std::move(way));
  }
  bench::RoundsOptions options;
  options.rounds = kCeilingRounds;
  options.now = &bench::Now;
  PENSTOCK_ASSIGN_OR_RETURN(const bench::Rounds rounds,
                            bench::RunRounds(ways, options));
  std::puts("\nthis machine, median of 3 (penstock bench says more):");
  for (const bench::Row& row : rounds.rows) {
    std::puts(absl::StrFormat(
                  "  %-20s %-10s %s", row.contender, row.what,
                  HumanRate(row.bytes, bench::SpreadOf(row.seconds).median))
                  .c_str());
  }
  return absl::OkStatus();
}

absl::Status RunIn(const std::string& folder, int64_t size_bytes,
                   const RunOptions& run) {
  const int threads =
      run.threads > 0 ? run.threads
                      : static_cast<int>(std::thread::hardware_concurrency());
  std::puts(absl::StrFormat("making a checkpoint of %s (seeded; a language "
                            "model in bf16, its Adam state in fp32)\n",
                            HumanBytes(size_bytes))
                .c_str());
  std::fflush(stdout);
  PENSTOCK_ASSIGN_OR_RETURN(const Value checkpoint,
                            MakeDemoCheckpoint(size_bytes, threads));
  if (Interrupted()) return absl::CancelledError("interrupted");

  const std::string pt = folder + "/model.pt";
  const std::string native = folder + "/model.pstk";
  const std::string back = folder + "/back/model.pt";
  SaveOptions options = SaveOptionsFor(pt);
  options.run = run;
  PENSTOCK_ASSIGN_OR_RETURN(const SaveReport saved,
                            Save(checkpoint, pt, options));
  PrintStep("save model.pt", saved.file_bytes, saved.raw_bytes, saved.seconds);
  PENSTOCK_RETURN_IF_ERROR(
      ConvertStep("convert to model.pstk", pt, native, run));
  PENSTOCK_RETURN_IF_ERROR(VerifyStep(native, run));
  PENSTOCK_RETURN_IF_ERROR(ConvertStep("convert back", native, back, run));
  PENSTOCK_RETURN_IF_ERROR(ProveEqual(checkpoint, back, run));
  return PrintCeilings(folder, threads);
}

absl::Status Run(const Flags& flags) {
  ProgressMeter meter("working");
  PENSTOCK_ASSIGN_OR_RETURN(const RunOptions run, flags.run.Options(meter));
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size_bytes, ParseBytes(flags.size));
  if (size_bytes < 1'000'000) {
    return absl::InvalidArgumentError("--size: at least 1MB");
  }
  PENSTOCK_RETURN_IF_ERROR(CheckRoom(flags.directory, size_bytes));

  std::string folder = flags.directory + "/penstock-demo-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::ErrnoToStatus(errno, flags.directory);
  }
  auto remove = absl::MakeCleanup([&folder] {
    std::error_code ignored;  // nothing to be done about it
    std::filesystem::remove_all(folder, ignored);
  });
  std::filesystem::create_directory(folder + "/back");
  PENSTOCK_RETURN_IF_ERROR(RunIn(folder, size_bytes, run));
  if (flags.keep) {
    std::move(remove).Cancel();
    std::printf("\nkept in %s\n", Printable(folder).c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddDemo(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("demo",
                                      "Makes a checkpoint, saves, converts, "
                                      "verifies, converts back, compares.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("--dir", flags->directory,
                   "where to work (default: the current folder)");
  verb->add_option("--size", flags->size,
                   "of the checkpoint (default: 1GB); needs 3 times as much "
                   "disk and twice as much memory");
  verb->add_flag("--keep", flags->keep, "leave the files there");
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    const absl::Status status = Run(*flags);
    if (!status.ok()) exit_code = Fail(status);
  });
}

}  // namespace penstock
