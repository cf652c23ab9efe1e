#include "bench/room.h"

#include <set>

#include "absl/strings/str_format.h"

namespace penstock::bench {
namespace {

// Buffers of ceilings and of one operation, the index, the rest of a process.
constexpr int64_t kOverheadBytes = int64_t{512} << 20;

double Gigabytes(int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

}  // namespace

Room RoomFor(const std::vector<Contender>& contenders, int64_t size_bytes,
             Peers peers) {
  int64_t source = 0;   // stays in memory while others work
  int64_t callers = 0;  // memory to load into
  int64_t written = 0;  // the largest file that comes and goes
  std::set<std::string> cold;
  std::set<std::string> warm;
  for (const Contender& contender : contenders) {
    for (const Row& row : contender.rows) {
      if (row.section == Section::kSave) source = 1;
      if (row.what == "caller's memory") callers = 1;
      const bool writes = row.section == Section::kSave ||
                          row.section == Section::kConvert ||
                          row.section == Section::kWrite;
      if (writes) written = 1;
      if (row.section >= Section::kLoadWarm && row.section != Section::kPart) {
        warm.insert(row.contender);
      } else if (row.section >= Section::kRead) {
        cold.insert(row.contender);
      }
    }
  }
  const auto num_warm = static_cast<int64_t>(warm.size());
  const auto num_cold = static_cast<int64_t>(cold.size());
  // A worker holds its tensors, what it loads and what zipnn copies.
  const int64_t worker = peers == Peers::kSome ? 3 : 0;
  return {
      size_bytes * (num_cold + num_warm + 2 * written) + kOverheadBytes,
      size_bytes * (source + callers + 1 + num_warm + worker) + kOverheadBytes};
}

absl::Status CheckRoom(const Room& needs, const Room& has,
                       const std::string& directory) {
  if (needs.disk_bytes > has.disk_bytes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s: the benchmark needs %.1f GB of free disk, %.1f GB are there; "
        "choose --dir or a smaller --size",
        directory, Gigabytes(needs.disk_bytes), Gigabytes(has.disk_bytes)));
  }
  if (needs.memory_bytes > has.memory_bytes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the benchmark needs %.1f GB of memory, the page cache of warm files "
        "included, %.1f GB are available; choose a smaller --size",
        Gigabytes(needs.memory_bytes), Gigabytes(has.memory_bytes)));
  }
  return absl::OkStatus();
}

}  // namespace penstock::bench
