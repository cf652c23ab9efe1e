// BlockWriter: puts what slots carry one behind the other into a file, in
// aligned writes around the page cache.

#ifndef PENSTOCK_CODEC_BLOCK_WRITER_H_
#define PENSTOCK_CODEC_BLOCK_WRITER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/file.h"

namespace penstock {

// A run of bytes of the file on its way there. Owned by a slot; its buffer is
// reused from one run to the next.
struct Block {
  AlignedBuffer bytes;
  int64_t offset = 0;  // in the file
  int64_t size_bytes = 0;
};

// Place hands out the file in order; Write, in any order and on any thread,
// copies the run into its block, unless it was made there, and writes it. One
// write a block, by the thread that has filled it: blocks that several threads
// fill together were 10 % slower (performance.md 3.1b).
//
// Direct writes begin and end at multiples of kBufferAlignment, runs do not: of
// each, what stands behind the last multiple (less than kBufferAlignment bytes)
// is kept by Place and goes out with the run behind it.
//
// Over a sequential file (a pipe) nothing is copied or kept, and Write must
// come in the order of Place, one call at a time. Place, Append and Finish are
// one thread's (the pipeline's in-order stage, then the end).
class BlockWriter {
 public:
  // Most bytes of a Block for a run of `size_bytes`.
  static constexpr int64_t BlockBytes(int64_t size_bytes) {
    return size_bytes + 2 * kBufferAlignment;
  }

  // `file` outlives the writer.
  explicit BlockWriter(WritableFile& file);

  // Where the first byte of a run that will stand at `offset` is to be made, so
  // that Write need not copy it. Throws std::bad_alloc, as AlignedBuffer.
  static uint8_t* Prepare(int64_t offset, int64_t size_bytes, Block& block);

  // The next bytes of the file are `parts`, which stay as they are until Write
  // has returned. One part where Prepare put it stays there.
  void Place(absl::Span<const absl::Span<const uint8_t>> parts, Block& block);

  // Errors: those of WritableFile::Write.
  absl::Status Write(absl::Span<const absl::Span<const uint8_t>> parts,
                     Block& block);

  // Place and Write for what no slot carries (a header, an index), of any size.
  // Over a sequential file all that was placed must have been written.
  absl::Status Append(absl::Span<const uint8_t> bytes);

  int64_t size_bytes() const { return next_; }  // placed so far

  // Writes what was kept of the last run (padded, then truncated, where
  // direct). The file then ends at size_bytes(), unless Allocate made it
  // longer. Nothing comes after.
  absl::Status Finish();

 private:
  absl::Status WriteInOrder(absl::Span<const absl::Span<const uint8_t>> parts,
                            int64_t offset);

  WritableFile& file_;
  int64_t next_ = 0;
  // The bytes from the last multiple of kBufferAlignment to next_.
  std::vector<uint8_t> kept_;
  Block appended_;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_BLOCK_WRITER_H_
