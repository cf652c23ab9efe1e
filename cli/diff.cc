#include "api/diff.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/tree.h"
#include "cli/verbs.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr size_t kMostLines = 50;

struct Flags {
  std::string a;
  std::string b;
  bool json = false;
  bool all = false;
  bool tensors_only = false;
  double rtol = -1;  // below 0: not given
  double atol = -1;
  RunFlags run;
};

absl::StatusOr<DiffReport> Run(const Flags& flags) {
  ProgressMeter meter("comparing");
  DiffOptions options;
  PENSTOCK_ASSIGN_OR_RETURN(options.run, flags.run.Options(meter));
  options.compare_values = !flags.tensors_only;
  if (flags.rtol >= 0 || flags.atol >= 0) {
    options.tolerance = {std::max(flags.rtol, 0.0), std::max(flags.atol, 0.0)};
  }
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint a,
                            OpenInput(flags.a, options.run));
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint b,
                            OpenInput(flags.b, options.run));
  return Diff(a, b, options);
}

double ShareOf(const ElementStats& stats) {
  return stats.num_elements == 0 ? 0
                                 : static_cast<double>(stats.num_changed) /
                                       static_cast<double>(stats.num_elements);
}

// Infinities and NaN as text: JSON has no numbers for them.
Json NumberJson(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : "inf";
}

Json LoneJson(const std::vector<LoneTensor>& tensors) {
  Json result = Json::array();
  for (const LoneTensor& tensor : tensors) {
    result.push_back({{"name", tensor.name},
                      {"dtype", JsonText(InfoOf(tensor.dtype).name)},
                      {"shape", tensor.shape}});
  }
  return result;
}

Json ChangedJson(const TensorDiff& diff) {
  Json json = {{"name", diff.name},
               {"dtypes",
                {JsonText(InfoOf(diff.dtype_a).name),
                 JsonText(InfoOf(diff.dtype_b).name)}},
               {"shapes", {diff.shape_a, diff.shape_b}}};
  if (const auto& stats = diff.stats) {
    json["elements"] = stats->num_elements;
    json["changed"] = stats->num_changed;
    json["changed_share"] = ShareOf(*stats);
    json["beyond_tolerance"] = stats->num_beyond;
    json["not_finite"] = stats->num_not_finite;
    json["max_abs"] = NumberJson(stats->max_abs);
    json["relative_l2"] = NumberJson(stats->relative_l2);
  }
  return json;
}

void PrintJson(const Flags& flags, const DiffReport& report) {
  Json changed = Json::array();
  for (const TensorDiff& diff : report.changed) {
    changed.push_back(ChangedJson(diff));
  }
  Json values = Json::array();
  for (const ValueDiff& diff : report.values) {
    values.push_back({{"path", diff.path},
                      {"a", diff.a ? Json(*diff.a) : Json()},
                      {"b", diff.b ? Json(*diff.b) : Json()}});
  }
  PrintJsonLine({
      {"schema", "penstock.diff/1"},
      {"a", flags.a},
      {"b", flags.b},
      {"same", report.same()},
      {"removed", LoneJson(report.removed)},
      {"added", LoneJson(report.added)},
      {"common", report.num_common},
      {"identical", report.num_identical},
      {"by_digest", report.num_by_digest},
      {"close", report.num_close},
      {"changed", std::move(changed)},
      {"values", std::move(values)},
      {"read_bytes", report.read_bytes},
      {"seconds", report.seconds},
  });
}

std::string DTypeAndShape(DType dtype, const std::vector<int64_t>& shape) {
  return absl::StrCat(InfoOf(dtype).name, ShapeText(shape));
}

