#include "codec/pipeline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::shared_ptr<Storage> RandomStorage(int64_t size, std::mt19937& random) {
  auto storage = Storage::Allocate(size);
  EXPECT_TRUE(storage.ok());
  const absl::Span<uint8_t> bytes = (*storage)->mutable_bytes();
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint32_t)) {
    const auto word = static_cast<uint32_t>(random());
    std::memcpy(&bytes[i], &word, std::min(sizeof(word), bytes.size() - i));
  }
  return *storage;
}

std::vector<std::shared_ptr<const Storage>> RandomStorages(
    const std::vector<int64_t>& sizes, int seed) {
  std::mt19937 random(seed);
  std::vector<std::shared_ptr<const Storage>> storages;
  for (const int64_t size : sizes) {
    storages.push_back(RandomStorage(size, random));
  }
  return storages;
}

// A plan of `count` chunks of one small piece each.
Plan SmallPlan(int count) {
  std::mt19937 random(1);
  Plan plan;
  plan.storages.push_back(RandomStorage(64 * count, random));
  for (int i = 0; i < count; ++i) {
    Piece piece;
    piece.begin = 64 * i;
    piece.size = 64;
    plan.Append(absl::MakeConstSpan(&piece, 1));
  }
  return plan;
}

PumpOptions Threads(int threads) {
  PumpOptions options;
  options.threads = threads;
  return options;
}

enum class Stage { kNone, kBegin, kBytes, kEncode, kPlace, kWrite };

enum class Fault { kStatus, kBadAlloc, kException };

// What happens at stage `stage` of chunk `chunk`, and what was seen. One of it
// is shared by both ends of a run.
struct Script {
  Stage stage = Stage::kNone;
  int64_t chunk = -1;
  Fault fault = Fault::kStatus;
  bool fail_source_finish = false;
  bool fail_sink_finish = false;

  absl::Status Visit(Stage at, int64_t number) const {
    if (at != stage || number != chunk) return absl::OkStatus();
    if (fault == Fault::kBadAlloc) throw std::bad_alloc();
    if (fault == Fault::kException) throw std::runtime_error("planted");
    return absl::DataLossError(absl::StrCat("planted in chunk ", number));
  }
};

class ScriptedSource : public MemorySource {
 public:
  explicit ScriptedSource(const Script& script) : script_(script) {}

  absl::Status Begin(const Plan&, const Chunk& chunk, Slot& slot) override {
    EXPECT_EQ(chunk.number, next_begin_++);
    MutexLock lock(mutex_);
    EXPECT_TRUE(busy_.insert(slot.index).second) << "slot given out twice";
    most_busy_ = std::max(most_busy_, busy_.size());
    return script_.Visit(Stage::kBegin, chunk.number);
  }
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    PENSTOCK_RETURN_IF_ERROR(script_.Visit(Stage::kBytes, chunk.number));
    return MemorySource::Bytes(plan, chunk, slot, target);
  }
  absl::Status Finish() override {
    ++num_finishes;
    return script_.fail_source_finish ? absl::DataLossError("source's end")
                                      : absl::OkStatus();
  }

  // The slot of a chunk that got to its end.
  void Release(int slot) {
    MutexLock lock(mutex_);
    busy_.erase(slot);
  }
  int most_busy() const { return static_cast<int>(most_busy_); }
  int64_t num_begun() const { return next_begin_; }

  int num_finishes = 0;

 private:
  const Script& script_;
  int64_t next_begin_ = 0;
  Mutex mutex_;
  std::set<int> busy_;
  size_t most_busy_ = 0;
};

class ScriptedSink : public Sink {
 public:
  ScriptedSink(const Script& script, ScriptedSource& source, int num_chunks)
      : script_(script), source_(source), visits(num_chunks) {}

  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot&) override {
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), chunk.size_bytes);
    EXPECT_EQ(plan.chunks[chunk.number].size_bytes, chunk.size_bytes);
    ++visits[chunk.number].encoded;
    return script_.Visit(Stage::kEncode, chunk.number);
  }
  absl::Status Place(const Plan&, const Chunk& chunk, Slot&) override {
    EXPECT_EQ(chunk.number, next_place_++);
    ++visits[chunk.number].placed;
    return script_.Visit(Stage::kPlace, chunk.number);
  }
  absl::Status Write(const Plan&, const Chunk& chunk, Slot& slot) override {
    if (in_order) {
      EXPECT_EQ(chunk.number, next_write_++);
    }
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    ++visits[chunk.number].written;
    source_.Release(slot.index);
    return script_.Visit(Stage::kWrite, chunk.number);
  }
  bool writes_in_order() const override { return in_order; }
  absl::Status Finish(const Plan&) override {
    ++num_finishes;
    return script_.fail_sink_finish ? absl::ResourceExhaustedError("sink's end")
                                    : absl::OkStatus();
  }
  int64_t SlotBytes() const override { return 0; }

 private:
  const Script& script_;
  ScriptedSource& source_;
  int64_t next_place_ = 0;
  int64_t next_write_ = 0;

 public:
  struct Visits {
    std::atomic<int> encoded{0};
    std::atomic<int> placed{0};
    std::atomic<int> written{0};
  };
  std::vector<Visits> visits;
  bool in_order = false;
  std::chrono::milliseconds delay{0};
  int num_finishes = 0;
};

