#include "bench/report.h"

#include "absl/strings/str_format.h"
#include "bench/statistics.h"

namespace penstock::bench {
namespace {

const Row* Find(const std::vector<Row>& rows, const char* name) {
  for (const Row& row : rows) {
    if (row.Name() == name && !row.seconds.empty()) return &row;
  }
  return nullptr;
}

double RatioOfMedians(const Row& a, const Row& b) {
  return SpreadOf(a.seconds).median / SpreadOf(b.seconds).median;
}

}  // namespace

std::string Verdict(const std::vector<Row>& rows) {
  const Row* const raw_save = Find(rows, "save/penstock raw .pstk/durable");
  const Row* const zstd_save = Find(rows, "save/penstock zstd .pstk/durable");
  const Row* const raw_load =
      Find(rows, "load cold/penstock raw .pstk/new memory");
  const Row* const zstd_load =
      Find(rows, "load cold/penstock zstd .pstk/new memory");
  if (raw_save == nullptr || zstd_save == nullptr || raw_load == nullptr ||
      zstd_load == nullptr) {
    return "";
  }
  const double save = RatioOfMedians(*raw_save, *zstd_save);
  const double load = RatioOfMedians(*raw_load, *zstd_load);
  const char* const pays = save >= 1 && load >= 1 ? "pays for both"
                           : save >= 1            ? "pays for saving alone"
                           : load >= 1            ? "pays for loading alone"
                                       : "costs time and saves space alone";
  return absl::StrFormat(
      "compression on this disk %s: a compressed .pstk has %.0f %% of the size "
      "of a raw one, is saved at %.2f and loaded cold at %.2f times its speed",
      pays,
      100 * static_cast<double>(zstd_save->file_bytes) /
          static_cast<double>(raw_save->file_bytes),
      save, load);
}

}  // namespace penstock::bench
