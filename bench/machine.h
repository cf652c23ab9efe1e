// Where a run was made.

#ifndef PENSTOCK_BENCH_MACHINE_H_
#define PENSTOCK_BENCH_MACHINE_H_

#include <cstdint>
#include <string>

namespace penstock::bench {

// "?" or 0 where the system does not say.
struct Machine {
  int cores = 0;
  std::string processor;  // its model name
  int64_t memory_bytes = 0;
  std::string kernel;         // "Linux 6.1.0"
  std::string file_system;    // "ext4" of the benchmark's folder
  std::string mount_options;  // "rw,relatime,discard"
};

// `directory`: of the benchmark.
Machine DescribeMachine(const std::string& directory);

// Bytes that the kernel would give to a new program; the greatest number where
// it does not say.
int64_t AvailableMemory();

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_MACHINE_H_
