#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "cli/array_printer.h"
#include "cli/console.h"
#include "cli/elements.h"
#include "cli/json.h"
#include "cli/tree.h"
#include "cli/verbs.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

struct Flags {
  std::string file;
  std::string name;
  std::string rows;
  bool all = false;
  bool json = false;
  RunFlags run;
};

// Rows [begin, end) of a tensor.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool is_index = false;  // one row, whose dimension goes
};

absl::Status BadRows(const std::string& text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "ROWS: expected a row as 5, or rows as 2:10, 2: or :3, found '", text,
      "'"));
}

// As Python's `tensor[text]` of a first dimension of `size`.
absl::StatusOr<RowRange> ParseRows(const std::string& text, int64_t size) {
  const size_t colon = text.find(':');
  const auto number = [&](absl::string_view part, int64_t none,
                          int64_t& out) -> bool {
    out = none;
    if (part.empty()) return true;
    if (!absl::SimpleAtoi(part, &out)) return false;
    if (out < 0) out += size;
    return true;
  };
  RowRange rows;
  if (colon == text.npos) {
    rows.is_index = true;
    if (text.empty() || !number(text, 0, rows.begin)) return BadRows(text);
    if (rows.begin < 0 || rows.begin >= size) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", text, " of a tensor of ", size, " rows"));
    }
    rows.end = rows.begin + 1;
    return rows;
  }
  if (!number(text.substr(0, colon), 0, rows.begin) ||
      !number(text.substr(colon + 1), size, rows.end)) {
    return BadRows(text);
  }
  rows.begin = std::min(std::max<int64_t>(rows.begin, 0), size);
  rows.end = std::min(std::max(rows.end, rows.begin), size);
  return rows;
}

// What is to be printed.
struct Cut {
  Elements elements;
  bool first_is_cut = false;  // only the outer rows are in `elements`
};

absl::StatusOr<Elements> ReadElements(const Checkpoint& checkpoint,
                                      const NamedTensor& entry, int64_t begin,
                                      int64_t end) {
  const Tensor& tensor = entry.tensor;
  const bool whole =
      tensor.shape().empty() || (begin == 0 && end == tensor.shape()[0]);
  PENSTOCK_ASSIGN_OR_RETURN(
      const Tensor read, whole ? checkpoint.Read(entry.name)
                               : checkpoint.ReadRows(entry.name, begin, end));
  return ElementsOf(read, entry.flags);
}

// The rows, or where that does, the outer ones alone.
absl::StatusOr<Cut> Read(const Checkpoint& checkpoint, const NamedTensor& entry,
                         const RowRange& rows, const ArrayStyle& style) {
  Cut cut;
  const int64_t num_rows = rows.end - rows.begin;
  const absl::Span<const int64_t> shape = entry.tensor.shape();
  const int64_t num_elements =
      shape.empty() || shape[0] == 0
          ? entry.tensor.num_elements()
          : entry.tensor.num_elements() / shape[0] * num_rows;
  if (!style.Summarises(num_elements) || num_rows <= 2 * kOuterItems) {
    PENSTOCK_ASSIGN_OR_RETURN(
        cut.elements, ReadElements(checkpoint, entry, rows.begin, rows.end));
    return cut;
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      cut.elements,
      ReadElements(checkpoint, entry, rows.begin, rows.begin + kOuterItems));
  PENSTOCK_ASSIGN_OR_RETURN(
      const Elements last,
      ReadElements(checkpoint, entry, rows.end - kOuterItems, rows.end));
  cut.elements.bytes.insert(cut.elements.bytes.end(), last.bytes.begin(),
                            last.bytes.end());
  cut.elements.shape[0] = 2 * kOuterItems;
  cut.first_is_cut = true;
  return cut;
}

void PrintHead(const Flags& flags, const NamedTensor& entry) {
  const std::string rows =
      flags.rows.empty() ? "" : absl::StrCat("[", flags.rows, "]");
  std::printf("# %s%s  %s  %s\n", Printable(entry.name).c_str(),
              Printable(rows).c_str(),
              std::string(InfoOf(entry.tensor.dtype()).name).c_str(),
              ShapeText(entry.tensor.shape()).c_str());
}

