// A slot: all that one chunk needs on its way through the pipeline.

#ifndef PENSTOCK_CODEC_SLOT_H_
#define PENSTOCK_CODEC_SLOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "codec/block_writer.h"
#include "codec/compressor.h"
#include "core/aligned_buffer.h"
#include "core/checksum.h"

namespace penstock {

// Owned by one chunk at a time; threads own nothing. Buffers grow to the
// largest chunk and stay. Source and Sink agree on who uses what:
struct Slot {
  int index = 0;  // 0..n-1; never reaches a file

  // Source.
  AlignedBuffer input;  // stored bytes, as read from a file
  AlignedBuffer raw;    // the chunk's bytes, unless they lie elsewhere
  Decompressor decompressor;
  // What Source::LendPieces lent.
  std::vector<absl::Span<const uint8_t>> pieces;
  // CRC-32 of each piece of the bytes that the source gives, where it had to
  // take them anyway: a sink that wants them need not. Empty before each chunk.
  std::vector<uint32_t> crcs;

  // Source while it decodes, then Sink while it encodes.
  AlignedBuffer planes;

  // Sink.
  Compressor compressor;
  std::vector<AlignedBuffer> records;  // what was encoded
  std::string glue;  // headers, padding and descriptors around payload
  // What Place decided to write, in order (before: what Encode made of it):
  // spans of `raw`, `records`, `glue`, `block` or of the source's own memory,
  // valid until the slot is given back.
  std::vector<absl::Span<const uint8_t>> parts;
  Block block;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_SLOT_H_
