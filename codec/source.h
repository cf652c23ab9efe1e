// Source: where the bytes of chunks come from.

#ifndef PENSTOCK_CODEC_SOURCE_H_
#define PENSTOCK_CODEC_SOURCE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/plan.h"
#include "codec/slot.h"

namespace penstock {

// What a run may take, besides its slots.
struct RunLimits {
  int64_t spare_bytes = 0;  // of memory
  // Chunks that are under way at once: where chunk i is, those up to i -
  // num_slots are done.
  int num_slots = 1;
};

// One end of the pump: memory, a native file, a .pt, a device. Storages are
// those of the plan; one that is still in a file says by file_number() which.
class Source {
 public:
  virtual ~Source() = default;

  // Before the first chunk of a run: may start to read ahead. A run ends with
  // Finish, or the next Start, or this object; the plan stays until then.
  virtual void Start(const Plan& plan, const RunLimits& limits);

  // In order, one thread: starts what runs by itself (an async device copy).
  virtual absl::Status Begin(const Plan& plan, const Chunk& chunk, Slot& slot);

  // In parallel: the chunk's bytes, checked as far as one chunk can be. They
  // land in `target` (chunk.size_bytes; null: anywhere), or in slot.raw, or are
  // lent from where they are; valid until the slot is given back. Gaps between
  // pieces are zeros.
  virtual absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                          const Chunk& chunk,
                                                          Slot& slot,
                                                          uint8_t* target) = 0;

  // The same without a copy, for a sink that copies anyway: slot.pieces become
  // the chunk's pieces, each where it is. False: ask Bytes, slot.pieces mean
  // nothing.
  virtual bool LendPieces(const Plan& plan, const Chunk& chunk, Slot& slot);

  // Any bytes [begin, begin + out.size()) of a storage, for choosing a coding.
  // Not counted as read, and checked only if that costs nothing.
  virtual absl::Status Sample(const Storage& storage, int64_t begin,
                              absl::Span<uint8_t> out) = 0;

  // After the last chunk: what could only be checked with all of them (a CRC
  // over an entry that came in pieces).
  virtual absl::Status Finish();

  // For the memory budget: most bytes that it puts into one slot, without the
  // zstd contexts.
  virtual int64_t SlotBytes() const = 0;
};

// Storages that are in memory: lends single pieces, gathers several.
// Thread-safe. Errors: kInvalidArgument (a storage that is still in a file, or
// a range outside of it).
class MemorySource : public Source {
 public:
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  bool LendPieces(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  int64_t SlotBytes() const override { return kRunBytes; }
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_SOURCE_H_
