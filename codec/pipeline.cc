#include "codec/pipeline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <limits>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"
#include "codec/compressor.h"
#include "core/checked.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "tbb/global_control.h"
#include "tbb/parallel_pipeline.h"
#include "tbb/task_arena.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENSTOCK_TSAN
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PENSTOCK_TSAN
#endif
// For the bodies of filters, which only pass on: they lie in memory that TBB
// makes and hands to its workers where TSan does not see it. What they call is
// instrumented as ever.
#if defined(PENSTOCK_TSAN)
#include <sanitizer/tsan_interface.h>
#define PENSTOCK_PASSES_ON __attribute__((no_sanitize("thread")))
#else
#define PENSTOCK_PASSES_ON
#endif

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kProgressInterval(50);

// Chunk numbers in the place of a failed one.
constexpr int64_t kNoChunk = std::numeric_limits<int64_t>::max();
constexpr int64_t kBeforeAllChunks = -1;

// TBB hands an item, and an in-order stage, from one thread to the next. Its
// library is not instrumented, so TSan has to be told.
class HandOver {
 public:
#if defined(PENSTOCK_TSAN)
  explicit HandOver(void* what) : what_(what) { __tsan_acquire(what_); }
  ~HandOver() { __tsan_release(what_); }

 private:
  void* what_;
#else
  explicit HandOver(void*) {}
  ~HandOver() {}
#endif
};

template <typename Function>
absl::Status CatchExceptions(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory in the pipeline");
  } catch (const std::exception& exception) {
    return absl::InternalError(
        absl::StrFormat("exception in the pipeline: %s", exception.what()));
  } catch (...) {
    return absl::InternalError("unknown exception in the pipeline");
  }
}

int CountThreads(const PumpOptions& options) {
  if (options.threads > 0) return options.threads;
  // Zero where the system does not say.
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(cores, 1, kMaxThreads);
}

// A chunk on its way, and the slot that it rides in.
struct Item {
  const Chunk* chunk = nullptr;
  std::thread::id worker;
  Slot slot;
};

// One call of Pump: the stages and what they share.
class Run {
 public:
  Run(const Plan& plan, Source& source, Sink& sink,
      const ProgressCallback& progress, int num_slots)
      : plan_(plan),
        source_(source),
        sink_(sink),
        progress_(progress),
        items_(num_slots) {
    for (int i = 0; i < num_slots; ++i) {
      items_[i].slot.index = i;
      free_.push_back(&items_[i]);
    }
  }

  ~Run() { JoinWriters(); }

  absl::Status SendAll(int threads);
  int num_workers() const { return static_cast<int>(workers_.size()); }

 private:
  Item* Fill(tbb::flow_control& flow);
  void Work(Item& item);
  void Place(Item& item);
  void Write(Item& item);
  void WriteNow(Item& item);

  void StartWriters() ABSL_LOCKS_EXCLUDED(mutex_);
  void JoinWriters() ABSL_LOCKS_EXCLUDED(mutex_);
  void WriteQueued() ABSL_LOCKS_EXCLUDED(mutex_);

  template <typename Function>
  void RunStage(Item& item, Function function);
  void Note(int64_t chunk_number, const absl::Status& status);
  void GiveBack(Item& item);
  absl::Status Report(const Chunk& chunk);
  absl::Status CheckAllSent();

  const Plan& plan_;
  Source& source_;
  Sink& sink_;
  const ProgressCallback& progress_;
  std::vector<Item> items_;

  // Of `fill`.
  size_t next_chunk_ = 0;
  // Of `place`.
  absl::flat_hash_set<std::thread::id> workers_;
  int64_t done_bytes_ = 0;
  Clock::time_point last_report_;
  // Of an in-order `write`; only its address counts.
  char write_order_ = 0;
  // Threads that write, where writing is waiting.
  std::vector<std::thread> writers_;

  Mutex mutex_;
  CondVar changed_;
  std::vector<Item*> free_ ABSL_GUARDED_BY(mutex_);
  std::deque<Item*> placed_ ABSL_GUARDED_BY(mutex_);  // for the writers
  bool all_placed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  // The lowest chunk that failed. Written under the mutex.
  std::atomic<int64_t> failed_chunk_{kNoChunk};
};

