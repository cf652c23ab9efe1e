// Sink: where the bytes of chunks go to.

#ifndef PENSTOCK_CODEC_SINK_H_
#define PENSTOCK_CODEC_SINK_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "core/file.h"

namespace penstock {

// The other end of the pump: a native file, a .pt, memory, a device, nothing.
class Sink {
 public:
  virtual ~Sink() = default;

  // In parallel: where the chunk's bytes should land (chunk.size_bytes), so
  // that loading decodes straight into the tensor, and a conversion into the
  // block that is written; null: anywhere.
  virtual uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot);

  // In parallel: whether Encode copies the chunk's bytes to Target(), so that
  // they may come as slot.pieces (Source::LendPieces). `bytes` are then the
  // room for them at Target().
  virtual bool TakesPieces(const Chunk& chunk) const;

  // In parallel: all the work on payload (hash, planes, compression, CRC).
  // slot.pieces are empty unless the chunk came so.
  virtual absl::Status Encode(const Plan& plan, const Chunk& chunk,
                              absl::Span<const uint8_t> bytes, Slot& slot) = 0;

  // In order, one thread: gives the record its place. Touches no payload.
  virtual absl::Status Place(const Plan& plan, const Chunk& chunk, Slot& slot);

  // In parallel, or in order where writes_in_order(): copies the record out.
  virtual absl::Status Write(const Plan& plan, const Chunk& chunk, Slot& slot);
  virtual bool writes_in_order() const { return false; }
  // How many threads Write keeps waiting for a device; 0: it does not wait.
  virtual int WaitingThreads() const { return 0; }

  // After the last chunk: the index, the directory, the commit's preparation.
  virtual absl::Status Finish(const Plan& plan);

  // For the memory budget: most bytes that it puts into one slot, without the
  // zstd contexts.
  virtual int64_t SlotBytes() const = 0;
};

// What Sink::WaitingThreads says for `file`: direct writes wait for the device,
// which needs a few of them at once.
int ThreadsThatWaitFor(const WritableFile& file);

// Swallows everything: the sink of `verify`.
class NullSink : public Sink {
 public:
  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override;
  int64_t SlotBytes() const override { return 0; }
};

// Fills storages in memory: window i takes storage i of the plan, from its byte
// `begin` on (0 for whole storages; the first byte wanted for a part). Bytes
// outside a window are dropped. Thread-safe: chunks do not overlap.
class MemorySink : public Sink {
 public:
  struct Window {
    std::shared_ptr<Storage> storage;  // null: not wanted
    int64_t begin = 0;  // the plan storage's byte that lands at 0
  };

  // One window for each storage of the plan.
  explicit MemorySink(std::vector<Window> windows)
      : windows_(std::move(windows)) {}

  uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override;
  int64_t SlotBytes() const override { return 0; }

 private:
  std::vector<Window> windows_;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_SINK_H_
