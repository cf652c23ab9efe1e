// Checksums: XXH3-128 of native files, CRC-32 of zip entries, from the size of
// a header to that of a tensor.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "bench/corpus.h"
#include "core/checksum.h"

namespace penstock {
namespace {

std::vector<uint8_t> Weights(int64_t size) {
  std::vector<uint8_t> bytes(size);
  FillWeights(DType::kBFloat16, 1, 4096, absl::MakeSpan(bytes));
  return bytes;
}

void BM_Xxh3(benchmark::State& state) {
  const std::vector<uint8_t> bytes = Weights(state.range(0));
  Hash128 hash;
  for (auto _ : state) {
    hash = HashOf(bytes, 7);
    benchmark::DoNotOptimize(hash);
  }
  Hasher hasher(7);
  const auto half = absl::MakeConstSpan(bytes).first(bytes.size() / 2);
  hasher.Update(half);
  hasher.Update(absl::MakeConstSpan(bytes).subspan(half.size()));
  if (hasher.Digest() != hash) {
    state.SkipWithError("the hash of the pieces is another one");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_Crc32(benchmark::State& state) {
  const std::vector<uint8_t> bytes = Weights(state.range(0));
  uint32_t crc = 0;
  for (auto _ : state) {
    crc = Crc32(bytes);
    benchmark::DoNotOptimize(crc);
  }
  const auto half = absl::MakeConstSpan(bytes).first(bytes.size() / 2);
  const auto rest = absl::MakeConstSpan(bytes).subspan(half.size());
  if (CombineCrc32(Crc32(half), Crc32(rest),
                   static_cast<int64_t>(rest.size())) != crc) {
    state.SkipWithError("the combined CRC is another one");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(BM_Xxh3)
    ->ArgName("bytes")
    ->RangeMultiplier(16)
    ->Range(4 << 10, 64 << 20)
    ->UseRealTime();
BENCHMARK(BM_Crc32)
    ->ArgName("bytes")
    ->RangeMultiplier(16)
    ->Range(4 << 10, 64 << 20)
    ->UseRealTime();

}  // namespace
}  // namespace penstock
