#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/penstock.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/tree.h"
#include "cli/verbs.h"
#include "core/glob.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

struct Flags {
  std::string file;
  std::string glob;
  bool json = false;
};

std::vector<const NamedTensor*> Matching(const Checkpoint& checkpoint,
                                         const std::string& glob) {
  std::vector<const NamedTensor*> result;
  for (const NamedTensor& entry : checkpoint.state_dict().entries()) {
    if (glob.empty() || MatchesGlob(glob, entry.name)) {
      result.push_back(&entry);
    }
  }
  return result;
}

const char* CodecName(const StorageLayout& layout) {
  return layout.coded ? "zstd" : "none";
}

void PrintJson(const Flags& flags, const Checkpoint& checkpoint,
               const std::vector<const NamedTensor*>& entries) {
  Json tensors = Json::array();
  for (const NamedTensor* entry : entries) {
    const Tensor& tensor = entry->tensor;
    const StorageLayout layout = checkpoint.LayoutOf(*tensor.storage());
    tensors.push_back({
        {"name", entry->name},
        {"dtype", JsonText(InfoOf(tensor.dtype()).name)},
        {"shape",
         std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
        {"strides", std::vector<int64_t>(tensor.strides().begin(),
                                         tensor.strides().end())},
        {"offset", tensor.offset()},
        {"storage", tensor.storage()->file_number()},
        {"bytes", tensor.size_bytes()},
        {"storage_bytes", layout.size_bytes},
        {"stored_bytes", layout.stored_bytes},
        {"codec", CodecName(layout)},
    });
  }
  PrintJsonLine({{"schema", "penstock.ls/1"},
                 {"file", flags.file},
                 {"format", JsonText(NameOf(checkpoint.format()))},
                 {"tensors", std::move(tensors)}});
}

constexpr int kColumns = 7;
using Row = std::array<std::string, kColumns>;

Row RowOf(const Checkpoint& checkpoint, const NamedTensor& entry) {
  const Tensor& tensor = entry.tensor;
  const StorageLayout layout = checkpoint.LayoutOf(*tensor.storage());
  const std::string ratio =
      layout.stored_bytes == 0
          ? "-"
          : absl::StrFormat("%.3f",
                            static_cast<double>(layout.size_bytes) /
                                static_cast<double>(layout.stored_bytes));
  return {Printable(entry.name),
          absl::StrCat(InfoOf(tensor.dtype()).name),
          ShapeText(tensor.shape()),
          HumanBytes(tensor.size_bytes()),
          HumanBytes(layout.stored_bytes),
          ratio,
          CodecName(layout)};
}

// In characters, which most terminals show as one column each.
int WidthOf(absl::string_view text) {
  return static_cast<int>(std::count_if(
      text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void Print(const Checkpoint& checkpoint,
           const std::vector<const NamedTensor*>& entries) {
  std::vector<Row> rows = {
      {"name", "dtype", "shape", "bytes", "stored", "ratio", "codec"}};
  for (const NamedTensor* entry : entries) {
    rows.push_back(RowOf(checkpoint, *entry));
  }
  // What is longer juts out of its column, and leaves the other rows narrow.
  constexpr int kMaxWidth = 64;
  std::array<int, kColumns> widths{};
  for (const Row& row : rows) {
    for (int i = 0; i < kColumns; ++i) {
      const int width = WidthOf(row[i]);
      if (width <= kMaxWidth) widths[i] = std::max(widths[i], width);
    }
  }
  for (const Row& row : rows) {
    std::string line;
    for (int i = 0; i < kColumns; ++i) {
      const bool is_number = i >= 3 && i <= 5;
      const std::string gap(std::max(0, widths[i] - WidthOf(row[i])), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", is_number ? gap : row[i],
                      is_number ? row[i] : gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(line.c_str());
  }
}

int Run(const Flags& flags) {
  absl::StatusOr<Checkpoint> checkpoint = OpenInput(flags.file, {});
  if (!checkpoint.ok()) return Fail(checkpoint.status());
  const auto entries = Matching(*checkpoint, flags.glob);
  if (flags.json) {
    PrintJson(flags, *checkpoint, entries);
  } else {
    Print(*checkpoint, entries);
  }
  if (entries.empty() && !flags.glob.empty()) {
    return Fail(absl::NotFoundError(
        absl::StrCat(flags.file, ": no tensor's name matches ", flags.glob)));
  }
  return kExitOk;
}

}  // namespace

void AddLs(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("ls", "Lists the tensors of a file.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "a checkpoint; - for standard input")
      ->required();
  verb->add_option("GLOB", flags->glob, "names to list, as '*.weight'");
  verb->add_flag("--json", flags->json, "print penstock.ls/1");
  verb->callback([flags, &exit_code] { exit_code = Run(*flags); });
}

}  // namespace penstock
