// Moving a file's blocks around the page cache, several in flight.

#ifndef PENSTOCK_BENCH_BLOCK_IO_H_
#define PENSTOCK_BENCH_BLOCK_IO_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace penstock::bench {

enum class Direction { kRead, kWrite };

// A range of an open file and how it is cut.
struct BlockRun {
  int fd = -1;  // O_DIRECT, unless Flight::kThreads with another flag
  Direction direction = Direction::kRead;
  int64_t size_bytes = 0;   // of the file; the last block may be short
  int64_t block_bytes = 0;  // a multiple of the file's alignment
  int in_flight = 1;
  // in_flight buffers of block_bytes, one behind the other; written from, read
  // into.
  uint8_t* buffers = nullptr;
};

// One thread for each block in flight; each takes the next one when it is done.
// Errors: kUnimplemented (the first block is refused), the OS's.
absl::Status RunByThreads(const BlockRun& run);

// One thread and an io_uring; blocks are submitted in ascending order.
// Errors: kUnimplemented (no io_uring here, or refused), the OS's.
absl::Status RunByRing(const BlockRun& run);

// Calls work(i) for i in [0, n) on n threads, the caller's among them; the
// first error that comes.
absl::Status InThreads(int n, const std::function<absl::Status(int)>& work);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_BLOCK_IO_H_
