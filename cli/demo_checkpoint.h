// A checkpoint like those that people train: made up, seeded, of any size.

#ifndef PENSTOCK_CLI_DEMO_CHECKPOINT_H_
#define PENSTOCK_CLI_DEMO_CHECKPOINT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/value.h"

namespace penstock {

// A decoder-only language model in the middle of its training, of about
// `size_bytes` of tensors (from 1 MB on):
//
//   model         OrderedDict of bf16 weights; lm_head tied to the embedding
//   optimizer     Adam: fp32 exp_avg and exp_avg_sq under int keys,
//   param_groups views         slices and a transpose of a weight, on its
//   storage epoch, step, loss, tokens_seen (over 2^63), config, rng_state
//
// The same size gives the same bytes on every machine.
absl::StatusOr<Value> MakeDemoCheckpoint(int64_t size_bytes, int threads);

}  // namespace penstock

#endif  // PENSTOCK_CLI_DEMO_CHECKPOINT_H_
