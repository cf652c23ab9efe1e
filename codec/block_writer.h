// BlockWriter: turns records that many threads finish in any order into aligned
// blocks, written around the page cache.

#ifndef PENSTOCK_CODEC_BLOCK_WRITER_H_
#define PENSTOCK_CODEC_BLOCK_WRITER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

inline constexpr int64_t kBlockBytes = 1 << 20;

// A byte range of the file.
struct BlockReservation {
  int64_t offset = 0;
  int64_t size_bytes = 0;
};

// Reserve hands out the file in order; Fill copies a record into its blocks,
// and whoever completes a block writes it out by position. A record may span
// blocks, a block holds parts of several records.
//
// Blocks are made when first needed and reused as soon as they are written;
// none is ever waited for. A block in use is the last one or holds bytes of a
// reservation in flight: reserved, and its Fill not returned. So with n of
// these, none larger than `largest_record`, BlocksNeeded(n, largest_record)
// suffice; Reserve CHECKs that. A larger run of bytes goes through Append.
//
// The first error ends it: from then on nothing is written, and every Fill
// returns an error. Reservations that are never filled are harmless then.
//
// Over a sequential file (a pipe) Fill must come in the order of Reserve, one
// thread at a time; then blocks go out in order. Thread-safe except Reserve,
// Append and Finish, which are one thread's (the pipeline's in-order stage,
// then the end).
class BlockWriter {
 public:
  static int64_t BlocksNeeded(int64_t in_flight, int64_t largest_record);

  // `file` outlives the writer. `max_blocks` is a bound and reserves nothing,
  // so it may be that of the largest number of slots.
  BlockWriter(WritableFile& file, int64_t max_blocks);
  ~BlockWriter();

  // The next `size_bytes` of the file. Throws std::bad_alloc, as AlignedBuffer.
  BlockReservation Reserve(int64_t size_bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  // Copies `parts`, together reservation.size_bytes, to their place. Copies and
  // writes hold no lock.
  // Errors: those of WritableFile::Write, also another thread's earlier one.
  absl::Status Fill(const BlockReservation& reservation,
                    absl::Span<const absl::Span<const uint8_t>> parts)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Reserve and Fill for what is no chunk (a header, an index), of any size: it
  // takes one block at a time, the last one, beside reservations in flight;
  // over a sequential file none may be.
  absl::Status Append(absl::Span<const uint8_t> bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t size_bytes() const { return next_; }  // reserved so far

  // Writes the last, partial block (padded, then truncated, where direct). The
  // file then ends at size_bytes(), unless Allocate made it longer. Every
  // reservation must have been filled; nothing but the destructor comes after.
  absl::Status Finish() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Block;

  void Claim(int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Block*> Find(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status WriteOut(Block& block) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Note(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  WritableFile& file_;
  const int64_t max_blocks_;
  int64_t next_ = 0;
  int64_t filled_ = 0;  // of a sequential file

  Mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_ ABSL_GUARDED_BY(mutex_);
  std::vector<Block*> free_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int64_t, Block*> in_use_
      ABSL_GUARDED_BY(mutex_);  // by number
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_BLOCK_WRITER_H_
