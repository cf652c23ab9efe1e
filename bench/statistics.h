// What is said of one measurement that was repeated.

#ifndef PENSTOCK_BENCH_STATISTICS_H_
#define PENSTOCK_BENCH_STATISTICS_H_

#include <vector>

namespace penstock::bench {

// Of times, so `best` is the least. All 0 where there are none.
struct Spread {
  double median = 0;
  double best = 0;
  double worst = 0;
};

// The middle one; of an even number, the mean of the two middle ones.
Spread SpreadOf(std::vector<double> seconds);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_STATISTICS_H_
