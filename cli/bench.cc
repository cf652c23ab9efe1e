#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/penstock.h"
#include "bench/benchmark.h"
#include "bench/peer_contenders.h"
#include "bench/report.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Without peers; a run against them takes as long as they need.
constexpr double kLimitSeconds = 110;

struct Flags {
  std::string directory = ".";
  std::string size = "1GB";
  std::string tensors = "large";
  std::vector<std::string> against;
  std::vector<std::string> only;
  std::string json;
  std::string svg;
  int rounds = 7;
  int64_t seed = -1;
  double limit_seconds = -1;
  bool idle = false;
  RunFlags run;
};

std::string EnvironmentText(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? "" : text;
}

std::string Version() {
  const std::string commit = EnvironmentText("PENSTOCK_COMMIT");
  return commit.empty() ? "0.1.0" : absl::StrCat("0.1.0 (", commit, ")");
}

// On a terminal, one line that changes.
bool ShowStep(int round, int rounds, const std::string& name) {
  if (isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr, "\rround %d of %d: %s\033[K", round + 1, rounds,
                 name.c_str());
    std::fflush(stderr);
  }
  return !Interrupted();
}

absl::StatusOr<bench::BenchmarkOptions> OptionsFrom(const Flags& flags) {
  bench::BenchmarkOptions options;
  options.directory = flags.directory;
  PENSTOCK_ASSIGN_OR_RETURN(options.size_bytes, ParseBytes(flags.size));
  for (const bench::Tensors tensors :
       {bench::Tensors::kLarge, bench::Tensors::kSmall, bench::Tensors::kOne}) {
    if (flags.tensors == bench::NameOf(tensors)) options.tensors = tensors;
  }
  options.rounds = flags.rounds;
  options.seed = flags.seed >= 0 ? flags.seed : std::random_device()();
  options.limit_seconds = flags.limit_seconds >= 0 ? flags.limit_seconds
                          : flags.against.empty()  ? kLimitSeconds
                                                   : 0;
  options.idle = flags.idle;
  options.against = flags.against;
  options.only = flags.only;
  options.python = EnvironmentText("PENSTOCK_PYTHON");
  options.program = "/proc/self/exe";
  options.version = Version();
  ProgressMeter meter("measuring");  // unused: it would cost time in places
  PENSTOCK_ASSIGN_OR_RETURN(options.run, flags.run.Options(meter));
  options.run.progress = [](const Progress&) {
    return Interrupted() ? Proceed::kCancel : Proceed::kContinue;
  };
  if (options.run.threads == 0) {
    options.run.threads =
        std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  options.keep_going = [rounds = flags.rounds](int round,
                                               const std::string& name) {
    return ShowStep(round, rounds, name);
  };
  return options;
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

absl::Status Run(const Flags& flags) {
  PENSTOCK_ASSIGN_OR_RETURN(const bench::BenchmarkOptions options,
                            OptionsFrom(flags));
  const absl::StatusOr<bench::Report> report = bench::RunBenchmark(options);
  if (isatty(STDERR_FILENO) == 1) std::fputs("\r\033[K", stderr);
  PENSTOCK_RETURN_IF_ERROR(report.status());
  const std::string text = bench::ReportText(*report);
  for (const absl::string_view line :
       absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
    std::puts(Printable(line).c_str());
  }
  if (!flags.json.empty()) {
    PENSTOCK_RETURN_IF_ERROR(WriteText(
        flags.json,
        absl::StrCat(bench::ReportJson(*report).dump(
                         2, ' ', false, Json::error_handler_t::replace),
                     "\n")));
  }
  if (!flags.svg.empty()) {
    PENSTOCK_RETURN_IF_ERROR(WriteText(flags.svg, bench::ReportSvg(*report)));
  }
  return absl::OkStatus();
}

void AddFlags(CLI::App& verb, Flags& flags) {
  verb.add_option("--dir", flags.directory,
                  "on the disk to measure (default: the current folder)");
  verb.add_option("--size", flags.size, "of the checkpoint (default: 1GB)");
  verb.add_option("--tensors", flags.tensors,
                  "large: as in a language model; small: of 64 KiB; one")
      ->check(CLI::IsMember({"large", "small", "one"}));
  verb.add_option("--against", flags.against,
                  "torch, safetensors, zipnn, cp, zstd")
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(bench::kPeers),
                                                     std::end(bench::kPeers))));
  verb.add_option("--only", flags.only,
                  "rows by glob, e.g. 'load warm/*'; may be repeated");
  verb.add_option("--rounds", flags.rounds, "(default: 7)")
      ->check(CLI::Range(1, 1000));
  verb.add_option("--limit", flags.limit_seconds,
                  "seconds; the size is halved until they are kept (default: "
                  "110, and 0, which is none, with --against)")
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--seed", flags.seed, "of the order (default: by chance)")
      ->check(CLI::NonNegativeNumber);
  verb.add_flag("--idle", flags.idle, "also load after 7 s without work");
  verb.add_option("--json", flags.json, "write penstock.bench/1 there");
  verb.add_option("--svg", flags.svg, "write a chart there");
  flags.run.AddTo(verb);
}

}  // namespace

void AddBench(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "bench",
      "Measures saving and loading here, beside what the machine can do.");
  auto flags = std::make_shared<Flags>();
  AddFlags(*verb, *flags);
  verb->callback([flags, &exit_code] {
    const absl::Status status = Run(*flags);
    if (status.ok()) return;
    const int code = Fail(status);
    // Bytes that came back wrong are a finding.
    exit_code = absl::IsDataLoss(status) ? kExitFinding : code;
  });
}

}  // namespace penstock
