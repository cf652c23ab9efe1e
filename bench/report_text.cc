#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/report.h"
#include "bench/statistics.h"

namespace penstock::bench {
namespace {

double Median(const std::vector<double>& values) {
  return SpreadOf(values).median;
}

std::string Megabytes(int64_t bytes) {
  return bytes == 0
             ? "-"
             : absl::StrFormat("%.1f", static_cast<double>(bytes) * 1e-6);
}

std::string Head(const Report& report) {
  const Machine& machine = report.machine;
  std::string text = absl::StrFormat(
      "%d cores of %s, %.1f GB of memory, %s, %s (%s)\n", machine.cores,
      machine.processor, static_cast<double>(machine.memory_bytes) * 1e-9,
      machine.kernel, machine.file_system, machine.mount_options);
  for (const auto& [name, version] : report.versions) {
    absl::StrAppend(&text, name == report.versions[0].first ? "" : ", ", name,
                    " ", version);
  }
  absl::StrAppendFormat(
      &text,
      "\n%d tensors (%s), %.3f GB of bf16; %d rounds, %d threads, orders by "
      "seed %d\n",
      report.num_tensors, report.tensors,
      static_cast<double>(report.tensor_bytes) * 1e-9, report.rounds,
      report.threads, report.seed);
  absl::StrAppend(
      &text,
      "GB = 1e9 bytes of tensors. median (best - worst) of the rounds. "
      "Ceiling: "
      "the highest median of the ways below.\n"
      "Cold: the file's pages were dropped, and found gone, before each. Warm: "
      "all were found in the page cache. No idling before either.\n"
      "Durable: fsync of file and directory. Memory: peak of the process "
      "beyond "
      "what it had.\n");
  return text;
}

std::string RowText(const Report& report, const Row& row) {
  const Spread spread = SpreadOf(row.seconds);
  const bool as_rate = row.bytes > 0;
  const double unit = as_rate ? 1e-9 : 1e3;
  const auto value = [&](double seconds) {
    return unit * (as_rate ? row.Rate(seconds) : seconds);
  };
  const double ceiling =
      CeilingRate(report.rows, CeilingSectionOf(row.section));
  const std::string share =
      as_rate && ceiling > 0
          ? absl::StrFormat("%.0f %%", 100 * row.Rate(spread.median) / ceiling)
          : "-";
  return absl::StrFormat(
      "%-22s %-24s %7.2f (%6.2f - %6.2f) %7s %7.2f %8s %8s\n", row.contender,
      row.what, value(spread.median), value(spread.best), value(spread.worst),
      share, Median(row.cpu_seconds), Megabytes(row.peak_bytes),
      Megabytes(row.file_bytes));
}

}  // namespace

std::string ReportText(const Report& report) {
  std::string text = Head(report);
  std::optional<Section> section;
  for (const Row& row : report.rows) {
    if (section != row.section) {
      section = row.section;
      absl::StrAppendFormat(&text, "\n%-47s %7s (%6s - %6s) %7s %7s %8s %8s\n",
                            std::string(NameOf(row.section)),
                            row.bytes > 0 ? "GB/s" : "ms", "best", "worst",
                            "ceiling", "CPU s", "mem MB", "file MB");
    }
    absl::StrAppend(&text, RowText(report, row));
  }
  absl::StrAppendFormat(&text,
                        "\n%d results were compared, all equal; %.0f s\n",
                        report.num_checks, report.seconds);
  for (const std::string& note : report.notes) {
    absl::StrAppend(&text, "note: ", note, "\n");
  }
  if (const std::string verdict = Verdict(report.rows); !verdict.empty()) {
    absl::StrAppend(&text, "verdict: ", verdict, "\n");
  }
  return text;
}

}  // namespace penstock::bench