absl::Status Run::SendAll(int threads) {
  const tbb::global_control control(
      tbb::global_control::max_allowed_parallelism, threads);
  // An arena larger than what somebody else's control leaves makes TBB print.
  tbb::task_arena arena(static_cast<int>(tbb::global_control::active_value(
      tbb::global_control::max_allowed_parallelism)));
  StartWriters();
  arena.execute([this] {
    // Isolated: if the caller's own group is cancelled, chunks must not vanish.
    tbb::task_group_context context(tbb::task_group_context::isolated);
    { const HandOver from_caller(&next_chunk_); }
    const auto write_mode = sink_.writes_in_order()
                                ? tbb::filter_mode::serial_in_order
                                : tbb::filter_mode::parallel;
    tbb::parallel_pipeline(
        items_.size(),
        tbb::make_filter<void, Item*>(
            tbb::filter_mode::serial_in_order,
            [this](tbb::flow_control& flow)
                PENSTOCK_PASSES_ON { return Fill(flow); }) &
            tbb::make_filter<Item*, Item*>(tbb::filter_mode::parallel,
                                           [this](Item* item)
                                               PENSTOCK_PASSES_ON {
                                                 Work(*item);
                                                 return item;
                                               }) &
            tbb::make_filter<Item*, Item*>(tbb::filter_mode::serial_in_order,
                                           [this](Item* item)
                                               PENSTOCK_PASSES_ON {
                                                 Place(*item);
                                                 return item;
                                               }) &
            tbb::make_filter<Item*, void>(
                write_mode,
                [this](Item* item) PENSTOCK_PASSES_ON { Write(*item); }),
        context);
  });
  JoinWriters();
  return CheckAllSent();
}

// Threads of TBB that wait for a disk leave nobody to make what goes out next,
// and come back from it all at once: then nothing is under way while they work.
void Run::StartWriters() {
  const int wanted = sink_.writes_in_order() ? 0 : sink_.WaitingThreads();
  try {
    while (static_cast<int>(writers_.size()) < wanted) {
      writers_.emplace_back([this] { WriteQueued(); });
    }
  } catch (const std::system_error&) {
    // Fewer will do, and without any the workers write.
  }
}

void Run::JoinWriters() {
  {
    MutexLock lock(mutex_);
    all_placed_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& writer : writers_) writer.join();
  writers_.clear();
}

void Run::WriteQueued() {
  mutex_.lock();
  while (true) {
    while (placed_.empty() && !all_placed_) changed_.Wait(mutex_);
    if (placed_.empty()) break;
    Item& item = *placed_.front();
    placed_.pop_front();
    mutex_.unlock();
    WriteNow(item);
    mutex_.lock();
  }
  mutex_.unlock();
}

Item* Run::Fill(tbb::flow_control& flow) {
  const HandOver order(&next_chunk_);
  Item* item = nullptr;
  {
    MutexLock lock(mutex_);
    if (next_chunk_ == plan_.chunks.size() || !error_.ok()) {
      flow.stop();
      return nullptr;
    }
    // TBB has at most as many items under way as there are slots; those that
    // wait for a writer come back without it.
    while (free_.empty()) changed_.Wait(mutex_);
    item = free_.back();
    free_.pop_back();
  }
  item->chunk = &plan_.chunks[next_chunk_++];
  RunStage(*item, [this, item] {
    return source_.Begin(plan_, *item->chunk, item->slot);
  });
  return item;
}

void Run::Work(Item& item) {
  RunStage(item, [this, &item]() -> absl::Status {
    item.worker = std::this_thread::get_id();
    const Chunk& chunk = *item.chunk;
    uint8_t* const target = sink_.Target(plan_, chunk, item.slot);
    item.slot.crcs.clear();
    if (sink_.TakesPieces(chunk) &&
        source_.LendPieces(plan_, chunk, item.slot)) {
      return sink_.Encode(plan_, chunk,
                          absl::MakeConstSpan(target, chunk.size_bytes),
                          item.slot);
    }
    item.slot.pieces.clear();
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes,
                              source_.Bytes(plan_, chunk, item.slot, target));
    if (static_cast<int64_t>(bytes.size()) != chunk.size_bytes) {
      return absl::InternalError(
          absl::StrFormat("chunk %d has %d bytes, its source gave %d",
                          chunk.number, chunk.size_bytes, bytes.size()));
    }
    return sink_.Encode(plan_, chunk, bytes, item.slot);
  });
}

void Run::Place(Item& item) {
  const HandOver order(&workers_);
  RunStage(item, [this, &item]() -> absl::Status {
    workers_.insert(item.worker);
    PENSTOCK_RETURN_IF_ERROR(sink_.Place(plan_, *item.chunk, item.slot));
    return Report(*item.chunk);
  });
}

void Run::Write(Item& item) {
  bool has_writers = false;
  {
    const HandOver from_place(&item);
    has_writers = !writers_.empty();
  }
  if (!has_writers) return WriteNow(item);
  MutexLock lock(mutex_);
  placed_.push_back(&item);
  changed_.NotifyAll();
}

void Run::WriteNow(Item& item) {
  RunStage(item, [this, &item] {
    if (!sink_.writes_in_order()) {
      return sink_.Write(plan_, *item.chunk, item.slot);
    }
    const HandOver order(&write_order_);
    return sink_.Write(plan_, *item.chunk, item.slot);
  });
  GiveBack(item);
}

