// Corpus: bytes that look like a checkpoint's, from a seed. What benchmarks,
// the demo and tests compress; described with its ratios in docs/BENCHMARKS.md.

#ifndef PENSTOCK_BENCH_CORPUS_H_
#define PENSTOCK_BENCH_CORPUS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "core/dtype.h"

namespace penstock {

// All of these fill `out`, little-endian; bytes behind its last whole element
// become 0. The same arguments give the same bytes, on any thread; different
// seeds give unrelated ones.

// The weights of a layer: normal, with a standard deviation between 0.01 and
// 0.05 (log-uniform) that the seed decides, times a factor a row (lognormal,
// 0.15); one element in fifty is three times as large. Rows are independent.
// `dtype` is kBFloat16, kFloat16, kFloat32, kFloat64, kFloat8E5M2, or one of
// those scaled so that its largest value is 5 standard deviations:
// kFloat8E4M3FN, kInt8. `row_elements` > 0.
void FillWeights(DType dtype, uint64_t seed, int64_t row_elements,
                 absl::Span<uint8_t> out);

// float32 weights that were bfloat16: the lower half of each is 0.
void FillUpcastWeights(uint64_t seed, int64_t row_elements,
                       absl::Span<uint8_t> out);

// Adam's first moment: float32, normal times lognormal (1), around 1e-4.
void FillAdamMean(uint64_t seed, absl::Span<uint8_t> out);
// Adam's second moment: float32, lognormal (1.4), around 1e-8, never negative.
void FillAdamSquare(uint64_t seed, absl::Span<uint8_t> out);

// int64 counters that grow by 0 to 1999.
void FillCounters(uint64_t seed, absl::Span<uint8_t> out);

// Bytes without any structure.
void FillBytes(uint64_t seed, absl::Span<uint8_t> out);

// Overwrites one row in ten with zeros, as a pruned or a never used row has.
void ClearRows(int64_t row_bytes, absl::Span<uint8_t> bytes);

}  // namespace penstock

#endif  // PENSTOCK_BENCH_CORPUS_H_
