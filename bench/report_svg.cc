#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "bench/report.h"
#include "bench/statistics.h"

namespace penstock::bench {
namespace {

// Pixels.
constexpr int kLabelWidth = 330;
constexpr int kBarWidth = 420;
constexpr int kWidth = kLabelWidth + kBarWidth + 90;
constexpr int kRowHeight = 20;
constexpr int kHeadHeight = 70;
constexpr int kTitleHeight = 44;

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Text(double x, double y, const char* kind,
                 const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n",
                         x, y, kind, Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, const char* kind) {
  return absl::StrFormat(
      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
      x1, y1, x2, y2, kind);
}

const char* KindOf(const Row& row) {
  if (row.section <= Section::kRead) return "machine";
  return absl::StartsWith(row.contender, "penstock") ? "ours" : "peer";
}

// One section: its bars on one scale, which the fastest round fills.
class Panel {
 public:
  Panel(std::vector<const Row*> rows, double ceiling)
      : rows_(std::move(rows)), ceiling_(ceiling) {
    scale_ = ceiling_;
    for (const Row* row : rows_) {
      scale_ = std::max(scale_, row->Rate(SpreadOf(row->seconds).best));
    }
  }

  int height() const {
    return kTitleHeight + kRowHeight * static_cast<int>(rows_.size());
  }

  std::string Draw(int top) const {
    std::string svg = Text(8, top + 30, "title",
                           absl::StrCat(NameOf(rows_[0]->section), ", GB/s"));
    int y = top + kTitleHeight;
    for (const Row* row : rows_) {
      absl::StrAppend(&svg, Bar(*row, y));
      y += kRowHeight;
    }
    if (ceiling_ > 0) {
      absl::StrAppend(
          &svg,
          Line(X(ceiling_), top + kTitleHeight - 6, X(ceiling_), y, "ceiling"),
          Text(X(ceiling_), top + kTitleHeight - 9, "small",
               absl::StrFormat("ceiling %.2f", ceiling_ * 1e-9)));
    }
    return svg;
  }

 private:
  double X(double rate) const {
    return kLabelWidth + (scale_ > 0 ? kBarWidth * rate / scale_ : 0);
  }

  std::string Bar(const Row& row, int y) const {
    const Spread spread = SpreadOf(row.seconds);
    const double median = row.Rate(spread.median);
    const double middle = y + kRowHeight / 2.0;
    const double low = X(row.Rate(spread.worst));
    const double high = X(row.Rate(spread.best));
    return absl::StrCat(
        Text(kLabelWidth - 6, middle + 4, "label",
             absl::StrCat(row.contender, ", ", row.what)),
        absl::StrFormat("<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
                        "class=\"%s\"/>\n",
                        kLabelWidth, y + 3, X(median) - kLabelWidth,
                        kRowHeight - 6, KindOf(row)),
        Line(low, middle, high, middle, "spread"),
        Line(low, middle - 4, low, middle + 4, "spread"),
        Line(high, middle - 4, high, middle + 4, "spread"),
        Text(std::max(high, X(median)) + 5, middle + 4, "value",
             absl::StrFormat("%.2f", median * 1e-9)));
  }

  std::vector<const Row*> rows_;
  double ceiling_;
  double scale_ = 0;
};

std::vector<Panel> PanelsOf(const Report& report) {
  std::vector<Panel> panels;
  std::vector<const Row*> rows;
  const auto finish = [&] {
    if (rows.empty()) return;
    panels.emplace_back(
        rows,
        CeilingRate(report.rows, CeilingSectionOf(rows.front()->section)));
    rows.clear();
  };
  for (const Row& row : report.rows) {
    if (row.bytes == 0) continue;  // a time has no bar among rates
    if (!rows.empty() && rows.front()->section != row.section) finish();
    rows.push_back(&row);
  }
  finish();
  return panels;
}

constexpr char kStyle[] =
    "<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold;"
    "font-size:14px}.label{text-anchor:end}.small{font-size:10px;fill:#b00}"
    ".value{font-size:11px}.ours{fill:#2f6db5}.peer{fill:#9a9a9a}"
    ".machine{fill:#6aa56a}.spread{stroke:#222}"
    ".ceiling{stroke:#b00;stroke-dasharray:4 3}</style>\n";

}  // namespace

std::string ReportSvg(const Report& report) {
  const std::vector<Panel> panels = PanelsOf(report);
  int height = kHeadHeight;
  for (const Panel& panel : panels) height += panel.height();
  const Machine& machine = report.machine;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
      "viewBox=\"0 0 %d %d\">\n%s<rect width=\"%d\" height=\"%d\" "
      "fill=\"#fff\"/>\n",
      kWidth, height + 10, kWidth, height + 10, kStyle, kWidth, height + 10);
  absl::StrAppend(
      &svg,
      Text(8, 24, "title",
           absl::StrFormat("penstock bench, %.3f GB, %d rounds: median, best "
                           "and worst",
                           static_cast<double>(report.tensor_bytes) * 1e-9,
                           report.rounds)),
      Text(8, 44, "value",
           absl::StrFormat("%d cores of %s, %s on %s", machine.cores,
                           machine.processor, machine.file_system,
                           machine.kernel)));
  int top = kHeadHeight - 16;
  for (const Panel& panel : panels) {
    absl::StrAppend(&svg, panel.Draw(top));
    top += panel.height();
  }
  return svg + "</svg>\n";
}

}  // namespace penstock::bench
