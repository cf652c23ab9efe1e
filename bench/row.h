// A row: one measurement of one contender, repeated every round.

#ifndef PENSTOCK_BENCH_ROW_H_
#define PENSTOCK_BENCH_ROW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace penstock::bench {

// The tables of a report, in their order. The first three are ceilings: what
// the machine does without us.
enum class Section {
  kCopy,
  kWrite,
  kRead,
  kSave,
  kLoadCold,
  kLoadWarm,
  kLoadIdle,
  kPart,
  kConvert,
  kOpen,
};

// "copy", "write", "read", "save", "load cold", "load warm", "load idle",
// "part", "convert", "open": as in JSON and --only.
absl::string_view NameOf(Section section);

struct Row {
  Section section = Section::kSave;
  std::string contender;            // "penstock raw .pstk", "torch.save"
  std::string what;                 // "durable", "new memory", "4 x 4 MiB"
  int64_t bytes = 0;                // of tensors; 0 where only time says much
  std::vector<double> seconds;      // one a round
  std::vector<double> cpu_seconds;  // likewise, user and system, all threads
  int64_t peak_bytes = 0;           // the most memory beyond what was there
  int64_t file_bytes = 0;           // that it wrote; 0: none

  // "load cold/penstock raw .pstk/new memory".
  std::string Name() const;
  // Bytes a second; 0 where bytes or seconds are 0.
  double Rate(double of_seconds) const;
};

// The ceiling of a section's rows: the section that measures it, or kOpen where
// it has none.
Section CeilingSectionOf(Section section);

// Bytes a second: the highest of the medians of `section`'s rows, each row one
// strategy. Not the best of each round: a maximum over strategies that were
// tried in different moments is faster than any of them. 0 where there is none.
double CeilingRate(const std::vector<Row>& rows, Section section);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_ROW_H_