TEST(PipelineTest, EveryChunkGoesExactlyOnceThroughEveryStageInOrder) {
  constexpr int kChunks = 300;
  const Plan plan = SmallPlan(kChunks);
  for (const bool in_order : {false, true}) {
    for (const int threads : {1, 2, 8}) {
      SCOPED_TRACE(threads);
      const Script script;
      ScriptedSource source(script);
      ScriptedSink sink(script, source, kChunks);
      sink.in_order = in_order;
      const auto stats = Pump(plan, source, sink, Threads(threads));
      ASSERT_TRUE(stats.ok()) << stats.status();
      for (const auto& visits : sink.visits) {
        EXPECT_EQ(visits.encoded, 1);
        EXPECT_EQ(visits.placed, 1);
        EXPECT_EQ(visits.written, 1);
      }
      EXPECT_EQ(source.num_begun(), kChunks);
      EXPECT_EQ(source.num_finishes, 1);
      EXPECT_EQ(sink.num_finishes, 1);
      EXPECT_EQ(stats->slots, 2 * threads + 2);
      EXPECT_GE(stats->threads, 1);
      EXPECT_LE(stats->threads, threads);
      EXPECT_LE(source.most_busy(), stats->slots);
    }
  }
}

// Holds every chunk until `wanted` threads are inside of Bytes at once.
class MeetingSource : public MemorySource {
 public:
  explicit MeetingSource(int wanted) : wanted_(wanted) {}

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    ++present_;
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (present_ < wanted_ && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return MemorySource::Bytes(plan, chunk, slot, target);
  }

 private:
  const int wanted_;
  std::atomic<int> present_{0};
};

// TBB alone never runs more threads than the machine has cores.
TEST(PipelineTest, ThreadsMeansThreadsAlsoBeyondTheCores) {
  const Plan plan = SmallPlan(64);
  for (const int threads : {1, 3, 8}) {
    SCOPED_TRACE(threads);
    MeetingSource source(threads);
    NullSink sink;
    const auto stats = Pump(plan, source, sink, Threads(threads));
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_EQ(stats->threads, threads);
  }
}

TEST(PipelineTest, MemoryArrivesEqualAtAnyThreadCount) {
  const auto storages = RandomStorages(
      {0, 5, 70000, 3 * kChunkBytes + 1, 64, 1, 900000, 200000, 0, kChunkBytes},
      2);
  const Plan plan = PlanInOrder(storages);
  for (const int threads : {1, 2, 8}) {
    SCOPED_TRACE(threads);
    std::vector<MemorySink::Window> windows(storages.size());
    for (size_t i = 0; i < storages.size(); ++i) {
      windows[i].storage = *Storage::Allocate(storages[i]->size_bytes());
    }
    MemorySource source;
    MemorySink sink(windows);
    ASSERT_TRUE(Pump(plan, source, sink, Threads(threads)).ok());
    for (size_t i = 0; i < storages.size(); ++i) {
      EXPECT_TRUE(windows[i].storage->bytes() == storages[i]->bytes()) << i;
    }
  }
}

TEST(PipelineTest, WithoutChunksBothEndsFinish) {
  const Script script;
  ScriptedSource source(script);
  ScriptedSink sink(script, source, 0);
  const auto stats = Pump(Plan(), source, sink, Threads(2));
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->threads, 0);
  EXPECT_EQ(source.num_finishes, 1);
  EXPECT_EQ(sink.num_finishes, 1);
}

