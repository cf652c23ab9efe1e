// Scans any bytes: as they are, and as the pickle of a zip file. There the scan
// and the reader of pickles see the same bytes: every name that the reader
// meets, and every call, the scan must find.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/file_scan.h"
#include "compat/fuzz_testing.h"
#include "compat/global_judge.h"
#include "compat/pickle_names.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/scan.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/value.h"

namespace penstock {
namespace {

ScanReport Scanned(std::string bytes) {
  MemoryFileSystem spool;
  ScanLimits limits;
  limits.files = &spool;
  limits.max_inflated_bytes = 4 << 20;
  const auto report =
      ScanFile(FileFromString(std::move(bytes), "fuzz"), limits);
  PENSTOCK_CHECK(report.ok());
  ScanLevel level = ScanLevel::kAllow;
  for (const ScanFinding& finding : report->findings) {
    level = std::max(level, finding.level);
    PENSTOCK_CHECK(finding.module.size() <= kMaxScanNameBytes);
    PENSTOCK_CHECK(finding.name.size() <= kMaxScanNameBytes);
    PENSTOCK_CHECK(finding.reason.empty() ==
                   (finding.level == ScanLevel::kAllow));
  }
  PENSTOCK_CHECK(report->level == level || report->num_left_out > 0);
  return *report;
}

// Whether the scan has found the global `name` ("module name") at all, and
// where it is `called`, has judged it as one that is.
bool Finds(const ScanReport& report, absl::string_view name, bool called) {
  return std::any_of(
      report.findings.begin(), report.findings.end(),
      [&](const ScanFinding& found) {
        const GlobalName now = ToPython3({found.module, found.name});
        return (absl::StrCat(found.module, " ", found.name) == name ||
                absl::StrCat(now.module, " ", now.name) == name) &&
               found.level >=
                   JudgeGlobal(found.module, found.name, called).level;
      });
}

void CompareWithReader(absl::Span<const uint8_t> pickle) {
  const auto read = ReadPickle(pickle, StoragesInFile(), FuzzedPickleLimits());
  if (!read.ok()) return;
  const TestZip zip({{"a/data.pkl", std::string(pickle.begin(), pickle.end())},
                     {"a/version", "3"}});
  const ScanReport report = Scanned(zip.bytes());
  const auto finds = [&](absl::string_view name, bool called) {
    return static_cast<int64_t>(name.size()) > kMaxScanNameBytes ||
           report.num_left_out > 0 || Finds(report, name, called);
  };
  for (const std::string& global : read->globals) {
    PENSTOCK_CHECK(finds(global, false));
  }
  const auto& graph = read->root.graph();
  for (int64_t id = 0; id < graph->num_nodes(); ++id) {
    const Value object(graph, static_cast<NodeId>(id));
    if (object.kind() != NodeKind::kObject) continue;
    const Value callable = object.child(ObjectChild::kCallable);
    if (!callable || callable.kind() != NodeKind::kGlobal) continue;
    PENSTOCK_CHECK(
        finds(absl::StrCat(callable.module(), " ", callable.name()), true));
  }
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::Scanned(std::string(data, data + size));
  penstock::CompareWithReader(absl::MakeConstSpan(data, size));
  return 0;
}
