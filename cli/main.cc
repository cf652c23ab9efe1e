// The `penstock` command. The only place that prints or reads the environment.

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "CLI/CLI.hpp"
#include "cli/console.h"
#include "cli/verbs.h"
#include "core/replaced_files.h"

namespace penstock {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  penstock convert model.pt model.pstk     compress a checkpoint\n"
    "  penstock convert model.pstk model.pt     and back, for torch.load\n"
    "  penstock ls model.pt 'layers.0.*'        what is in it\n"
    "  penstock info model.pstk                 who wrote it, totals, the "
    "tree\n"
    "  penstock cat model.pt head.weight :3     values of its first rows\n"
    "  penstock extract model.pt '*.bias' -o d  .npy files for numpy\n"
    "  penstock verify model.pstk               read every byte, compare\n"
    "  penstock scan download.pt                what it would run if Python "
    "loads it\n"
    "  penstock diff model.pt tuned.safetensors which tensors changed, how "
    "much\n"
    "  penstock doctor download.bin             what is this, and why does it "
    "fail\n"
    "  penstock demo                            all of it, on 1 GB made up "
    "here\n"
    "  penstock bench                           how fast, beside what the disk "
    "can do\n"
    "\n"
    "Exit codes: 0 ok, 1 a finding (damage), 2 an error, 130 interrupted.";

// The result is durable by now: only the space of what was replaced is still
// being freed, and the process cannot end before.
void FreeReplaced() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  WaitForReplacedFiles();
  const std::chrono::duration<double> seconds = Clock::now() - start;
  if (seconds.count() < 0.5) return;
  std::fprintf(stderr,
               "penstock: %.1f s to free the space of the replaced file\n",
               seconds.count());
}

// A distributed checkpoint may consist of more files than a process may open
// unless it asks.
void AllowManyFiles() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Main(int argc, char** argv) {
  // `bazel run` starts in its runfiles; names are meant from where the user is.
  if (const char* directory = std::getenv("BUILD_WORKING_DIRECTORY")) {
    if (chdir(directory) != 0) {
      std::perror("penstock: BUILD_WORKING_DIRECTORY");
      return kExitError;
    }
  }
  CatchInterrupts();
  AllowManyFiles();
  CLI::App app("Saves, converts and verifies model checkpoints.", "penstock");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", "penstock 0.1.0");
  int exit_code = kExitOk;
  AddConvert(app, exit_code);
  AddLs(app, exit_code);
  AddInfo(app, exit_code);
  AddCat(app, exit_code);
  AddExtract(app, exit_code);
  AddVerify(app, exit_code);
  AddScan(app, exit_code);
  AddDiff(app, exit_code);
  AddDoctor(app, exit_code);
  AddDemo(app, exit_code);
  AddBench(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitError;
  }
  FreeReplaced();
  return exit_code;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::Main(argc, argv); }
