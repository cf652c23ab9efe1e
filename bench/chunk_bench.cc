// Chunk codec: one chunk of 1 MiB, one thread, by kind of data. Bytes are raw
// bytes. The counter `ratio` is raw over stored.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bench/corpus.h"
#include "codec/chunk_codec.h"

namespace penstock {
namespace {

constexpr int64_t kBytes = 1 << 20;
constexpr int64_t kRow = 4096;

struct Kind {
  const char* name;
  DType dtype;
  void (*fill)(absl::Span<uint8_t> out);
};

template <DType kDType>
void Weights(absl::Span<uint8_t> out) {
  FillWeights(kDType, 1, kRow, out);
}

const Kind kKinds[] = {
    {"bfloat16", DType::kBFloat16, Weights<DType::kBFloat16>},
    {"float32", DType::kFloat32, Weights<DType::kFloat32>},
    {"float16", DType::kFloat16, Weights<DType::kFloat16>},
    {"float64", DType::kFloat64, Weights<DType::kFloat64>},
    {"float8_e4m3fn", DType::kFloat8E4M3FN, Weights<DType::kFloat8E4M3FN>},
    {"float8_e5m2", DType::kFloat8E5M2, Weights<DType::kFloat8E5M2>},
    {"int8", DType::kInt8, Weights<DType::kInt8>},
    {"adam_mean", DType::kFloat32, [](auto out) { FillAdamMean(1, out); }},
    {"adam_square", DType::kFloat32, [](auto out) { FillAdamSquare(1, out); }},
    {"upcast_float32", DType::kFloat32,
     [](auto out) { FillUpcastWeights(1, kRow, out); }},
    {"bfloat16_zero_rows", DType::kBFloat16,
     [](auto out) {
       Weights<DType::kBFloat16>(out);
       ClearRows(kRow * 2, out);
     }},
    {"int64_counters", DType::kInt64, [](auto out) { FillCounters(1, out); }},
    {"noise", DType::kFloat32, [](auto out) { FillBytes(1, out); }},
};

// One chunk and all that its coding needs.
struct Work {
  std::vector<uint8_t> raw = std::vector<uint8_t>(kBytes);
  std::vector<uint8_t> back = std::vector<uint8_t>(kBytes);
  Compressor compressor;
  Decompressor decompressor;
  AlignedBuffer planes;
  AlignedBuffer record;
  ChunkCoding coding;

  absl::StatusOr<int64_t> Encode(DType dtype) {
    return EncodeChunk(raw, dtype, compressor, planes, record, coding);
  }
  absl::Status Decode(int64_t stored_bytes) {
    return DecodeChunk(absl::MakeConstSpan(record.data(), stored_bytes), coding,
                       decompressor, planes, absl::MakeSpan(back));
  }
};

void Report(benchmark::State& state, Work& work, int64_t stored_bytes) {
  const absl::Status status = work.Decode(stored_bytes);
  if (!status.ok() || work.back != work.raw) {
    state.SkipWithError("the chunk does not come back");
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
  state.counters["ratio"] =
      static_cast<double>(kBytes) / static_cast<double>(stored_bytes);
}

void BM_EncodeChunk(benchmark::State& state, const Kind& kind) {
  Work work;
  kind.fill(absl::MakeSpan(work.raw));
  int64_t stored_bytes = 0;
  for (auto _ : state) {
    const auto size = work.Encode(kind.dtype);
    if (!size.ok()) {
      return state.SkipWithError(size.status().ToString().c_str());
    }
    stored_bytes = *size;
  }
  Report(state, work, stored_bytes);
}

void BM_DecodeChunk(benchmark::State& state, const Kind& kind) {
  Work work;
  kind.fill(absl::MakeSpan(work.raw));
  const auto size = work.Encode(kind.dtype);
  if (!size.ok()) {
    return state.SkipWithError(size.status().ToString().c_str());
  }
  for (auto _ : state) {
    const absl::Status status = work.Decode(*size);
    if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  }
  Report(state, work, *size);
}

const int kRegistered = [] {
  for (const Kind& kind : kKinds) {
    benchmark::RegisterBenchmark(
        (std::string("BM_EncodeChunk/") + kind.name).c_str(), BM_EncodeChunk,
        kind)
        ->UseRealTime();
    benchmark::RegisterBenchmark(
        (std::string("BM_DecodeChunk/") + kind.name).c_str(), BM_DecodeChunk,
        kind)
        ->UseRealTime();
  }
  return 0;
}();

}  // namespace
}  // namespace penstock
