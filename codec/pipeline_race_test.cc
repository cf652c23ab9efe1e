// Planted races that ThreadSanitizer must report: they show that what tells it
// about TBB's hand-overs, and what silences TBB itself, hides none of ours.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/pipeline.h"
#include "codec/plan.h"
#include "codec/sink.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/storage.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Writes all of slot.raw for every chunk.
class WritingSource : public Source {
 public:
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan&,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t*) override {
    slot.raw.Reserve(chunk.size_bytes);
    std::fill_n(slot.raw.data(), chunk.size_bytes,
                static_cast<uint8_t>(chunk.number));
    return absl::MakeConstSpan(slot.raw.data(), chunk.size_bytes);
  }
  absl::Status Sample(const Storage&, int64_t, absl::Span<uint8_t>) override {
    return absl::OkStatus();
  }
  int64_t SlotBytes() const override { return kChunkBytes; }
};

Plan ManyChunks() {
  Plan plan;
  plan.storages = {Storage::InFile(2000 * 64, 0)};
  for (int i = 0; i < 2000; ++i) {
    Piece piece;
    piece.begin = 64 * i;
    piece.size = 64;
    plan.Append(absl::MakeConstSpan(&piece, 1));
  }
  return plan;
}

// A race shows with some luck, so there are several tries. TSan ends the
// process at the first report, or at the end with its own exit code.
void Try(Sink& sink) {
  const Plan plan = ManyChunks();
  WritingSource source;
  PumpOptions options;
  options.threads = 4;
  for (int i = 0; i < 20; ++i) {
    if (!Pump(plan, source, sink, options).ok()) std::exit(1);
  }
  std::exit(0);
}

// Counts in a parallel stage without asking anybody.
class CountingSink : public NullSink {
 public:
  absl::Status Encode(const Plan&, const Chunk&, absl::Span<const uint8_t>,
                      Slot&) override {
    ++num_chunks_;
    return absl::OkStatus();
  }

 private:
  int64_t num_chunks_ = 0;
};

// Looks at the bytes of an earlier chunk, whose slot was given back.
class LateSink : public NullSink {
 public:
  absl::Status Write(const Plan&, const Chunk& chunk, Slot& slot) override {
    // On a busy machine one thread may do all, and nothing is late.
    if (chunk.number % 16 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    const uint8_t* const before =
        before_.exchange(slot.raw.data(), std::memory_order_relaxed);
    if (before != nullptr) {
      sum_.fetch_add(before[0], std::memory_order_relaxed);
    }
    return absl::OkStatus();
  }

 private:
  std::atomic<const uint8_t*> before_{nullptr};
  std::atomic<int64_t> sum_{0};
};

class PipelineRaceDeathTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    testing::FLAGS_gtest_death_test_style = "threadsafe";
#else
    GTEST_SKIP() << "needs --config=tsan";
#endif
  }
};

constexpr int kTsanExitCode = 66;

TEST_F(PipelineRaceDeathTest, ARaceInAParallelStageIsReported) {
  CountingSink sink;
  EXPECT_EXIT(Try(sink), testing::ExitedWithCode(kTsanExitCode), "data race");
}

TEST_F(PipelineRaceDeathTest, UseOfASlotAfterItsReturnIsReported) {
  LateSink sink;
  EXPECT_EXIT(Try(sink), testing::ExitedWithCode(kTsanExitCode), "data race");
}

}  // namespace
}  // namespace penstock
