// What one piece of work costs: time, processor, memory.

#ifndef PENSTOCK_BENCH_USAGE_H_
#define PENSTOCK_BENCH_USAGE_H_

#include <cstdint>

namespace penstock::bench {

struct Usage {
  double seconds = 0;      // on the clock
  double cpu_seconds = 0;  // user and system, of all threads
  int64_t peak_bytes = 0;  // resident at most, beyond what was at the start
};

// Measures this process from its making to Stop(). First gives what malloc
// keeps back to the system, so that memory that is then asked for is new, and
// counted. Where the kernel does not
// let the peak be reset (clear_refs), peak_bytes is what exceeds all that was
// before. Thread-compatible; one at a time.
class UsageMeter {
 public:
  UsageMeter();
  Usage Stop() const;

 private:
  int64_t resident_bytes_;
  double cpu_seconds_;
  double start_;  // read last, so that none of this is in it
};

// Seconds of the steady clock, from some start.
double Now();

// Of a process: "VmHWM", "VmRSS"; 0 where it cannot be read.
int64_t StatusBytes(const char* status_path, const char* key);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_USAGE_H_
