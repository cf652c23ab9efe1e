// What the pump itself costs: chunks whose stages do nothing, and a copy from
// memory to memory beside the memcpy that it cannot beat.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "bench/corpus.h"
#include "benchmark/benchmark.h"
#include "codec/block_writer.h"
#include "codec/pipeline.h"
#include "codec/plan.h"
#include "codec/sink.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

constexpr int64_t kBytes = 256LL << 20;

std::shared_ptr<Storage> Allocate() {
  auto storage = Storage::Allocate(kBytes);
  PENSTOCK_CHECK(storage.ok());
  return *std::move(storage);
}

// Filled once: every benchmark reads the same bytes, none writes them.
std::shared_ptr<const Storage> Noise() {
  static const std::shared_ptr<const Storage>* const noise = [] {
    std::shared_ptr<Storage> storage = Allocate();
    FillBytes(1, storage->mutable_bytes());
    return new std::shared_ptr<const Storage>(std::move(storage));
  }();
  return *noise;
}

Plan NoisePlan() {
  const std::vector<std::shared_ptr<const Storage>> storages = {Noise()};
  return PlanInOrder(storages);
}

bool Send(const Plan& plan, Sink& sink, benchmark::State& state) {
  MemorySource source;
  PumpOptions options;
  options.threads = static_cast<int>(state.range(0));
  const auto stats = Pump(plan, source, sink, options);
  if (!stats.ok()) state.SkipWithError(stats.status().ToString().c_str());
  return stats.ok();
}

void Threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("threads")->Arg(1)->Arg(2)->Arg(8)->UseRealTime();
}

// Chunks without work: items are chunks, so the inverse of items/s is what the
// pump adds to each.
void BM_ChunkOverhead(benchmark::State& state) {
  // Pieces of 64 bytes: only the number of chunks counts.
  constexpr int kChunks = 20000;
  Plan plan;
  plan.storages = {Noise()};
  for (int i = 0; i < kChunks; ++i) {
    Piece piece;
    piece.begin = 64 * i;
    piece.size = 64;
    plan.Append(absl::MakeConstSpan(&piece, 1));
  }
  for (auto _ : state) {
    NullSink sink;
    if (!Send(plan, sink, state)) return;
  }
  state.SetItemsProcessed(state.iterations() * kChunks);
}
BENCHMARK(BM_ChunkOverhead)->Apply(Threads);

// A run over an empty plan: what starting and ending costs.
void BM_EmptyRun(benchmark::State& state) {
  const Plan plan;
  for (auto _ : state) {
    NullSink sink;
    if (!Send(plan, sink, state)) return;
  }
}
BENCHMARK(BM_EmptyRun)->Apply(Threads);

// Memory to memory. Bytes are raw bytes.
void BM_PumpMemory(benchmark::State& state) {
  const Plan plan = NoisePlan();
  MemorySink::Window window;
  window.storage = Allocate();
  std::memset(window.storage->mutable_bytes().data(), 1, kBytes);
  for (auto _ : state) {
    MemorySink sink({window});
    if (!Send(plan, sink, state)) return;
  }
  if (window.storage->bytes() != Noise()->bytes()) {
    return state.SkipWithError("the copy differs");
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}
BENCHMARK(BM_PumpMemory)->Apply(Threads);

// The ceiling of BM_PumpMemory with one thread.
void BM_Memcpy(benchmark::State& state) {
  const std::shared_ptr<Storage> target = Allocate();
  uint8_t* const to = target->mutable_bytes().data();
  std::memset(to, 1, kBytes);
  const uint8_t* const from = Noise()->bytes().data();
  for (auto _ : state) {
    std::memcpy(to, from, kBytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}
BENCHMARK(BM_Memcpy)->UseRealTime();

// Takes blocks and forgets them, so that only the way there is measured.
class ForgetfulFile : public WritableFile {
 public:
  absl::Status Write(int64_t, absl::Span<const uint8_t> bytes) override {
    benchmark::DoNotOptimize(bytes.data());
    return absl::OkStatus();
  }
  absl::Status Allocate(int64_t) override { return absl::OkStatus(); }
  absl::Status Truncate(int64_t) override { return absl::OkStatus(); }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  bool direct() const override { return true; }
  bool sequential() const override { return false; }
  const std::string& path() const override { return path_; }

 private:
  const std::string path_ = "forgetful";
};

// Chunks as they are, through a BlockWriter.
class BlockSink : public NullSink {
 public:
  explicit BlockSink(WritableFile& file) : writer_(file) {}

  absl::Status Encode(const Plan&, const Chunk&,
                      absl::Span<const uint8_t> bytes, Slot& slot) override {
    slot.parts = {bytes};
    return absl::OkStatus();
  }
  absl::Status Place(const Plan&, const Chunk&, Slot& slot) override {
    writer_.Place(slot.parts, slot.block);
    return absl::OkStatus();
  }
  absl::Status Write(const Plan&, const Chunk&, Slot& slot) override {
    return writer_.Write(slot.parts, slot.block);
  }
  absl::Status Finish(const Plan&) override { return writer_.Finish(); }
  int64_t SlotBytes() const override {
    return BlockWriter::BlockBytes(kChunkBytes);
  }

 private:
  BlockWriter writer_;
};

// Memory to blocks. Bytes are raw bytes.
void BM_PumpBlocks(benchmark::State& state) {
  const Plan plan = NoisePlan();
  for (auto _ : state) {
    ForgetfulFile file;
    BlockSink sink(file);
    if (!Send(plan, sink, state)) return;
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}
BENCHMARK(BM_PumpBlocks)->Apply(Threads);

}  // namespace
}  // namespace penstock
