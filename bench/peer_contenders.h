// The contenders that Penstock is compared with.

#ifndef PENSTOCK_BENCH_PEER_CONTENDERS_H_
#define PENSTOCK_BENCH_PEER_CONTENDERS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/arena.h"
#include "bench/contender.h"
#include "bench/peer_process.h"

namespace penstock::bench {

// What --against knows.
inline constexpr const char* kPeers[] = {"torch", "safetensors", "zipnn", "cp",
                                         "zstd"};

// Whether one of `names` runs in the Python worker.
bool NeedsWorker(const std::vector<std::string>& names);

struct Worker {
  std::unique_ptr<PeerProcess> process;
  std::vector<std::pair<std::string, std::string>> versions;
};

// Starts `python` with the peers of `names` that need it, and gives them the
// arena's tensors. Errors: kFailedPrecondition where `python` or a package is
// not there, with what to do.
absl::StatusOr<std::shared_ptr<Worker>> StartWorker(
    const std::string& python, const std::vector<std::string>& names,
    Arena& arena);

// Those of `names`. `worker` may be null where none needs it.
std::vector<Contender> PeerContenders(const std::shared_ptr<Arena>& arena,
                                      const std::vector<std::string>& names,
                                      const std::shared_ptr<Worker>& worker);

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_PEER_CONTENDERS_H_
