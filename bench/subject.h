// What a benchmark saves and loads: a state_dict made up from a seed, and a
// memory of its bytes that needs no bytes.

#ifndef PENSTOCK_BENCH_SUBJECT_H_
#define PENSTOCK_BENCH_SUBJECT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/checksum.h"
#include "core/state_dict.h"
#include "core/value.h"

namespace penstock::bench {

enum class Tensors {
  kLarge,  // the layers of a language model, some of odd sizes
  kSmall,  // of 64 KiB each
  kOne,    // one
};

// A state_dict of about `size_bytes` of bfloat16 weights (bench/corpus.h), each
// tensor on a storage of its own. Made by `threads`. Sizes under 64 KiB become
// 64 KiB. Errors: kResourceExhausted (memory).
absl::StatusOr<Value> MakeStateDict(Tensors tensors, int64_t size_bytes,
                                    int threads);

// The same tensors over new memory: what a caller has who loads into what is
// there. Errors: kResourceExhausted (memory).
absl::StatusOr<StateDict> MakeTargetFor(const StateDict& source);

// Every byte of its storages, which are its own, becomes `value`.
void Overwrite(const StateDict& tensors, uint8_t value, int threads);

// `n` tensors of 64 bytes.
absl::StatusOr<Value> MakeManyTensors(int64_t n);

// XXH3-128 of each tensor of a state_dict, by name.
class Fingerprint {
 public:
  static Fingerprint Of(const StateDict& tensors, int threads);

  // Whether `tensors` are the same ones to the last byte: names, dtypes,
  // shapes, bytes. All in memory and contiguous.
  // Errors: kDataLoss, which names the first that differs.
  absl::Status Check(const StateDict& tensors, int threads) const;
  // The same of one of them.
  absl::Status CheckOne(absl::string_view name, const Tensor& tensor) const;

 private:
  absl::flat_hash_map<std::string, Hash128> hashes_;
};

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_SUBJECT_H_
