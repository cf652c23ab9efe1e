// Whether a run has the disk and the memory that it needs.

#ifndef PENSTOCK_BENCH_ROOM_H_
#define PENSTOCK_BENCH_ROOM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/contender.h"

namespace penstock::bench {

struct Room {
  int64_t disk_bytes = 0;
  int64_t memory_bytes = 0;
};

// At most what `contenders` need together with `size_bytes` of tensors: the
// files that they read and write, the tensors, and the page cache that has to
// keep the warm files. `peers` also have a worker with tensors of its own.
enum class Peers { kNone, kSome };
Room RoomFor(const std::vector<Contender>& contenders, int64_t size_bytes,
             Peers peers);

// OK where `has` is enough for `needs`. Errors: kResourceExhausted, which says
// how much of what is needed and there.
absl::Status CheckRoom(const Room& needs, const Room& has,
                       const std::string& directory);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_ROOM_H_