// Chunks before a failed one go on: they may fail as well, and which error is
// returned must not depend on who came first.
template <typename Function>
void Run::RunStage(Item& item, Function function) {
  const HandOver hand_over(&item);
  const int64_t number = item.chunk->number;
  if (number >= failed_chunk_.load(std::memory_order_relaxed)) return;
  Note(number, CatchExceptions(function));
}

void Run::Note(int64_t chunk_number, const absl::Status& status) {
  if (status.ok()) return;
  MutexLock lock(mutex_);
  if (chunk_number >= failed_chunk_.load(std::memory_order_relaxed)) return;
  failed_chunk_.store(chunk_number, std::memory_order_relaxed);
  error_ = status;
}

void Run::GiveBack(Item& item) {
  MutexLock lock(mutex_);
  free_.push_back(&item);
  changed_.NotifyAll();
}

absl::Status Run::Report(const Chunk& chunk) {
  if (!progress_) return absl::OkStatus();
  for (const Piece& piece : plan_.pieces_of(chunk)) done_bytes_ += piece.size;
  const Clock::time_point now = Clock::now();
  const bool last =
      chunk.number + 1 == static_cast<int64_t>(plan_.chunks.size());
  if (chunk.number > 0 && !last && now - last_report_ < kProgressInterval) {
    return absl::OkStatus();
  }
  last_report_ = now;
  Progress progress;
  progress.done_bytes = done_bytes_;
  progress.total_bytes = plan_.total_bytes;
  if (progress_(progress) == Proceed::kCancel) {
    Note(kBeforeAllChunks, absl::CancelledError("cancelled by the caller"));
  }
  return absl::OkStatus();
}

// The mutex also shows this thread all that the others did.
absl::Status Run::CheckAllSent() {
  MutexLock lock(mutex_);
  PENSTOCK_CHECK(free_.size() == items_.size());
  PENSTOCK_CHECK(!error_.ok() || next_chunk_ == plan_.chunks.size());
  return error_;
}

// Many slots can do with a few less, so that a source can read ahead.
RunLimits LimitsOf(int64_t memory_bytes, int64_t bytes_per_slot,
                   int num_slots) {
  constexpr int64_t kEnoughSlots = 8;
  constexpr int64_t kSpareBytes = int64_t{16} << 20;
  if (num_slots > kEnoughSlots &&
      memory_bytes >= kEnoughSlots * bytes_per_slot + kSpareBytes) {
    num_slots = static_cast<int>(std::min<int64_t>(
        num_slots, (memory_bytes - kSpareBytes) / bytes_per_slot));
  }
  return {memory_bytes - num_slots * bytes_per_slot, num_slots};
}

absl::Status FinishBoth(const Plan& plan, Source& source, Sink& sink) {
  PENSTOCK_RETURN_IF_ERROR(source.Finish());
  return sink.Finish(plan);
}

}  // namespace

absl::StatusOr<int> CountSlots(const PumpOptions& options,
                               int64_t bytes_per_slot, int waiting_threads) {
  PENSTOCK_CHECK(bytes_per_slot >= 0 && bytes_per_slot < kNoChunk / 2);
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d threads: expected 1 to %d, or 0 for all cores",
                        options.threads, kMaxThreads));
  }
  const int64_t wanted = 2 * CountThreads(options) + 2 + waiting_threads;
  if (options.memory_bytes < 2 * bytes_per_slot) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a memory budget of %d bytes is too small: the least is %d",
        options.memory_bytes, 2 * bytes_per_slot));
  }
  if (bytes_per_slot == 0) return static_cast<int>(wanted);
  return static_cast<int>(
      std::min(wanted, options.memory_bytes / bytes_per_slot));
}

absl::StatusOr<PumpStats> Pump(const Plan& plan, Source& source, Sink& sink,
                               const PumpOptions& options) {
  const Clock::time_point start = Clock::now();
  const int64_t slot_bytes = source.SlotBytes() + sink.SlotBytes() +
                             Compressor::MaxContextBytes() +
                             Decompressor::MaxContextBytes();
  PENSTOCK_ASSIGN_OR_RETURN(
      const int most_slots,
      CountSlots(options, slot_bytes, sink.WaitingThreads()));
  const RunLimits limits =
      LimitsOf(options.memory_bytes, slot_bytes, most_slots);
  PumpStats stats;
  stats.slots = limits.num_slots;
  const absl::Status status = CatchExceptions([&] {
    Run run(plan, source, sink, options.progress, limits.num_slots);
    source.Start(plan, limits);
    absl::Status sent = run.SendAll(CountThreads(options));
    stats.threads = run.num_workers();
    return sent.ok() ? FinishBoth(plan, source, sink) : sent;
  });
  PENSTOCK_RETURN_IF_ERROR(status);
  stats.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return stats;
}

}  // namespace penstock
