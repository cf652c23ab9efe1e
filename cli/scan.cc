#include "api/scan.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

struct Flags {
  std::vector<std::string> files;
  std::vector<std::string> allow;
  std::string fail_on = "unknown";
  bool json = false;
};

// One file and what came of it.
struct Scanned {
  std::string path;
  absl::StatusOr<ScanReport> report = absl::UnknownError("");
};

// Of a directory every file in it and below, in the order of their names.
// Links to directories are not followed.
absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return std::vector<std::string>{path};
  }
  std::vector<std::string> paths;
  std::filesystem::recursive_directory_iterator entry(path, error);
  while (!error && entry != std::filesystem::recursive_directory_iterator()) {
    std::error_code gone;
    if (!entry->is_directory(gone)) paths.push_back(entry->path().string());
    entry.increment(error);
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("reading ", path));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Scanned ScanOne(const std::string& path, const Flags& flags) {
  Scanned scanned{path};
  ProgressMeter meter("scanning");
  RunFlags defaults;
  const absl::StatusOr<RunOptions> run = defaults.Options(meter);
  if (!run.ok()) {
    scanned.report = run.status();
    return scanned;
  }
  ScanOptions options;
  options.allow = flags.allow;
  options.run = *run;
  if (path != "-") {
    scanned.report = Scan(path, options);
    return scanned;
  }
  absl::StatusOr<std::shared_ptr<const RandomAccessFile>> file = SpoolInput();
  scanned.report = file.ok() ? Scan(*std::move(file), options)
                             : absl::StatusOr<ScanReport>(file.status());
  return scanned;
}

// 1 where something is found, else 2 where something could not be seen.
int ExitCodeOf(const Scanned& scanned, const Flags& flags) {
  if (!scanned.report.ok()) {
    return absl::IsCancelled(scanned.report.status()) ? kExitInterrupted
                                                      : kExitError;
  }
  if (scanned.report->level == ScanLevel::kDangerous ||
      (scanned.report->unknown && flags.fail_on == "unknown")) {
    return kExitFinding;
  }
  return scanned.report->unseen ? kExitError : kExitOk;
}

int Worse(int a, int b) {
  for (const int code : {kExitInterrupted, kExitFinding, kExitError}) {
    if (a == code || b == code) return code;
  }
  return kExitOk;
}

Json JsonOf(const ScanFinding& finding) {
  Json json = {
      {"kind", JsonText(NameOf(finding.kind))},
      {"level", JsonText(NameOf(finding.level))},
  };
  if (finding.kind == ScanKind::kGlobal) {
    json["module"] = finding.module;
    json["name"] = finding.name;
    json["called"] = !finding.called_by.empty();
    if (!finding.called_by.empty()) json["called_by"] = finding.called_by;
  }
  json["record"] = finding.record;
  json["offset"] = finding.offset;
  if (!finding.opcode.empty()) json["opcode"] = finding.opcode;
  if (!finding.reason.empty()) json["reason"] = finding.reason;
  return json;
}

Json JsonOf(const Scanned& scanned, const Flags& flags) {
  Json json = {{"file", scanned.path},
               {"exit_code", ExitCodeOf(scanned, flags)}};
  if (!scanned.report.ok()) {
    json["error"] = std::string(scanned.report.status().message());
    return json;
  }
  json["level"] = JsonText(NameOf(scanned.report->level));
  json["file_bytes"] = scanned.report->file_bytes;
  json["pickles"] = scanned.report->num_pickles;
  json["findings"] = Json::array();
  for (const ScanFinding& finding : scanned.report->findings) {
    json["findings"].push_back(JsonOf(finding));
  }
  json["findings_left_out"] = scanned.report->num_left_out;
  return json;
}

void Print(const std::string& path, const ScanFinding& finding) {
  std::string line = Printable(path);
  if (!finding.record.empty()) {
    absl::StrAppend(&line, ": ", Printable(finding.record));
  }
  absl::StrAppend(&line, ": ", std::string(NameOf(finding.level)), ": ");
  if (finding.kind == ScanKind::kGlobal) {
    absl::StrAppend(&line, Printable(finding.module), ".",
                    Printable(finding.name),
                    finding.called_by.empty() ? ", named" : ", called", ": ");
  }
  absl::StrAppend(&line, Printable(finding.reason));
  absl::StrAppend(&line, " (offset ", finding.offset,
                  finding.opcode.empty() ? "" : ", ", finding.opcode, ")");
  std::puts(line.c_str());
}

void Print(const Scanned& scanned) {
  if (!scanned.report.ok()) {
    Fail(scanned.report.status());
    return;
  }
  const ScanReport& report = *scanned.report;
  int64_t num_allowed = 0;
  for (const ScanFinding& finding : report.findings) {
    if (finding.level == ScanLevel::kAllow) {
      ++num_allowed;
    } else {
      Print(scanned.path, finding);
    }
  }
  std::string line = absl::StrCat(
      Printable(scanned.path), ": ", std::string(NameOf(report.level)), ": ",
      report.num_pickles, report.num_pickles == 1 ? " pickle, " : " pickles, ",
      report.findings.size() - num_allowed, " findings, ", num_allowed,
      " allowed");
  if (report.num_left_out > 0) {
    absl::StrAppend(&line, ", ", report.num_left_out, " not shown");
  }
  std::puts(line.c_str());
}

int Run(const Flags& flags) {
  int exit_code = kExitOk;
  Json files = Json::array();
  for (const std::string& named : flags.files) {
    const absl::StatusOr<std::vector<std::string>> paths = FilesBelow(named);
    if (!paths.ok()) {
      exit_code = Worse(exit_code, Fail(paths.status()));
      continue;
    }
    for (const std::string& path : *paths) {
      if (exit_code == kExitInterrupted) break;
      const Scanned scanned = ScanOne(path, flags);
      exit_code = Worse(exit_code, ExitCodeOf(scanned, flags));
      if (flags.json) {
        files.push_back(JsonOf(scanned, flags));
      } else {
        Print(scanned);
      }
    }
  }
  if (flags.json) {
    PrintJsonLine({{"schema", "penstock.scan/1"},
                   {"exit_code", exit_code},
                   {"files", std::move(files)}});
  }
  return exit_code;
}

}  // namespace

void AddScan(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "scan", "Lists what a file would name and call when Python loads it.");
  verb->footer(
      "Levels: allow, unknown, dangerous, unseen. Exit code 0: only allowed; "
      "1: a finding; 2: it could not look inside.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->files,
                   "any files; of a directory, every file below it; - for "
                   "standard input")
      ->required();
  verb->add_option("--allow", flags->allow,
                   "accept what is unknown and matches, such as 'models.*'; "
                   "may be given several times")
      ->take_all()
      ->allow_extra_args(false);
  verb->add_option("--fail-on", flags->fail_on,
                   "what is a finding: unknown names, too, or only what is "
                   "dangerous (default: unknown)")
      ->check(CLI::IsMember({"unknown", "dangerous"}));
  verb->add_flag("--json", flags->json, "print penstock.scan/1");
  verb->callback([flags, &exit_code] { exit_code = Run(*flags); });
}

}  // namespace penstock
