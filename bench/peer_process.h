// The persistent worker that peers run in: one line of JSON for each request,
// one for each answer.

#ifndef PENSTOCK_BENCH_PEER_PROCESS_H_
#define PENSTOCK_BENCH_PEER_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/descriptor.h"
#include "nlohmann/json.hpp"

namespace penstock::bench {

// Owns the process: it ends when its input does, at the latest when this goes.
// Thread-compatible.
class PeerProcess {
 public:
  // Starts argv[0]; standard input and output are the line, errors go where
  // ours go. Errors: kNotFound, the OS's.
  static absl::StatusOr<std::unique_ptr<PeerProcess>> Start(
      const std::vector<std::string>& argv);

  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  // Sends `request` and waits for its answer. An answer {"error": text} is
  // kInternal, with "kind": "wrong bytes" kDataLoss, with "missing"
  // kUnimplemented. Also kInternal: no answer (it has ended), no JSON.
  absl::StatusOr<nlohmann::ordered_json> Call(
      const nlohmann::ordered_json& request);

 private:
  PeerProcess(pid_t pid, Descriptor line);

  absl::StatusOr<std::string> ReadLine();

  pid_t pid_;
  Descriptor line_;
  std::string read_;  // behind the last line
};

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_PEER_PROCESS_H_
