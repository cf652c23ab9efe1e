// The whole benchmark: data, contenders, rounds, report.

#ifndef PENSTOCK_BENCH_BENCHMARK_H_
#define PENSTOCK_BENCH_BENCHMARK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/penstock.h"
#include "bench/report.h"
#include "bench/subject.h"

namespace penstock::bench {

struct BenchmarkOptions {
  std::string directory = ".";  // files lie in a new folder in it, which goes
  int64_t size_bytes = 1'000'000'000;
  Tensors tensors = Tensors::kLarge;
  int rounds = 7;
  uint64_t seed = 0;
  double limit_seconds = 0;  // the size is halved until this holds; 0: none
  bool idle = false;         // also what is loaded after 7 s without work
  std::vector<std::string> against;  // of kPeers
  std::vector<std::string> only;     // globs of Row::Name(); empty: all
  std::string python;                // for peers; empty: "python3"
  std::string program;               // `penstock`, for `convert`
  std::string version;               // of it, for the report
  RunOptions run;
  // Before each contender; false stops. May be null.
  std::function<bool(int round, const std::string& name)> keep_going;
};

// "large", "small", "one".
std::string NameOf(Tensors tensors);

// Errors:
//   kResourceExhausted   it would fill the disk or the memory
//   kFailedPrecondition  peers that were asked for are not there
//   kInvalidArgument     `only` names nothing
//   kDataLoss            a contender's bytes were wrong: it and the round
absl::StatusOr<Report> RunBenchmark(const BenchmarkOptions& options);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_BENCHMARK_H_
