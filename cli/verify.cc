#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "api/penstock.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

struct Flags {
  std::string file;
  bool json = false;
  bool origin = false;
  RunFlags run;
};

absl::StatusOr<VerifyReport> Run(const Flags& flags) {
  ProgressMeter meter("verifying");
  VerifyOptions options;
  options.origin = flags.origin;
  PENSTOCK_ASSIGN_OR_RETURN(options.run, flags.run.Options(meter));
  if (flags.file != "-") return Verify(flags.file, options);
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const RandomAccessFile> file,
                            SpoolInput());
  return Verify(std::move(file), options);
}

void PrintJson(const Flags& flags, const VerifyReport& report) {
  Json json = {
      {"schema", "penstock.verify/1"},
      {"file", flags.file},
      {"format", JsonText(NameOf(report.format))},
      {"sound", report.findings.empty()},
      {"findings", report.findings},
      {"tensors", report.num_tensors},
      {"file_bytes", report.file_bytes},
      {"raw_bytes", report.raw_bytes},
      {"unverified_bytes", report.unverified_bytes},
      {"compared_origin", report.compared_origin},
      {"seconds", report.seconds},
  };
  PrintJsonLine(json);
}

void Print(const Flags& flags, const VerifyReport& report) {
  const std::string name = Printable(flags.file);
  for (const std::string& finding : report.findings) {
    std::printf("%s: %s\n", name.c_str(), Printable(finding).c_str());
  }
  if (!report.findings.empty()) {
    std::printf("%s: DAMAGED\n", name.c_str());
    return;
  }
  std::printf("%s: sound: %d tensors, %s checked in %s (%s)\n", name.c_str(),
              static_cast<int>(report.num_tensors),
              HumanBytes(report.raw_bytes).c_str(),
              HumanTime(report.seconds).c_str(),
              HumanRate(report.raw_bytes, report.seconds).c_str());
  if (report.compared_origin) {
    std::printf("%s: its origin has the same tree and tensors\n", name.c_str());
  }
  if (report.unverified_bytes > 0) {
    std::printf("%s: %s were written without a CRC-32 and cannot be checked\n",
                name.c_str(), HumanBytes(report.unverified_bytes).c_str());
  }
}

}  // namespace

void AddVerify(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "verify", "Reads every byte and compares every checksum.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "a checkpoint; - for standard input")
      ->required();
  verb->add_flag("--json", flags->json, "print penstock.verify/1");
  verb->add_flag("--origin", flags->origin,
                 "also compare the file that restoring a .pstk would write "
                 "with its tree and tensors");
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    const absl::StatusOr<VerifyReport> report = Run(*flags);
    if (!report.ok()) {
      exit_code = Fail(report.status());
      return;
    }
    exit_code = report->findings.empty() ? kExitOk : kExitFinding;
    flags->json ? PrintJson(*flags, *report) : Print(*flags, *report);
  });
}

}  // namespace penstock
