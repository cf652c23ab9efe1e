// SectionReader: the sections of an index, read once and in order.

#ifndef PENSTOCK_CODEC_SECTION_READER_H_
#define PENSTOCK_CODEC_SECTION_READER_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/checksum.h"
#include "core/file.h"

namespace penstock {

// What the directory says of one section.
struct SectionHead {
  uint32_t type = 0;
  uint32_t flags = 0;
  int64_t size_bytes = 0;
  Hash128 hash;
};

// Reads an index a tile at a time, so that each byte is touched once, while it
// is in the processor's cache: hashed, and copied to the table that it is of.
// Memory for all of it was over a third of what opening took (docs/DESIGN.md).
// Thread-compatible.
class SectionReader {
 public:
  // Whole rows of any table: a multiple of 8, 16, 24, 32 and 40.
  static constexpr int64_t kTileBytes = int64_t{240} << 10;

  // The payload of an index frame, `size_bytes` of `file` from `offset` on.
  SectionReader(const RandomAccessFile& file, int64_t offset,
                int64_t size_bytes);

  // First: types ascend, sizes add up to the size of the index.
  // Errors: kDataLoss; kUnimplemented (an unknown flag); the file's.
  absl::StatusOr<std::vector<SectionHead>> ReadDirectory();

  // Then the body of each section of the directory, in order: `take` gets
  // kTileBytes at a time, in the end what is left. An error of its own comes
  // back. Errors: kDataLoss (the section's hash, its padding); the file's.
  absl::Status ReadBody(
      const SectionHead& section,
      absl::FunctionRef<absl::Status(absl::Span<const uint8_t>)> take);

  // Last, whatever went wrong before: the hash of the whole payload. What was
  // read means nothing until it is the right one. Errors: the file's.
  absl::StatusOr<Hash128> HashAll();

 private:
  absl::StatusOr<absl::Span<const uint8_t>> Next(int64_t size_bytes);

  const RandomAccessFile& file_;
  int64_t position_;
  const int64_t end_;
  AlignedBuffer tile_;
  Hasher hasher_;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_SECTION_READER_H_
