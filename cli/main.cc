// The `penstock` command. The only place that prints or reads the environment.

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "cli/console.h"
#include "cli/verbs.h"
#include "core/replaced_files.h"

namespace penstock {
namespace {

constexpr const char* kExamples =
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
    "can do\n";
constexpr const char* kExitCodes =
    "Exit codes: 0 ok, 1 a finding (damage), 2 an error, 130 interrupted.";

// Those of all verbs; below each verb's help its own.
void AddExamples(CLI::App& app) {
  app.footer(absl::StrCat("Examples:\n", kExamples, "\n", kExitCodes));
  for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) {
    std::string text = verb->get_footer();
    if (!text.empty()) text += "\n\n";
    absl::StrAppend(&text, "Examples:\n");
    for (const absl::string_view line : absl::StrSplit(kExamples, '\n')) {
      const std::string start = absl::StrCat("  penstock ", verb->get_name());
      if (absl::StartsWith(line, start)) absl::StrAppend(&text, line, "\n");
    }
    verb->footer(absl::StrCat(text, "\n", kExitCodes));
  }
}

// One line, which says where to read on.
std::string UsageError(const CLI::App* app, const CLI::Error& error) {
  std::string verb;
  for (const CLI::App* given : app->get_subcommands()) {
    verb = absl::StrCat(" ", given->get_name());
  }
  std::string text = error.what();
  if (verb.empty() && app->remaining_size() > 0) {
    text = absl::StrCat("there is no subcommand ", app->remaining()[0]);
  }
  return absl::StrCat("penstock: ", Printable(text), " (see: penstock", verb,
                      " --help)\n");
}

// What was printed may not have got to where it should: a full disk. Who closed
// a pipe (`| head`) has seen enough, and is not told.
int ExitCodeOfOutput() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return kExitOk;
  pollfd output = {STDOUT_FILENO, POLLOUT, 0};
  const bool closed =
      poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
  if (closed) return kExitError;
  return Fail(absl::UnknownError("standard output: cannot be written"));
}

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

// A file that is opened where a standard stream was closed would take its
// number, and what is printed. In its place stands what can only be used the
// wrong way.
void OccupyClosedStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    const int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode) != fd) std::_Exit(kExitError);
  }
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
  OccupyClosedStreams();
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
  app.require_subcommand(1);
  app.failure_message(UsageError);
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
  AddExamples(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) != 0) exit_code = kExitError;
  }
  FreeReplaced();
  const int output = ExitCodeOfOutput();
  return output == kExitOk ? exit_code : output;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::Main(argc, argv); }
