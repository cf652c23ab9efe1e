#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "api/doctor.h"
#include "api/penstock.h"
#include "cli/console.h"
#include "cli/json.h"
#include "cli/tree.h"
#include "cli/verbs.h"

namespace penstock {
namespace {

struct Flags {
  std::string file;
  bool json = false;
  TreeLimits limits;
};

struct DTypeTotal {
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t bytes = 0;
};

// What `info` adds up.
struct Totals {
  int64_t elements = 0;
  int64_t storages = 0;
  int64_t raw_bytes = 0;     // of storages, each once
  int64_t stored_bytes = 0;  // likewise
  std::map<std::string, DTypeTotal> dtypes;
  std::vector<std::vector<std::string>> ties;  // names that share a storage
  std::map<std::string, int64_t> objects;      // of unknown classes
};

// Objects that Penstock keeps without knowing what they are.
void AddObjects(const std::shared_ptr<const Graph>& graph, Totals& totals) {
  for (int64_t id = 0; id < graph->num_nodes(); ++id) {
    const Value value(graph, static_cast<NodeId>(id));
    if (value.kind() != NodeKind::kObject) continue;
    const Value callable = value.child(ObjectChild::kCallable);
    if (callable.kind() != NodeKind::kGlobal) continue;
    const absl::string_view module = callable.module();
    const absl::string_view package = module.substr(0, module.find('.'));
    if (package == "torch" || package == "collections") continue;
    ++totals.objects[absl::StrCat(module, ".", callable.name())];
  }
}

Totals Add(const Checkpoint& checkpoint) {
  Totals totals;
  std::vector<std::vector<std::string>> names_of;  // by order of first sight
  absl::flat_hash_map<const Storage*, size_t> place_of;
  for (const NamedTensor& entry : checkpoint.state_dict().entries()) {
    const Tensor& tensor = entry.tensor;
    DTypeTotal& dtype =
        totals.dtypes[absl::StrCat(InfoOf(tensor.dtype()).name)];
    ++dtype.tensors;
    dtype.elements += tensor.num_elements();
    dtype.bytes += tensor.size_bytes();
    totals.elements += tensor.num_elements();
    const auto [place, fresh] =
        place_of.try_emplace(tensor.storage().get(), names_of.size());
    if (fresh) names_of.emplace_back();
    names_of[place->second].push_back(entry.name);
  }
  for (const auto& storage : checkpoint.root().graph()->storages()) {
    const StorageLayout layout = checkpoint.LayoutOf(*storage);
    ++totals.storages;
    totals.raw_bytes += layout.size_bytes;
    totals.stored_bytes += layout.stored_bytes;
  }
  AddObjects(checkpoint.root().graph(), totals);
  for (std::vector<std::string>& names : names_of) {
    if (names.size() > 1) totals.ties.push_back(std::move(names));
  }
  return totals;
}

void PrintJson(const Flags& flags, const Checkpoint& checkpoint,
               const Totals& totals) {
  Json dtypes = Json::object();
  for (const auto& [name, total] : totals.dtypes) {
    dtypes[name] = {{"tensors", total.tensors},
                    {"elements", total.elements},
                    {"bytes", total.bytes}};
  }
  Json metadata = Json::object();
  for (const auto& [key, value] : checkpoint.metadata()) metadata[key] = value;
  Json origin;
  if (checkpoint.origin()) {
    origin = {{"format", JsonText(NameOf(checkpoint.origin()->format))},
              {"file_bytes", checkpoint.origin()->file_bytes},
              {"skeleton_bytes", checkpoint.origin()->skeleton_bytes}};
  }
  PrintJsonHead(
      {
          {"schema", "penstock.info/1"},
          {"file", flags.file},
          {"format", JsonText(NameOf(checkpoint.format()))},
          {"writer", checkpoint.writer()},
          {"codec", checkpoint.codec()},
          {"file_bytes", checkpoint.file_bytes()},
          {"tensors", checkpoint.state_dict().size()},
          {"elements", totals.elements},
          {"storages", totals.storages},
          {"raw_bytes", totals.raw_bytes},
          {"stored_bytes", totals.stored_bytes},
          {"unchecked_bytes", UncheckedBytes(checkpoint)},
          {"origin", std::move(origin)},
          {"metadata", std::move(metadata)},
          {"dtypes", std::move(dtypes)},
          {"ties", totals.ties},
          {"globals", checkpoint.globals()},
          {"objects", totals.objects},
          {"warnings", checkpoint.warnings()},
      },
      "tree");
  PrintTreeJson(checkpoint.root(), flags.limits, stdout);
  std::puts("\n}");
}

void PrintTies(const Totals& totals, size_t limit) {
  if (totals.ties.empty()) return;
  std::printf("ties      %zu storages have several tensors\n",
              totals.ties.size());
  for (size_t i = 0; i < totals.ties.size() && i < limit; ++i) {
    const std::vector<std::string>& names = totals.ties[i];
    const auto end = names.begin() + std::min(names.size(), limit);
    std::printf("  %s%s\n",
                Printable(absl::StrJoin(names.begin(), end, " = ")).c_str(),
                names.size() > limit ? " = ..." : "");
  }
  if (totals.ties.size() > limit) std::puts("  ...");
}

// Where the file came from and what vouches for it.
void PrintProvenance(const Checkpoint& checkpoint) {
  if (const std::optional<Origin>& origin = checkpoint.origin()) {
    std::printf("origin    a %s file of %s, which convert gives back\n",
                std::string(NameOf(origin->format)).c_str(),
                HumanBytes(origin->file_bytes).c_str());
  }
  const int64_t unchecked = UncheckedBytes(checkpoint);
  if (unchecked > 0) {
    std::printf("unchecked %s have no checksum: damage there goes unseen\n",
                HumanBytes(unchecked).c_str());
  }
  for (const auto& [key, value] : checkpoint.metadata()) {
    constexpr size_t kShown = 200;
    std::printf("metadata  %s: %s%s\n", Printable(key).c_str(),
                Printable(value.substr(0, kShown)).c_str(),
                value.size() > kShown ? "..." : "");
  }
}

void PrintObjects(const Totals& totals, size_t limit) {
  if (totals.objects.empty()) return;
  std::printf("objects   of %zu unknown classes, kept as they are\n",
              totals.objects.size());
  size_t shown = 0;
  for (const auto& [name, count] : totals.objects) {
    if (shown++ == limit) break;
    std::puts(absl::StrCat("  ", Printable(name), "  ", count).c_str());
  }
  if (totals.objects.size() > limit) std::puts("  ...");
}

void Print(const Flags& flags, const Checkpoint& checkpoint,
           const Totals& totals) {
  std::printf("file      %s, %s\n", Printable(flags.file).c_str(),
              HumanBytes(checkpoint.file_bytes()).c_str());
  std::printf("format    %s, written by %s\n",
              std::string(NameOf(checkpoint.format())).c_str(),
              Printable(checkpoint.writer()).c_str());
  std::printf("codec     %s\n", Printable(checkpoint.codec()).c_str());
  std::puts(absl::StrFormat("tensors   %d with %d elements, on %d storages",
                            checkpoint.state_dict().size(), totals.elements,
                            totals.storages)
                .c_str());
  const double ratio = totals.stored_bytes == 0
                           ? 1.0
                           : static_cast<double>(totals.raw_bytes) /
                                 static_cast<double>(totals.stored_bytes);
  std::printf("bytes     %s raw, %s stored (ratio %.3f)\n",
              HumanBytes(totals.raw_bytes).c_str(),
              HumanBytes(totals.stored_bytes).c_str(), ratio);
  for (const auto& [name, total] : totals.dtypes) {
    std::printf("  %-16s %6d tensors  %s\n", name.c_str(),
                static_cast<int>(total.tensors),
                HumanBytes(total.bytes).c_str());
  }
  const size_t limit = flags.limits.entries;
  PrintProvenance(checkpoint);
  PrintTies(totals, limit);
  PrintObjects(totals, limit);
  const std::vector<std::string> globals = checkpoint.globals();
  if (!globals.empty()) {
    std::printf("globals   %zu names of Python, never looked up\n",
                globals.size());
    for (size_t i = 0; i < globals.size() && i < limit; ++i) {
      std::printf("  %s\n", Printable(globals[i]).c_str());
    }
    if (globals.size() > limit) std::puts("  ...");
  }
  for (const std::string& warning : checkpoint.warnings()) {
    std::printf("warning   %s\n", Printable(warning).c_str());
  }
  std::puts("tree");
  PrintTreeText(checkpoint.root(), flags.limits, stdout);
}

int Run(const Flags& flags) {
  const absl::StatusOr<Checkpoint> checkpoint = OpenInput(flags.file, {});
  if (!checkpoint.ok()) return Fail(checkpoint.status());
  const Totals totals = Add(*checkpoint);
  if (flags.json) {
    PrintJson(flags, *checkpoint, totals);
  } else {
    Print(flags, *checkpoint, totals);
  }
  return kExitOk;
}

}  // namespace

void AddInfo(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "info", "Who wrote a file, totals, ties, and all that is no tensor.");
  auto flags = std::make_shared<Flags>();
  verb->add_option("FILE", flags->file, "a checkpoint; - for standard input")
      ->required();
  verb->add_flag("--json", flags->json, "print penstock.info/1");
  verb->add_option("--depth", flags->limits.depth,
                   "levels of the tree to show (default: 4)")
      ->check(CLI::Range(0, 64));
  verb->add_option("--entries", flags->limits.entries,
                   "entries of a container to show (default: 20)")
      ->check(CLI::Range(1, 1'000'000));
  verb->callback([flags, &exit_code] { exit_code = Run(*flags); });
}

}  // namespace penstock
