// Converts lists of files in one process, for tests that need thousands.
//
// Reads names of job files from standard input, one a line; each line of a job
// file is one conversion, its fields separated by tabs:
//
//   SOURCE  DESTINATION  FORMAT  CODEC  MODE  THREADS
//
// FORMAT as NameOf names it; CODEC zstd or none; MODE of a native file whether
// it keeps its origin (always, auto, never), else restore or anew. For each
// conversion a line goes to the file JOBS.done: "ok" and the warnings, or
// "error" and why. What was written is verified, too. Prints the number of
// conversions when a job file is done; ends at the end of the input.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "api/penstock.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

absl::StatusOr<Format> FormatOf(absl::string_view name) {
  for (const Format format :
       {Format::kNative, Format::kPt, Format::kPtLegacy, Format::kPickle,
        Format::kSafetensors, Format::kNpz, Format::kNpy}) {
    if (NameOf(format) == name) return format;
  }
  return absl::InvalidArgumentError(absl::StrCat("format ", name));
}

OriginMode OriginModeOf(absl::string_view mode) {
  if (mode == "always") return OriginMode::kAlways;
  return mode == "never" ? OriginMode::kNever : OriginMode::kAuto;
}

absl::StatusOr<SaveOptions> OptionsOf(const std::vector<std::string>& fields) {
  SaveOptions options;
  if (fields.size() != 6 ||
      !absl::SimpleAtoi(fields[5], &options.run.threads)) {
    return absl::InvalidArgumentError(absl::StrJoin(fields, " "));
  }
  PENSTOCK_ASSIGN_OR_RETURN(options.format, FormatOf(fields[2]));
  options.codec = fields[3] == "none" ? Codec::kNone : Codec::kZstd;
  options.origin = OriginModeOf(fields[4]);
  options.writing = fields[4] == "restore" ? Writing::kRestore : Writing::kAnew;
  if (const char* directory = std::getenv("TEST_TMPDIR")) {
    options.run.temporary_directory = directory;
  }
  return options;
}

// The warnings, in one line.
absl::StatusOr<std::string> RunJob(absl::string_view line) {
  const std::vector<std::string> fields = absl::StrSplit(line, '\t');
  PENSTOCK_ASSIGN_OR_RETURN(const SaveOptions options, OptionsOf(fields));
  PENSTOCK_ASSIGN_OR_RETURN(const ConvertReport report,
                            Convert(fields[0], fields[1], options));
  PENSTOCK_ASSIGN_OR_RETURN(const VerifyReport verified,
                            Verify(fields[1], options.run));
  if (!verified.findings.empty()) {
    return absl::DataLossError(absl::StrJoin(verified.findings, "; "));
  }
  return absl::StrJoin(report.saved.warnings, "; ");
}

std::string OneLine(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\n", " "}, {"\t", " "}});
}

int RunAll(const std::string& jobs_path) {
  std::ifstream jobs(jobs_path);
  std::ofstream done(absl::StrCat(jobs_path, ".done"));
  int count = 0;
  for (std::string line; std::getline(jobs, line); ++count) {
    const absl::StatusOr<std::string> result = RunJob(line);
    done << (result.ok()
                 ? absl::StrCat("ok\t", OneLine(*result))
                 : absl::StrCat("error\t", OneLine(result.status().ToString())))
         << "\n";
  }
  return count;
}

}  // namespace
}  // namespace penstock

int main() {
  for (std::string jobs; std::getline(std::cin, jobs);) {
    std::printf("%d\n", penstock::RunAll(jobs));
    std::fflush(stdout);
  }
  return 0;
}
