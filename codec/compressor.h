// zstd, and the only home of it: one frame in, one frame out.

#ifndef PENSTOCK_CODEC_COMPRESSOR_H_
#define PENSTOCK_CODEC_COMPRESSOR_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace penstock {

// How one byte plane is coded. Codes are frozen (docs/FORMAT.md).
enum class PlaneMode : uint8_t {
  kRaw = 0,      // a frame of raw blocks
  kLiteral = 1,  // zstd, parameter set F: Huffman, and runs of equal bytes
  kLz = 2,       // zstd level 1
};

// Room that any frame of `raw_bytes` fits into, raw frames included.
int64_t MaxFrameBytes(int64_t raw_bytes);

// A frame of raw blocks has one exact form (codec.md 7): magic number,
// descriptor 0xA0 (single segment), content size in 4 bytes; then blocks of
// kRawBlockBytes, the last one smaller or equal, each behind its header of 3
// bytes. Empty content has one empty block. All of it for at most
// kMaxFrameContentBytes.
inline constexpr int64_t kRawBlockBytes = 128 << 10;  // the most zstd allows
inline constexpr int64_t kMaxFrameContentBytes = 64 << 20;

// The exact size of such a frame.
int64_t RawFrameBytes(int64_t raw_bytes);
// Where byte `index` of the content lies in it.
int64_t RawFrameOffset(int64_t index);
// Writes all but the content; `frame` has RawFrameBytes(raw_bytes).
void WriteRawFrameHeaders(int64_t raw_bytes, uint8_t* frame);
// Writes all. `frame` has RawFrameBytes(raw.size()).
void WriteRawFrame(absl::Span<const uint8_t> raw, uint8_t* frame);
// OK where `frame` is such a frame of `raw_bytes` bytes, whose content can then
// be read in place. Errors: kDataLoss.
absl::Status CheckRawFrame(absl::Span<const uint8_t> frame, int64_t raw_bytes);

// zstd contexts for compressing, made when first needed, then reused.
// Thread-compatible: a slot owns one.
class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  // One single-segment frame with its content size and without a checksum.
  // `mode` kRaw never fails. `out` has at least MaxFrameBytes(raw.size()). The
  // bytes depend on `raw`, `mode` and libzstd, not on earlier calls.
  // Returns the frame's size.
  // Errors: kInvalidArgument (over kMaxFrameContentBytes), kResourceExhausted,
  // kInternal.
  absl::StatusOr<int64_t> CompressFrame(PlaneMode mode,
                                        absl::Span<const uint8_t> raw,
                                        absl::Span<uint8_t> out);

  // Most memory that the contexts take.
  static int64_t MaxContextBytes();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Likewise for decompressing.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  // `frame` must be exactly one zstd frame, no skippable one, without a
  // dictionary, that states out.size() as its content size and ends where
  // `frame` ends; checked before anything is decoded. Needs no window: the
  // frame is decoded straight into `out`. Errors: kDataLoss, kResourceExhausted
  // (no memory for the context).
  absl::Status DecompressFrame(absl::Span<const uint8_t> frame,
                               absl::Span<uint8_t> out);

  static int64_t MaxContextBytes();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_COMPRESSOR_H_
