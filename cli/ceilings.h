// What the machine itself can do, measured beside our own figures.

#ifndef PENSTOCK_CLI_CEILINGS_H_
#define PENSTOCK_CLI_CEILINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace penstock {

// One way of moving bytes: bytes per second of each round, in order.
struct Ceiling {
  std::string name;
  std::vector<double> rates;

  double Median() const;
};

// Plain write (page cache, then fsync), O_DIRECT write (4 MiB blocks, then
// fsync) and memcpy, `rounds` times by turns, each of `size_bytes` of random
// data. Writes a temporary in `directory` and removes it. Where the file system
// refuses O_DIRECT, that row is missing.
absl::StatusOr<std::vector<Ceiling>> MeasureCeilings(
    const std::string& directory, int64_t size_bytes, int rounds);

}  // namespace penstock

#endif  // PENSTOCK_CLI_CEILINGS_H_
