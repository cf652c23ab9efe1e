// A contender: something that is timed once a round, and whose result is
// compared with the source every time.

#ifndef PENSTOCK_BENCH_CONTENDER_H_
#define PENSTOCK_BENCH_CONTENDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/row.h"
#include "bench/usage.h"

namespace penstock::bench {

// One round of one contender.
struct Sample {
  std::vector<double> seconds;  // one for each of its rows
  double cpu_seconds = 0;
  int64_t peak_bytes = 0;
  int64_t file_bytes = 0;
};

inline Sample SampleOf(const Usage& usage, int64_t file_bytes = 0) {
  return {{usage.seconds}, usage.cpu_seconds, usage.peak_bytes, file_bytes};
}

struct Contender {
  // What it fills, without figures. More than one where one run shows several
  // times (handed over, durable).
  std::vector<Row> rows;
  // What is needed once, before any round: files, a worker. May be null. Errors
  // as of `run`.
  std::function<absl::Status()> prepare;
  // Prepares, times, checks the bytes and cleans up; only the second is in the
  // sample. Errors: kDataLoss where the bytes are wrong; kUnimplemented where
  // this machine cannot do it: the contender then leaves the run.
  std::function<absl::StatusOr<Sample>()> run;
};

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_CONTENDER_H_
