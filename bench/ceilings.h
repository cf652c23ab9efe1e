// What the machine itself can do: each way of moving bytes is a contender, so
// that it runs in the same rounds as what is held against it.

#ifndef PENSTOCK_BENCH_CEILINGS_H_
#define PENSTOCK_BENCH_CEILINGS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/contender.h"

namespace penstock::bench {

// memcpy and a copy by non-temporal stores (x86 only), by one thread and by
// `threads`, of `size_bytes` between two buffers beyond any cache.
std::vector<Contender> CopyCeilings(int64_t size_bytes, int threads);

// Writing a new file of `size_bytes` (rounded down to 4 MiB, but not to 0) of
// random data around the page cache, fallocate and fsync in the time: blocks of
// 1 or 4 MiB, 1 to 4 threads with one in flight each, and io_uring with 4 x 1
// MiB. The file is in `directory` and goes each time, outside the timer.
std::vector<Contender> WriteCeilings(const std::string& directory,
                                     int64_t size_bytes);

// Reading a file, `tensor_bytes` of which count, from the disk: io_uring around
// the page cache into a ring of buffers that is reused, threads around it, in
// order through it, and by touching a mapping. `file` names it, and makes it
// where it is not there.
std::vector<Contender> ReadCeilings(
    const std::function<absl::StatusOr<std::string>()>& file,
    int64_t tensor_bytes, int threads);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_CEILINGS_H_
