#include "api/doctor.h"

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/verbs.h"

namespace penstock {
namespace {

struct Flags {
  std::string file;
  bool json = false;
};

int ExitCodeOf(Health health) {
  switch (health) {
    case Health::kSound:
      return kExitOk;
    case Health::kWrong:
      return kExitFinding;
    case Health::kUnseen:
      return kExitError;
  }
  return kExitError;
}

// The library's files know where a link leads to, not that it is one.
void LookAtLink(DoctorReport& report, const std::string& path) {
  std::error_code error;
  const std::filesystem::path target =
      std::filesystem::read_symlink(path, error);
  if (error || report.kind != "missing") return;
  report.kind = "dangling-link";
  report.what = "a symbolic link to a file that is not there";
  report.findings = {absl::StrCat("it points to ", target.string())};
  report.advice = {
      "fetch the file again; in the Hugging Face cache delete the link first"};
}

void PrintJson(const Flags& flags, const DoctorReport& report) {
  PrintJsonLine({
      {"schema", "penstock.doctor/1"},
      {"file", flags.file},
      {"kind", report.kind},
      {"what", report.what},
      {"readable", report.readable},
      {"findings", report.findings},
      {"advice", report.advice},
      {"writer", report.writer},
      {"file_bytes", report.file_bytes},
      {"tensors", report.num_tensors},
      {"raw_bytes", report.raw_bytes},
      {"unchecked_bytes", report.unchecked_bytes},
      {"warnings", report.warnings},
  });
}

void Print(const Flags& flags, const DoctorReport& report) {
  std::printf("%s: %s\n", Printable(flags.file).c_str(),
              Printable(report.what).c_str());
  if (report.readable) {
    std::printf("  holds    %s\n",
                absl::StrCat(report.num_tensors, " tensors, ",
                             HumanBytes(report.raw_bytes), " in a file of ",
                             HumanBytes(report.file_bytes))
                    .c_str());
  }
  if (report.unchecked_bytes > 0) {
    std::printf("  note     %s have no checksum: damage there goes unseen\n",
                HumanBytes(report.unchecked_bytes).c_str());
  }
  for (const std::string& warning : report.warnings) {
    std::printf("  note     %s\n", Printable(warning).c_str());
  }
  for (const std::string& finding : report.findings) {
    std::printf("  finding  %s\n", Printable(finding).c_str());
  }
  for (const std::string& advice : report.advice) {
    std::printf("  next     %s\n", Printable(advice).c_str());
  }
}

}  // namespace

void AddDoctor(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "doctor", "Says what a file is, what is wrong with it, what to do.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "any file or directory")->required();
  verb->add_flag("--json", flags->json, "print penstock.doctor/1");
  verb->callback([flags, &exit_code] {
    DoctorReport report = Diagnose(flags->file);
    LookAtLink(report, flags->file);
    flags->json ? PrintJson(*flags, report) : Print(*flags, report);
    exit_code = ExitCodeOf(report.health);
  });
}

}  // namespace penstock
