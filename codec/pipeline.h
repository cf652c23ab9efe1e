// The pump: source -> pipeline -> sink. Every job of Penstock is one call of
// it. The only home of TBB.

#ifndef PENSTOCK_CODEC_PIPELINE_H_
#define PENSTOCK_CODEC_PIPELINE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/plan.h"
#include "codec/sink.h"
#include "codec/source.h"
#include "core/progress.h"

namespace penstock {

struct PumpOptions {
  // That work on chunks; 0: the machine's cores. Those that only wait for a
  // disk (Sink::WaitingThreads) come on top.
  int threads = 0;
  int64_t memory_bytes = 256LL << 20;  // for slots and blocks
  // Called in order with raw bytes: for the first chunk, then some dozen times
  // a second, and for the last one. It may run on any thread of the run. May be
  // null.
  ProgressCallback progress;
};

inline constexpr int kMaxThreads = 256;

// What a run did. For reports and tests.
struct PumpStats {
  int threads = 0;     // that worked on at least one chunk
  int slots = 0;       // the most chunks that were under way at once
  double seconds = 0;  // with both Finish
};

// min(2 x threads + 2 + waiting threads, what `memory_bytes` allows). Pump
// calls it with what the ends ask for plus the zstd contexts of a slot. Errors:
// kInvalidArgument under two slots (the message names the least budget), or for
// a number of threads outside of [0, kMaxThreads].
absl::StatusOr<int> CountSlots(const PumpOptions& options,
                               int64_t bytes_per_slot, int waiting_threads = 0);

// Sends every chunk of `plan` from `source`, which it starts, to `sink` and
// finishes both:
//
//   fill   in order   takes a slot; Source::Begin
//   work   parallel   Sink::Target, Source::Bytes (LendPieces where the sink
//                     takes pieces), then Sink::Encode
//   place  in order   Sink::Place; progress
//   write  parallel   Sink::Write (or in order: Sink::writes_in_order), by
//                     threads of its own where it waits for a disk
//                     (Sink::WaitingThreads); gives the slot back, whatever
//                     happened
//
// A chunk whose stage failed gets no later stage. After an error no new chunk
// is begun, chunks behind the failed one get no further stage, and neither
// Finish is called; those before it go on, so that the error of the lowest
// chunk is returned whatever the threads did. Cancellation stops them all and
// wins. An exception in a stage or in `progress` is an error too:
// kResourceExhausted for std::bad_alloc, kInternal for others.
//
// `threads` is exact, also above the machine's cores: a tbb::global_control,
// the one process-wide setting, is held for the run. Where others are held at
// the same time (another Pump's, the caller's) TBB goes by the lowest. When the
// call returns no work is left; the threads that TBB started stay, asleep, in
// its pool, which belongs to the process.
//
// Thread-safe for different ends, also from within TBB tasks.
//
// Errors: those of both ends; kCancelled; kInvalidArgument (options).
absl::StatusOr<PumpStats> Pump(const Plan& plan, Source& source, Sink& sink,
                               const PumpOptions& options);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_PIPELINE_H_