std::string LineOf(const TensorDiff& diff) {
  const std::string a = DTypeAndShape(diff.dtype_a, diff.shape_a);
  const std::string b = DTypeAndShape(diff.dtype_b, diff.shape_b);
  std::string line = absl::StrCat("! ", Printable(diff.name), "  ", a,
                                  a == b ? "" : absl::StrCat(" -> ", b));
  if (!diff.stats) return line;
  absl::StrAppend(
      &line, absl::StrFormat("  %.4g %% changed", 100 * ShareOf(*diff.stats)));
  if (diff.stats->has_numbers) {
    absl::StrAppend(
        &line, absl::StrFormat(", max abs %.4g, relative L2 %.4g",
                               diff.stats->max_abs, diff.stats->relative_l2));
  }
  if (diff.stats->num_not_finite > 0) {
    absl::StrAppend(&line, ", ", diff.stats->num_not_finite,
                    " with NaN or infinity");
  }
  return line;
}

std::string LineOf(const LoneTensor& tensor, char sign) {
  return absl::StrCat(std::string(1, sign), " ", Printable(tensor.name), "  ",
                      DTypeAndShape(tensor.dtype, tensor.shape));
}

std::string LineOf(const ValueDiff& diff) {
  if (!diff.b) {
    return absl::StrCat("- ", Printable(diff.path), ": ", Printable(*diff.a));
  }
  if (!diff.a) {
    return absl::StrCat("+ ", Printable(diff.path), ": ", Printable(*diff.b));
  }
  return absl::StrCat("! ", Printable(diff.path), ": ", Printable(*diff.a),
                      " -> ", Printable(*diff.b));
}

std::string Summary(const DiffReport& report) {
  std::string text = report.same() ? "same: " : "differ: ";
  absl::StrAppend(&text, report.num_identical, " of ", report.num_common,
                  " tensors identical");
  if (report.num_by_digest > 0) {
    absl::StrAppend(&text, " (", report.num_by_digest, " by digest)");
  }
  const auto add = [&](size_t count, const char* what) {
    if (count > 0) absl::StrAppend(&text, ", ", count, " ", what);
  };
  add(report.num_close, "within the tolerance");
  add(report.changed.size(), "changed");
  add(report.removed.size(), "removed");
  add(report.added.size(), "added");
  add(report.values.size(), "other values changed");
  return text;
}

void Print(const Flags& flags, const DiffReport& report) {
  std::vector<std::string> lines;
  for (const LoneTensor& tensor : report.removed) {
    lines.push_back(LineOf(tensor, '-'));
  }
  for (const LoneTensor& tensor : report.added) {
    lines.push_back(LineOf(tensor, '+'));
  }
  for (const TensorDiff& diff : report.changed) lines.push_back(LineOf(diff));
  for (const ValueDiff& diff : report.values) lines.push_back(LineOf(diff));
  std::puts(Summary(report).c_str());
  const size_t shown = flags.all ? lines.size() : kMostLines;
  for (size_t i = 0; i < std::min(lines.size(), shown); ++i) {
    std::puts(lines[i].c_str());
  }
  if (lines.size() > shown) {
    std::printf("... and %zu more lines (--all shows them)\n",
                lines.size() - shown);
  }
}

}  // namespace

void AddDiff(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "diff", "Compares two checkpoints, whatever their formats.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("A", flags->a, "a checkpoint; - for standard input")
      ->required();
  verb->add_option("B", flags->b, "another")->required();
  verb->add_option("--rtol", flags->rtol,
                   "relative tolerance, as numpy.allclose (NaN equals NaN)")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--atol", flags->atol, "absolute tolerance, likewise")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--tensors", flags->tensors_only, "compare tensors only");
  verb->add_flag("--all", flags->all, "print every difference");
  verb->add_flag("--json", flags->json, "print penstock.diff/1");
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    const absl::StatusOr<DiffReport> report = Run(*flags);
    if (!report.ok()) {
      exit_code = Fail(report.status());
      return;
    }
    exit_code = report->same() ? kExitOk : kExitFinding;
    flags->json ? PrintJson(*flags, *report) : Print(*flags, *report);
  });
}

}  // namespace penstock
