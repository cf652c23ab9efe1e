#include "cli/verbs.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

void TakeTemporaryDirectory(RunOptions& options) {
  const char* directory = std::getenv("TMPDIR");
  if (directory != nullptr && *directory != '\0') {
    options.temporary_directory = directory;
  }
}

}  // namespace

void RunFlags::AddTo(CLI::App& verb) {
  verb.add_option("-j,--threads", threads,
                  "threads (default: as many as cores)")
      ->check(CLI::Range(1, 1024));
  verb.add_option("--memory", memory,
                  "memory for buffers, beyond the index (default: 256MiB)");
}

absl::StatusOr<RunOptions> RunFlags::Options(ProgressMeter& meter) const {
  RunOptions options;
  options.threads = threads;
  PENSTOCK_ASSIGN_OR_RETURN(options.memory_bytes, ParseBytes(memory));
  options.progress = meter.callback();
  TakeTemporaryDirectory(options);
  return options;
}

absl::StatusOr<std::shared_ptr<const RandomAccessFile>> SpoolInput() {
  RunOptions options;
  TakeTemporaryDirectory(options);
  const InterruptsEndAll unnamed;  // the spool is, and goes by itself
  return SpoolInputStream(STDIN_FILENO, "standard input",
                          options.temporary_directory,
                          [] { return !Interrupted(); });
}

absl::StatusOr<Checkpoint> OpenInput(const std::string& path,
                                     RunOptions options) {
  TakeTemporaryDirectory(options);
  if (path != "-") return Checkpoint::Open(path, options);
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            SpoolInput());
  return Checkpoint::Open(std::move(file), options);
}

}  // namespace penstock
