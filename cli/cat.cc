#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "api/penstock.h"
#include "cli/array_printer.h"
#include "cli/console.h"
#include "cli/elements.h"
#include "cli/json.h"
#include "cli/tree.h"
#include "cli/verbs.h"
#include "core/checked.h"
#include "core/status_macros.h"
#include "core/tensor.h"

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

// As Python's `tensor[text]`; all rows for no text.
absl::StatusOr<RowRange> ParseRows(const std::string& text,
                                   absl::Span<const int64_t> shape) {
  if (text.empty()) return RowRange{0, shape.empty() ? 1 : shape[0], false};
  if (shape.empty()) return absl::InvalidArgumentError("a scalar has no rows");
  const int64_t size = shape[0];
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
    if (!number(text, 0, rows.begin)) return BadRows(text);
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

// Long dimensions are cut where there is more than this to print.
constexpr int64_t kMostWhole = 1000;
// What is printed where dimensions are cut, or only few are long enough to be.
constexpr int64_t kMostInSummary = 100'000;
// Of a tensor that shows more than its storage holds, --all prints so much.
constexpr int64_t kMostRepeatedBytes = int64_t{1} << 30;
// Of elements that lie apart, this many bytes are read with what is between.
constexpr int64_t kReadBytes = 1 << 20;

// How many elements and empty lists there are to print; saturates.
int64_t ItemsIn(absl::Span<const int64_t> shape) {
  int64_t items = 1;
  for (const int64_t size : shape) {
    items = CheckedMultiply(items, std::max<int64_t>(size, 1))
                .value_or(std::numeric_limits<int64_t>::max());
  }
  return items;
}

// `size` indices of dimension `dim`, from `begin` on.
absl::StatusOr<Tensor> Narrowed(const Tensor& tensor, size_t dim, int64_t begin,
                                int64_t size) {
  std::vector<int64_t> shape(tensor.shape().begin(), tensor.shape().end());
  shape[dim] = size;
  const absl::Span<const int64_t> strides = tensor.strides();
  return Tensor::Make(tensor.storage(), tensor.dtype(), std::move(shape),
                      {strides.begin(), strides.end()},
                      tensor.offset() + begin * strides[dim]);
}

// Reads of a tensor in a file what is printed of it.
class ExcerptReader {
 public:
  ExcerptReader(const Checkpoint& checkpoint, const NamedTensor& entry)
      : checkpoint_(checkpoint), entry_(entry) {}

  // Dimensions with a bit in `cut_dims` have their outer items only.
  absl::StatusOr<Elements> Read(const Tensor& view, uint64_t cut_dims) {
    cut_dims_ = cut_dims;
    elements_.dtype = view.dtype();
    elements_.element_bytes = InfoOf(view.dtype()).size_bytes;
    for (size_t d = 0; d < view.shape().size(); ++d) {
      elements_.shape.push_back(IsCut(d) ? 2 * kOuterItems : view.shape()[d]);
    }
    if (view.num_elements() > 0) {
      PENSTOCK_RETURN_IF_ERROR(Append(view, 0));
    }
    return std::move(elements_);
  }

 private:
  bool IsCut(size_t dim) const { return (cut_dims_ >> dim & 1) != 0; }

  // As deep as the rank, which is at most kMaxRank; and once more for reading.
  absl::Status Append(const Tensor& view, size_t dim) {
    const bool is_element = dim == view.shape().size();
    if (view.storage()->in_file() &&
        (is_element || view.byte_range().size() <= kReadBytes)) {
      PENSTOCK_ASSIGN_OR_RETURN(const Tensor read,
                                checkpoint_.ReadView(entry_.name, view));
      return Append(read, dim);
    }
    if (is_element) {
      PENSTOCK_ASSIGN_OR_RETURN(const Elements one,
                                ElementsOf(view, entry_.flags));
      elements_.bytes.insert(elements_.bytes.end(), one.bytes.begin(),
                             one.bytes.end());
      return absl::OkStatus();
    }
    const int64_t size = view.shape()[dim];
    for (int64_t i = 0; i < size; ++i) {
      if (IsCut(dim) && i == kOuterItems) i = size - kOuterItems;
      PENSTOCK_ASSIGN_OR_RETURN(const Tensor item, Narrowed(view, dim, i, 1));
      PENSTOCK_RETURN_IF_ERROR(Append(item, dim + 1));
    }
    return absl::OkStatus();
  }

  const Checkpoint& checkpoint_;
  const NamedTensor& entry_;
  uint64_t cut_dims_ = 0;
  Elements elements_;
};

// All of `view`, however much it is.
absl::StatusOr<Elements> ReadAll(const Checkpoint& checkpoint,
                                 const NamedTensor& entry, const Tensor& view) {
  const int64_t items = ItemsIn(view.shape());
  const int64_t most =
      std::max(kMostRepeatedBytes, view.storage()->size_bytes());
  if (items > most / InfoOf(view.dtype()).size_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "shows ", items, " values of a storage of ",
        view.storage()->size_bytes(), " bytes; ROWS or no --all shows fewer"));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor read,
                            checkpoint.ReadView(entry.name, view));
  return ElementsOf(read, entry.flags);
}

