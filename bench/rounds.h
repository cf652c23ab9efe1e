// The interleaved run: every contender once a round, in random order.

#ifndef PENSTOCK_BENCH_ROUNDS_H_
#define PENSTOCK_BENCH_ROUNDS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/contender.h"
#include "bench/row.h"

namespace penstock::bench {

struct RoundsOptions {
  int rounds = 7;
  uint64_t seed = 0;               // of the orders
  double deadline_seconds = 0;     // of `now`; 0: none
  std::function<double()> now;     // seconds; grows
  std::function<void()> prepared;  // after all `prepare`; may be null
  // Before each contender of each round; false stops. May be null.
  std::function<bool(int round, const std::string& name)> keep_going;
};

struct Rounds {
  std::vector<Row> rows;           // with figures, as the contenders came
  std::vector<std::string> notes;  // contenders that could not run here, why
  int64_t num_checks = 0;          // runs, no ceilings, whose bytes were right
  // Over 1: given up, for all rounds would take so many times what is left
  // until the deadline; then there are no rows.
  double excess = 0;
};

// Prepares and runs all of them. One that answers kUnimplemented is dropped
// with a note. Errors: kDeadlineExceeded in the first round, as soon as all at
// its pace would end behind the deadline; kCancelled (keep_going); a
// contender's own, with its name and the round.
absl::StatusOr<Rounds> RunRounds(const std::vector<Contender>& contenders,
                                 const RoundsOptions& options);

// The order of `round`: the numbers 0 to n - 1, shuffled. The same arguments
// give the same order everywhere.
std::vector<int> OrderOf(int round, int n, uint64_t seed);

// Calls run(size, deadline) with `size_bytes` and halves that, as often as the
// excess says, until it is none; tells `halved` each time. The last size, for
// which half is under `least_bytes`, runs without a deadline.
absl::StatusOr<Rounds> RunHalving(
    int64_t size_bytes, int64_t least_bytes, double deadline_seconds,
    const std::function<absl::StatusOr<Rounds>(int64_t size_bytes,
                                               double deadline_seconds)>& run,
    const std::function<void(int64_t size_bytes)>& halved);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_ROUNDS_H_