// All but the values, up to where they begin.
void PrintJsonHead(const Flags& flags, const NamedTensor& entry,
                   const RowRange& rows) {
  Json range;
  if (rows.is_index) {
    range = rows.begin;
  } else if (!flags.rows.empty()) {
    range = {rows.begin, rows.end};
  }
  const absl::Span<const int64_t> shape = entry.tensor.shape();
  std::string head =
      Json({{"schema", "penstock.cat/1"},
            {"file", flags.file},
            {"name", entry.name},
            {"dtype", JsonText(InfoOf(entry.tensor.dtype()).name)},
            {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
            {"rows", range}})
          .dump(2, ' ', false, Json::error_handler_t::replace);
  head.resize(head.rfind('\n'));
  std::printf("%s,\n  \"values\": ", head.c_str());
}

absl::Status Run(const Flags& flags) {
  std::optional<ProgressMeter> meter(std::in_place, "reading");
  PENSTOCK_ASSIGN_OR_RETURN(const RunOptions options,
                            flags.run.Options(*meter));
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                            OpenInput(flags.file, options));
  const NamedTensor* entry = checkpoint.state_dict().Find(flags.name);
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat(flags.file, ": no tensor named \"",
                                            flags.name,
                                            "\"; penstock ls shows the names"));
  }
  const absl::Span<const int64_t> shape = entry->tensor.shape();
  RowRange rows = {0, shape.empty() ? 1 : shape[0], false};
  if (!flags.rows.empty()) {
    if (shape.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flags.name, ": a scalar has no rows"));
    }
    absl::StatusOr<RowRange> parsed = ParseRows(flags.rows, shape[0]);
    if (!parsed.ok()) return Annotate(parsed.status(), flags.name);
    rows = *parsed;
  }
  ArrayStyle style;
  style.syntax = flags.json ? ArrayStyle::kJson : ArrayStyle::kNumpy;
  if (flags.all || flags.json) style.max_elements = INT64_MAX;
  PENSTOCK_ASSIGN_OR_RETURN(Cut cut, Read(checkpoint, *entry, rows, style));
  meter.reset();  // wipes its line; nothing is read from here on
  if (rows.is_index) cut.elements.shape.erase(cut.elements.shape.begin());
  if (flags.json) {
    PrintJsonHead(flags, *entry, rows);
  } else {
    PrintHead(flags, *entry);
  }
  style.first_is_cut = cut.first_is_cut;
  PrintArray(cut.elements, style, stdout);
  std::puts(flags.json ? "\n}" : "");
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return absl::UnknownError("standard output: cannot be written");
  }
  return absl::OkStatus();
}

constexpr const char* kHelp =
    "Prints the values of a tensor.\n"
    "\n"
    "Numbers have the shortest digits that give the same element back in its "
    "own dtype; quantised tensors show their integers, without scale. Over "
    "1000 values only the outer ones are read and printed.";

}  // namespace

void AddCat(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("cat", kHelp);
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "a checkpoint; - for standard input")
      ->required();
  verb->add_option("NAME", flags->name, "of a tensor, as ls shows it")
      ->required();
  verb->add_option("ROWS", flags->rows,
                   "of the first dimension, as in Python: 5, 2:10, :3 (a "
                   "negative one behind --)");
  verb->add_flag("--all", flags->all, "print every value, however many");
  verb->add_flag("--json", flags->json,
                 "print penstock.cat/1, every value: NaN and infinities as "
                 "text, complex numbers as [real, imaginary]");
  flags->run.AddTo(*verb);
  verb->callback([flags, &exit_code] {
    const InterruptsEndAll nothing_written;
    const absl::Status status = Run(*flags);
    if (!status.ok()) exit_code = Fail(status);
  });
}

}  // namespace penstock
