// Byte planes: split and merge of one chunk by width and transform. Bytes are
// raw bytes. From second-level or third-level cache, as in the pipeline.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "bench/corpus.h"
#include "codec/planes.h"

namespace penstock {
namespace {

constexpr int64_t kBytes = 1 << 20;

std::vector<uint8_t> Weights(int width) {
  std::vector<uint8_t> raw(kBytes);
  FillWeights(width == 2   ? DType::kBFloat16
              : width == 4 ? DType::kFloat32
                           : DType::kFloat64,
              1, 4096, absl::MakeSpan(raw));
  return raw;
}

// What both directions owe: merged planes are the bytes again.
bool ComesBack(const std::vector<uint8_t>& raw, int width, Transform transform,
               const std::vector<uint8_t>& planes) {
  std::vector<uint8_t> back(kBytes);
  MergePlanes(planes.data(), width, transform, absl::MakeSpan(back));
  return back == raw;
}

void BM_Split(benchmark::State& state) {
  const int width = static_cast<int>(state.range(0));
  const auto transform = static_cast<Transform>(state.range(1));
  const std::vector<uint8_t> raw = Weights(width);
  std::vector<uint8_t> planes(kBytes);
  for (auto _ : state) {
    SplitPlanes(raw, width, transform, planes.data());
    benchmark::ClobberMemory();
  }
  if (!ComesBack(raw, width, transform, planes)) {
    state.SkipWithError("planes do not merge to the bytes they came from");
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void BM_Merge(benchmark::State& state) {
  const int width = static_cast<int>(state.range(0));
  const auto transform = static_cast<Transform>(state.range(1));
  const std::vector<uint8_t> raw = Weights(width);
  std::vector<uint8_t> planes(kBytes);
  SplitPlanes(raw, width, transform, planes.data());
  std::vector<uint8_t> back(kBytes);
  for (auto _ : state) {
    MergePlanes(planes.data(), width, transform, absl::MakeSpan(back));
    benchmark::ClobberMemory();
  }
  if (back != raw) state.SkipWithError("merge gives other bytes");
  state.SetBytesProcessed(state.iterations() * kBytes);
}

// The yardstick.
void BM_Memcpy(benchmark::State& state) {
  const std::vector<uint8_t> raw = Weights(4);
  std::vector<uint8_t> copy(kBytes);
  for (auto _ : state) {
    std::memcpy(copy.data(), raw.data(), kBytes);
    benchmark::ClobberMemory();
  }
  if (copy != raw) state.SkipWithError("memcpy gives other bytes");
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void EveryKernel(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"width", "transform"})->UseRealTime();
  for (const int width : {2, 4, 8}) {
    for (const Transform transform :
         {Transform::kNone, Transform::kSignMove, Transform::kDelta}) {
      if (!TransformFits(transform, width)) continue;
      benchmark->Args({width, static_cast<int64_t>(transform)});
    }
  }
}

BENCHMARK(BM_Memcpy)->UseRealTime();
BENCHMARK(BM_Split)->Apply(EveryKernel);
BENCHMARK(BM_Merge)->Apply(EveryKernel);

}  // namespace
}  // namespace penstock