// What is printed of the rows. Sets style.cut_dims.
absl::StatusOr<Elements> Read(const Checkpoint& checkpoint,
                              const NamedTensor& entry, const RowRange& rows,
                              bool all, ArrayStyle& style) {
  Tensor view = entry.tensor;
  if (!view.shape().empty()) {
    PENSTOCK_ASSIGN_OR_RETURN(view, view.Rows(rows.begin, rows.end));
  }
  if (ItemsIn(view.shape()) > kMostWhole) {
    if (all) return ReadAll(checkpoint, entry, view);
    std::vector<int64_t> shown(view.shape().begin(), view.shape().end());
    for (size_t d = 0; d < shown.size(); ++d) {
      if (shown[d] <= 2 * kOuterItems) continue;
      shown[d] = 2 * kOuterItems;
      style.cut_dims |= uint64_t{1} << d;
    }
    if (ItemsIn(shown) > kMostInSummary) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the outer values alone are ", ItemsIn(shown), ", up to ",
          kMostInSummary, " are shown; ROWS shows fewer"));
    }
  }
  return ExcerptReader(checkpoint, entry).Read(view, style.cut_dims);
}

void PrintHead(const Flags& flags, const NamedTensor& entry) {
  const std::string rows =
      flags.rows.empty() ? "" : absl::StrCat("[", flags.rows, "]");
  std::printf("# %s%s  %s  %s\n", Printable(entry.name).c_str(),
              Printable(rows).c_str(),
              std::string(InfoOf(entry.tensor.dtype()).name).c_str(),
              ShapeText(entry.tensor.shape()).c_str());
}

void PrintJsonStart(const Flags& flags, const NamedTensor& entry,
                    const RowRange& rows) {
  Json range;
  if (rows.is_index) {
    range = rows.begin;
  } else if (!flags.rows.empty()) {
    range = {rows.begin, rows.end};
  }
  const absl::Span<const int64_t> shape = entry.tensor.shape();
  PrintJsonHead({{"schema", "penstock.cat/1"},
                 {"file", flags.file},
                 {"name", entry.name},
                 {"dtype", JsonText(InfoOf(entry.tensor.dtype()).name)},
                 {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                 {"rows", range}},
                "values");
}

// By its name, or by what ls prints of it.
const NamedTensor* FindShown(const StateDict& tensors,
                             const std::string& name) {
  if (const NamedTensor* entry = tensors.Find(name)) return entry;
  for (const NamedTensor& entry : tensors.entries()) {
    if (Printable(entry.name) == name) return &entry;
  }
  return nullptr;
}

absl::Status Run(const Flags& flags) {
  std::optional<ProgressMeter> meter(std::in_place, "reading");
  PENSTOCK_ASSIGN_OR_RETURN(const RunOptions options,
                            flags.run.Options(*meter));
  PENSTOCK_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                            OpenInput(flags.file, options));
  const NamedTensor* entry = FindShown(checkpoint.state_dict(), flags.name);
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat(flags.file, ": no tensor named \"",
                                            flags.name,
                                            "\"; penstock ls shows the names"));
  }
  const auto in_tensor = [&](const absl::Status& status) {
    if (absl::StrContains(status.message(), flags.file)) return status;
    return Annotate(
        Annotate(status, absl::StrCat("tensor \"", flags.name, "\"")),
        flags.file);
  };
  const absl::StatusOr<RowRange> rows =
      ParseRows(flags.rows, entry->tensor.shape());
  if (!rows.ok()) return in_tensor(rows.status());
  ArrayStyle style;
  style.syntax = flags.json ? ArrayStyle::kJson : ArrayStyle::kNumpy;
  absl::StatusOr<Elements> elements =
      Read(checkpoint, *entry, *rows, flags.all || flags.json, style);
  if (!elements.ok()) return in_tensor(elements.status());
  meter.reset();  // wipes its line; nothing is read from here on
  if (rows->is_index) {
    elements->shape.erase(elements->shape.begin());
    style.cut_dims >>= 1;
  }
  if (flags.json) {
    PrintJsonStart(flags, *entry, *rows);
  } else {
    PrintHead(flags, *entry);
  }
  PrintArray(*elements, style, stdout);
  std::puts(flags.json ? "\n}" : "");
  return absl::OkStatus();
}

constexpr const char* kHelp =
    "Numbers have the shortest digits that give the same element back in its "
    "own dtype; quantised tensors show their integers, without scale. Over "
    "1000 values only the outer ones of each dimension are read and printed.";

}  // namespace

void AddCat(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("cat", "Prints the values of a tensor.");
  verb->footer(kHelp);
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
