// Chunk codec: the bytes of a chunk to zstd frames, one per byte plane, and
// back (codec.md 3, 4, 7).

#ifndef PENSTOCK_CODEC_CHUNK_CODEC_H_
#define PENSTOCK_CODEC_CHUNK_CODEC_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/compressor.h"
#include "codec/planes.h"
#include "core/aligned_buffer.h"
#include "core/dtype.h"

namespace penstock {

// How one chunk is coded: what the index keeps of it.
//
// A chunk of s bytes and w planes has n = floor(s / w) elements. Plane i holds
// byte i of each, and the last plane, w - 1, also the s - n w bytes behind
// them, as they are. Each plane is one zstd frame. The frames lie one behind
// the other without gaps: first those of all kRaw planes in ascending order of
// plane, then the others in ascending order of plane. A kRaw frame has the
// exact form that compressor.h describes.
struct ChunkCoding {
  Transform transform = Transform::kNone;
  uint8_t num_planes = 1;  // the element width in bytes: 1, 2, 4 or 8
  std::array<PlaneMode, kMaxPlanes> modes{};       // of plane i; unused ones 0
  std::array<uint32_t, kMaxPlanes> frame_bytes{};  // of plane i; unused ones 0
  bool operator==(const ChunkCoding&) const = default;
};

// What a sample of a storage says about it.
struct SampleVerdict {
  bool worth_coding = false;  // some plane compresses; false: store it raw
};

// Judges a storage from bytes sampled in it (multiples of the element width).
// Looks at no more of it than plane_choice.h says. Depends on the bytes and
// dtype alone.
SampleVerdict JudgeSample(absl::Span<const uint8_t> sample, DType dtype);

// Encodes `raw` (at most kMaxFrameContentBytes) of elements of `dtype` into
// `record`, which gets MaxRecordBytes(raw.size()) reserved. `planes` is scratch
// and gets up to raw.size(). Chooses transform and modes from a sample of `raw`
// (plane_choice.h); record and coding depend on the bytes, the dtype and
// libzstd alone. What does not shrink by 1/64 becomes one frame of raw blocks.
// Returns the record's size, which never exceeds RawFrameBytes(raw.size()).
// Errors: those of Compressor::CompressFrame.
absl::StatusOr<int64_t> EncodeChunk(absl::Span<const uint8_t> raw, DType dtype,
                                    Compressor& compressor,
                                    AlignedBuffer& planes,
                                    AlignedBuffer& record, ChunkCoding& coding);

// Room to encode a chunk of `raw_bytes` in: more than any finished record
// takes.
int64_t MaxRecordBytes(int64_t raw_bytes);

// Decodes `stored` into `raw`, whose size is the chunk's. `coding` may come
// from a hostile file. `planes` is scratch and gets up to raw.size(). kRaw
// planes are read where they lie in `stored`. On an error `raw` holds anything.
// Errors: kDataLoss (no legal coding, sizes do not add up, a frame is damaged),
// kResourceExhausted (no memory for a context).
absl::Status DecodeChunk(absl::Span<const uint8_t> stored,
                         const ChunkCoding& coding, Decompressor& decompressor,
                         AlignedBuffer& planes, absl::Span<uint8_t> raw);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_CHUNK_CODEC_H_