// Pump itself checks that every slot came back.
TEST(PipelineTest, AnErrorInAnyStageOfAnyChunkSurfacesAndNothingFinishes) {
  constexpr int kChunks = 40;
  const Plan plan = SmallPlan(kChunks);
  for (const Stage stage : {Stage::kBegin, Stage::kBytes, Stage::kEncode,
                            Stage::kPlace, Stage::kWrite}) {
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      SCOPED_TRACE(absl::StrCat(static_cast<int>(stage), " ", chunk));
      Script script;
      script.stage = stage;
      script.chunk = chunk;
      ScriptedSource source(script);
      ScriptedSink sink(script, source, kChunks);
      sink.in_order = chunk % 2 == 1;
      const auto stats = Pump(plan, source, sink, Threads(1 + chunk % 4));
      ASSERT_EQ(stats.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_EQ(stats.status().message(),
                absl::StrCat("planted in chunk ", chunk));
      EXPECT_EQ(source.num_finishes, 0);
      EXPECT_EQ(sink.num_finishes, 0);
      // A stage that failed is the chunk's last.
      const auto& visits = sink.visits[chunk];
      EXPECT_EQ(visits.encoded, stage >= Stage::kEncode ? 1 : 0);
      EXPECT_EQ(visits.placed, stage >= Stage::kPlace ? 1 : 0);
      EXPECT_EQ(visits.written, stage >= Stage::kWrite ? 1 : 0);
    }
  }
}

TEST(PipelineTest, FailingFinishIsReported) {
  const Plan plan = SmallPlan(3);
  Script script;
  script.fail_source_finish = true;
  ScriptedSource source(script);
  ScriptedSink sink(script, source, 3);
  EXPECT_EQ(Pump(plan, source, sink, Threads(2)).status().message(),
            "source's end");
  EXPECT_EQ(sink.num_finishes, 0);

  Script script2;
  script2.fail_sink_finish = true;
  ScriptedSource source2(script2);
  ScriptedSink sink2(script2, source2, 3);
  EXPECT_EQ(Pump(plan, source2, sink2, Threads(2)).status().message(),
            "sink's end");
}

TEST(PipelineTest, ExceptionsBecomeErrors) {
  const Plan plan = SmallPlan(10);
  for (const Stage stage : {Stage::kBegin, Stage::kBytes, Stage::kEncode,
                            Stage::kPlace, Stage::kWrite}) {
    for (const Fault fault : {Fault::kBadAlloc, Fault::kException}) {
      Script script;
      script.stage = stage;
      script.chunk = 4;
      script.fault = fault;
      ScriptedSource source(script);
      ScriptedSink sink(script, source, 10);
      const auto status = Pump(plan, source, sink, Threads(2)).status();
      if (fault == Fault::kBadAlloc) {
        EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
      } else {
        EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
        EXPECT_THAT(std::string(status.message()), HasSubstr("planted"));
      }
    }
  }
}

// The later a chunk, the sooner it fails.
class EveryChunkFails : public NullSink {
 public:
  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t>, Slot&) override {
    if (chunk.number < first_bad) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(
        plan.chunks.size() - static_cast<size_t>(chunk.number)));
    return absl::DataLossError(absl::StrCat("chunk ", chunk.number));
  }
  int64_t first_bad = 0;
};

TEST(PipelineTest, ErrorOfTheLowestChunkWins) {
  const Plan plan = SmallPlan(30);
  for (int first_bad = 0; first_bad < 30; first_bad += 3) {
    MemorySource source;
    EveryChunkFails sink;
    sink.first_bad = first_bad;
    EXPECT_EQ(Pump(plan, source, sink, Threads(8)).status().message(),
              absl::StrCat("chunk ", first_bad));
  }
}

TEST(PipelineTest, AnErrorEndsTheRunWithinTheSlots) {
  constexpr int kChunks = 10000;
  const Plan plan = SmallPlan(kChunks);
  Script script;
  script.stage = Stage::kWrite;
  script.chunk = 100;
  ScriptedSource source(script);
  ScriptedSink sink(script, source, kChunks);
  EXPECT_FALSE(Pump(plan, source, sink, Threads(4)).ok());
  // Behind chunk 100 at most as many were begun as there are slots, each time
  // one of those before it came back.
  EXPECT_LE(source.num_begun(), 100 + 2 * (2 * 4 + 2));
}

TEST(PipelineTest, ProgressGrowsToTheTotal) {
  const Plan plan = SmallPlan(200);
  MemorySource source;
  NullSink sink;
  std::vector<int64_t> done;
  PumpOptions options = Threads(4);
  options.progress = [&](const Progress& progress) {
    EXPECT_EQ(progress.total_bytes, plan.total_bytes);
    done.push_back(progress.done_bytes);
    return Proceed::kContinue;
  };
  ASSERT_TRUE(Pump(plan, source, sink, options).ok());
  ASSERT_GE(done.size(), 2u);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.front(), 64);
  EXPECT_EQ(done.back(), plan.total_bytes);
  EXPECT_LT(done.size(), 100u) << "called for too many chunks";
}

