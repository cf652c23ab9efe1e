// The verbs of the command: one file each.

#ifndef PENSTOCK_CLI_VERBS_H_
#define PENSTOCK_CLI_VERBS_H_

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "api/penstock.h"
#include "cli/console.h"
#include "core/file.h"

namespace penstock {

// Each adds its subcommand to `app`; when chosen, it runs and stores its exit
// code in `exit_code`.
void AddBench(CLI::App& app, int& exit_code);
void AddCat(CLI::App& app, int& exit_code);
void AddConvert(CLI::App& app, int& exit_code);
void AddDemo(CLI::App& app, int& exit_code);
void AddDiff(CLI::App& app, int& exit_code);
void AddDoctor(CLI::App& app, int& exit_code);
void AddExtract(CLI::App& app, int& exit_code);
void AddInfo(CLI::App& app, int& exit_code);
void AddLs(CLI::App& app, int& exit_code);
void AddScan(CLI::App& app, int& exit_code);
void AddVerify(CLI::App& app, int& exit_code);

// The options that say how to work, the same for every verb.
struct RunFlags {
  int threads = 0;
  std::string memory = "256MiB";

  void AddTo(CLI::App& verb);
  // With the meter's progress. Errors: kInvalidArgument.
  absl::StatusOr<RunOptions> Options(ProgressMeter& meter) const;
};

// What comes from standard input, as a file. The temporary goes to TMPDIR,
// where that is set.
absl::StatusOr<std::shared_ptr<const RandomAccessFile>> SpoolInput();

// Opens a checkpoint for a verb; "-" is standard input, spooled. Temporary
// files go to TMPDIR, likewise.
absl::StatusOr<Checkpoint> OpenInput(const std::string& path,
                                     RunOptions options);

}  // namespace penstock

#endif  // PENSTOCK_CLI_VERBS_H_
