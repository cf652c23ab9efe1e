// ReadAhead: what a run will need of files, fetched before it is asked for.

#ifndef PENSTOCK_CODEC_READ_AHEAD_H_
#define PENSTOCK_CODEC_READ_AHEAD_H_

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "codec/source.h"
#include "core/aligned_buffer.h"
#include "core/direct_reader.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// A run of bytes of a file, which outlives whoever holds this.
struct FileRange {
  const RandomAccessFile* file = nullptr;
  int64_t offset = 0;
  int64_t size_bytes = 0;
  bool operator==(const FileRange&) const = default;
};

// That chunk `chunk` of a run's plan needs.
struct ChunkRange {
  int64_t chunk = 0;
  FileRange range;
};

// Bytes that are in memory already and stay there while this lives. Move-only.
class LentBytes {
 public:
  LentBytes() = default;
  // Somebody else's, who needs nothing back.
  explicit LentBytes(absl::Span<const uint8_t> bytes) : parts_{bytes} {}
  LentBytes(LentBytes&& other) noexcept { *this = std::move(other); }
  LentBytes& operator=(LentBytes&& other) noexcept;
  ~LentBytes() { GiveBack(); }

  // One behind the other; the second one is often empty. Both are where the
  // bytes are not there: read them yourself.
  absl::Span<const absl::Span<const uint8_t>> parts() const { return parts_; }
  bool empty() const { return parts_[0].empty(); }
  // All of it, where it lies in one piece; else empty.
  absl::Span<const uint8_t> whole() const {
    return parts_[1].empty() ? parts_[0] : absl::Span<const uint8_t>();
  }

 private:
  friend class ReadAhead;
  void GiveBack();

  std::array<absl::Span<const uint8_t>, 2> parts_;
  class ReadAhead* owner_ = nullptr;
  int64_t number_ = 0;
};

// One thread that reads ranges of files in the order of a run's chunks, around
// the page cache and a few pieces at once, into a ring of memory: on cold files
// that beats every other way of reading (docs/DESIGN.md). The chunks' workers
// take the bytes from there. What the page cache holds, what is too large, and
// all that is behind an error, is not fetched: who needs it reads it with
// RandomAccessFile::Read, which is fast, or says what is wrong. So nothing here
// fails. Thread-safe.
class ReadAhead {
 public:
  static constexpr int64_t kRingBytes = int64_t{16} << 20;

  // `wanted` ascends by chunk and is read in this order; a chunk may have any
  // number of ranges. The ring takes kRingBytes of limits.spare_bytes.
  // Null where nothing is gained: little to read, all of it in the page cache,
  // no memory to spare.
  static std::unique_ptr<ReadAhead> Start(std::vector<ChunkRange> wanted,
                                          const RunLimits& limits);
  ~ReadAhead();  // stops, waits for what is under way

  // The bytes of a range that is wanted for this chunk; nothing of any other.
  // Waits for them. Each is lent once, and given back before this thread asks
  // for the next. Where `chunk` is asked for, all chunks up to
  // `chunk` - limits.num_slots are done.
  LentBytes Take(int64_t chunk, const FileRange& range)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class LentBytes;
  // What was handed to the reader: [begin, end) of the ring's positions, which
  // only grow; the bytes of position p lie at p % kRingBytes.
  struct Piece {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t least_bytes = 0;  // less than end - begin where the file ends
    bool done = false;
  };

  ReadAhead(std::vector<ChunkRange> wanted, const RunLimits& limits);

  void Run();
  bool Fetch(const FileRange& range);
  bool BeginSegment(const FileRange& range);
  bool Submit(int64_t least_bytes);
  bool WaitForRoom(int64_t size_bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitForPiece() ABSL_LOCKS_EXCLUDED(mutex_);
  void Place(int64_t position) ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t Tail() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PassTo(int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::vector<ChunkRange> wanted_;
  const int64_t num_slots_;
  AlignedBuffer ring_;

  // Of the thread.
  std::unique_ptr<DirectReader> reader_;
  const RandomAccessFile* file_ = nullptr;  // what reader_ reads
  int64_t range_end_ = 0;                   // in it: of the last range
  int64_t shift_ = 0;         // position minus offset, in this segment
  int64_t head_ = 0;          // position: all before was submitted
  int64_t goal_ = 0;          // position: all before shall be
  std::deque<Piece> pieces_;  // from the first that is not done, in order
  int64_t first_piece_ = 0;   // its number
  int under_way_ = 0;

  Mutex mutex_;
  CondVar changed_;
  // By number in wanted_, of those that the thread came to; -1: not fetched.
  std::vector<int64_t> places_ ABSL_GUARDED_BY(mutex_);
  // Numbers of those that were fetched and may not be given back yet.
  std::deque<int64_t> placed_ ABSL_GUARDED_BY(mutex_);
  std::vector<bool> is_free_ ABSL_GUARDED_BY(mutex_);  // given back
  int64_t first_used_ ABSL_GUARDED_BY(mutex_) = 0;     // lowest that is not
  int64_t complete_ ABSL_GUARDED_BY(mutex_) = 0;  // position: all before is in
  // Position: from here on nothing will come.
  int64_t broken_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::max();
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Brings `range` to `out`, from `lent` if it is not empty, else from the file,
// and shows it to `see` in order, in tiles that are still in the processor's
// cache. Errors: the file's.
absl::Status ReadInTiles(
    const FileRange& range, const LentBytes& lent, uint8_t* out,
    absl::FunctionRef<void(absl::Span<const uint8_t>)> see);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_READ_AHEAD_H_
