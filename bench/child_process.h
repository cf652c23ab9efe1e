// Programs that run to their end, measured as a whole.

#ifndef PENSTOCK_BENCH_CHILD_PROCESS_H_
#define PENSTOCK_BENCH_CHILD_PROCESS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/usage.h"

namespace penstock::bench {

// Starts argv[0], looked up in PATH, and waits for it. What it prints is thrown
// away. The peak is that of its own memory, looked at every 5 ms.
// Errors: kNotFound (no such program), kInternal (it failed: exit code or
// signal, and the start of what it said on stderr), the OS's.
absl::StatusOr<Usage> RunChild(const std::vector<std::string>& argv);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_CHILD_PROCESS_H_
