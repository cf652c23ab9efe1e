#include "bench/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bench/descriptor.h"
#include "core/status_macros.h"

extern char** environ;

namespace penstock::bench {
namespace {

constexpr int kLookEveryMs = 5;

absl::StatusOr<pid_t> Start(const std::vector<std::string>& argv, int errors) {
  std::vector<char*> pointers;
  for (const std::string& word : argv) {
    pointers.push_back(const_cast<char*>(word.c_str()));  // spawn's signature
  }
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
                                   O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, pointers[0], &actions, nullptr,
                                 pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot run ", argv[0]));
  }
  return pid;
}

// Waits until `pid` has ended, and says what its memory came to.
int64_t WatchPeak(pid_t pid) {
  const Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (process.get() < 0) return 0;  // an old kernel: not known
  const std::string status = absl::StrCat("/proc/", pid, "/status");
  int64_t peak = 0;
  pollfd ended = {process.get(), POLLIN, 0};
  while (true) {
    const int n = poll(&ended, 1, kLookEveryMs);
    if (n > 0 || (n < 0 && errno != EINTR)) return peak;
    peak = std::max(peak, StatusBytes(status.c_str(), "VmHWM"));
  }
}

// Says why, where a process did not end well.
absl::Status Judge(const std::string& program, int status, int errors) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  char said[300];
  const ssize_t n = pread(errors, said, sizeof(said), 0);
  absl::string_view text(said, n > 0 ? n : 0);
  return absl::InternalError(
      absl::StrCat(program,
                   WIFSIGNALED(status) ? " was killed by signal "
                                       : " failed with exit code ",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                   text.empty() ? "" : ": ", absl::StripAsciiWhitespace(text)));
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

absl::StatusOr<Usage> RunChild(const std::vector<std::string>& argv) {
  const Descriptor errors(memfd_create("stderr", MFD_CLOEXEC));
  if (errors.get() < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  const double start = Now();
  PENSTOCK_ASSIGN_OR_RETURN(const pid_t pid, Start(argv, errors.get()));
  Usage usage;
  usage.peak_bytes = WatchPeak(pid);
  int status = 0;
  rusage resources;
  while (wait4(pid, &status, 0, &resources) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, argv[0]);
  }
  usage.seconds = Now() - start;
  usage.cpu_seconds = Seconds(resources.ru_utime) + Seconds(resources.ru_stime);
  PENSTOCK_RETURN_IF_ERROR(Judge(argv[0], status, errors.get()));
  return usage;
}

}  // namespace penstock::bench
