// CompareTensors: streams the tensors of two open checkpoints side by side.
// Private to api/.

#ifndef PENSTOCK_API_TENSOR_COMPARE_H_
#define PENSTOCK_API_TENSOR_COMPARE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "api/diff.h"
#include "api/opened.h"
#include "core/tensor.h"

namespace penstock {

// Two tensors of one shape; of one dtype, or both with numbers.
struct TensorPair {
  std::string name;
  Tensor a;
  Tensor b;
  uint8_t flags_a = 0;  // TensorFlags
  uint8_t flags_b = 0;
};

struct CompareResult {
  std::vector<ElementStats> stats;  // of each pair
  int64_t read_bytes = 0;           // of both sides
};

// One pump over both: what the source is to `a`, the sink is to `b`. The same
// stats at any number of threads. What both sides repeat by a stride of 0 is
// read once.
// Errors: those of reading, with the file's path; kResourceExhausted (a tensor
// that is not contiguous over a quarter of options.memory_bytes; tensors that
// show far more elements than their storages hold).
absl::StatusOr<CompareResult> CompareTensors(
    const Checkpoint::Opened& a, const Checkpoint::Opened& b,
    absl::Span<const TensorPair> pairs,
    const std::optional<Tolerance>& tolerance, const RunOptions& options);

// True where the hashes in the indexes of both .pstk files prove that two
// tensors of one dtype, shape and strides have the same bytes. False says
// nothing.
bool SameByDigest(const Checkpoint::Opened& a, const Checkpoint::Opened& b,
                  const TensorPair& pair);

}  // namespace penstock

#endif  // PENSTOCK_API_TENSOR_COMPARE_H_