TEST(PipelineTest, CancellingStopsAtOnce) {
  constexpr int kChunks = 2000;
  const Plan plan = SmallPlan(kChunks);
  const Script script;
  ScriptedSource source(script);
  ScriptedSink sink(script, source, kChunks);
  sink.delay = std::chrono::milliseconds(5);
  PumpOptions options = Threads(2);
  int calls = 0;
  options.progress = [&](const Progress&) {
    return ++calls == 3 ? Proceed::kCancel : Proceed::kContinue;
  };
  const auto status = Pump(plan, source, sink, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
  EXPECT_LT(source.num_begun(), kChunks);
  EXPECT_EQ(source.num_finishes, 0);
  EXPECT_EQ(sink.num_finishes, 0);
}

TEST(PipelineTest, CancellingAtTheLastCallCounts) {
  const Plan plan = SmallPlan(5);
  MemorySource source;
  NullSink sink;
  PumpOptions options = Threads(2);
  options.progress = [](const Progress& progress) {
    return progress.done_bytes == progress.total_bytes ? Proceed::kCancel
                                                       : Proceed::kContinue;
  };
  EXPECT_EQ(Pump(plan, source, sink, options).status().code(),
            absl::StatusCode::kCancelled);
}

TEST(PipelineTest, AnExceptionInProgressIsAnError) {
  const Plan plan = SmallPlan(5);
  MemorySource source;
  NullSink sink;
  PumpOptions options = Threads(2);
  options.progress = [](const Progress&) -> Proceed {
    throw std::runtime_error("callback");
  };
  EXPECT_THAT(std::string(Pump(plan, source, sink, options).status().message()),
              HasSubstr("callback"));
}

TEST(PipelineTest, SourceOfTheWrongLengthIsABug) {
  class ShortSource : public MemorySource {
   public:
    absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan&, const Chunk&,
                                                    Slot&, uint8_t*) override {
      return absl::Span<const uint8_t>();
    }
  };
  ShortSource source;
  NullSink sink;
  EXPECT_EQ(Pump(SmallPlan(1), source, sink, Threads(1)).status().code(),
            absl::StatusCode::kInternal);
}

TEST(PipelineTest, BudgetBoundsTheSlots) {
  PumpOptions options = Threads(4);
  options.memory_bytes = 1000;
  EXPECT_EQ(*CountSlots(options, 0), 10);
  EXPECT_EQ(*CountSlots(options, 0, 3), 13);
  EXPECT_EQ(*CountSlots(options, 100), 10);
  EXPECT_EQ(*CountSlots(options, 101), 9);
  EXPECT_EQ(*CountSlots(options, 500), 2);
  const auto status = CountSlots(options, 501).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1002"));
  options.memory_bytes = -1;
  EXPECT_EQ(CountSlots(options, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(PipelineTest, ImpossibleThreadCountsAreRefused) {
  for (const int threads : {-1, kMaxThreads + 1}) {
    EXPECT_EQ(CountSlots(Threads(threads), 0).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(CountSlots(Threads(0), 0).ok());
}

TEST(PipelineTest, PumpRefusesABudgetUnderTwoSlots) {
  MemorySource source;
  NullSink sink;
  PumpOptions options = Threads(2);
  options.memory_bytes = kChunkBytes;
  const auto status = Pump(SmallPlan(1), source, sink, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

// A slow sink must hold the source back, or memory grows with the checkpoint.
TEST(PipelineTest, ASlowSinkHoldsTheSourceBack) {
  constexpr int kChunks = 60;
  const Plan plan = SmallPlan(kChunks);
  for (const bool in_order : {false, true}) {
    const Script script;
    ScriptedSource source(script);
    ScriptedSink sink(script, source, kChunks);
    sink.in_order = in_order;
    sink.delay = std::chrono::milliseconds(2);
    const auto stats = Pump(plan, source, sink, Threads(4));
    ASSERT_TRUE(stats.ok());
    EXPECT_LE(source.most_busy(), stats->slots);
  }
}

TEST(PipelineTest, PumpsMayRunAtTheSameTimeAndWithinOneAnother) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "TBB recycles arenas' memory in code that TSan does not see";
#endif
  const Plan plan = SmallPlan(100);
  class NestingSink : public NullSink {
   public:
    absl::Status Encode(const Plan&, const Chunk& chunk,
                        absl::Span<const uint8_t>, Slot&) override {
      if (chunk.number % 25 != 0) return absl::OkStatus();
      MemorySource source;
      NullSink sink;
      return Pump(SmallPlan(20), source, sink, Threads(3)).status();
    }
  };
  std::vector<std::thread> callers;
  for (int i = 1; i <= 4; ++i) {
    callers.emplace_back([&plan, i] {
      MemorySource source;
      NestingSink sink;
      const auto stats = Pump(plan, source, sink, Threads(i));
      EXPECT_TRUE(stats.ok()) << stats.status();
    });
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace penstock
