// The literal compression mode, the frame header and the estimates of memory
// are in libzstd's shared library but not in its stable interface.
#define ZSTD_STATIC_LINKING_ONLY

#include "codec/compressor.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_format.h"

namespace penstock {
namespace {

constexpr int64_t kRawFrameHeaderBytes = 9;
constexpr int64_t kBlockHeaderBytes = 3;
constexpr uint8_t kSingleSegmentSize4 = 0xA0;
// Frames over it would not decode with `zstd -d` either.
constexpr uint64_t kMaxWindowBytes = uint64_t{1} << 27;
// The window covers every content, so that each frame is a single segment.
// libzstd shrinks it to the content's size.
constexpr int kWindowLog = 26;
static_assert(int64_t{1} << kWindowLog == kMaxFrameContentBytes);

int64_t NumRawBlocks(int64_t raw_bytes) {
  return std::max<int64_t>(1,
                           (raw_bytes + kRawBlockBytes - 1) / kRawBlockBytes);
}

void StoreLittleEndian(uint32_t value, int num_bytes, uint8_t* at) {
  for (int i = 0; i < num_bytes; ++i) {
    at[i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

std::array<uint8_t, kRawFrameHeaderBytes> RawFrameHeader(int64_t raw_bytes) {
  std::array<uint8_t, kRawFrameHeaderBytes> header{};
  StoreLittleEndian(ZSTD_MAGICNUMBER, 4, header.data());
  header[4] = kSingleSegmentSize4;
  StoreLittleEndian(static_cast<uint32_t>(raw_bytes), 4, header.data() + 5);
  return header;
}

// Last-block bit, block type 0 (raw), size.
std::array<uint8_t, kBlockHeaderBytes> RawBlockHeader(int64_t block,
                                                      int64_t raw_bytes) {
  const bool last = block + 1 == NumRawBlocks(raw_bytes);
  const int64_t size =
      last ? raw_bytes - block * kRawBlockBytes : kRawBlockBytes;
  std::array<uint8_t, kBlockHeaderBytes> header{};
  StoreLittleEndian(static_cast<uint32_t>(size << 3 | (last ? 1 : 0)), 3,
                    header.data());
  return header;
}

int64_t RawBlockHeaderOffset(int64_t block) {
  return kRawFrameHeaderBytes + block * (kRawBlockBytes + kBlockHeaderBytes);
}

struct Parameter {
  ZSTD_cParameter name;
  int value;
};

// What both modes share. The checksum would cost a tenth of the time, and the
// index has a better one.
constexpr Parameter kShared[] = {
    {ZSTD_c_checksumFlag, 0},
    {ZSTD_c_contentSizeFlag, 1},
    {ZSTD_c_dictIDFlag, 0},
    {ZSTD_c_windowLog, kWindowLog},
};
constexpr Parameter kLz[] = {{ZSTD_c_compressionLevel, 1}};
// Set F (codec.md 2.3): as fast as Huffman alone, and it finds long runs.
constexpr Parameter kLiteral[] = {
    {ZSTD_c_compressionLevel, -128},
    {ZSTD_c_literalCompressionMode, ZSTD_ps_enable},
    {ZSTD_c_minMatch, 7},
    {ZSTD_c_hashLog, 8},
};

// `set` is ZSTD_CCtx_setParameter or its twin for parameters alone. False where
// this libzstd knows one of them not.
template <typename Target, typename Set>
bool SetAll(Target* target, Set set, absl::Span<const Parameter> parameters) {
  for (const Parameter& parameter : parameters) {
    if (ZSTD_isError(set(target, parameter.name, parameter.value))) {
      return false;
    }
  }
  return true;
}

// The experimental parameter of set F may go away; level 1 reads the same.
template <typename Target, typename Set>
bool SetMode(Target* target, Set set, PlaneMode mode) {
  if (!SetAll(target, set, kShared)) return false;
  if (mode == PlaneMode::kLiteral && SetAll(target, set, kLiteral)) return true;
  return SetAll(target, set, kLz);
}

struct FreeCompress {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompress {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};
struct FreeParameters {
  void operator()(ZSTD_CCtx_params* p) const { ZSTD_freeCCtxParams(p); }
};

}  // namespace

int64_t MaxFrameBytes(int64_t raw_bytes) {
  return std::max(
      RawFrameBytes(raw_bytes),
      static_cast<int64_t>(ZSTD_compressBound(static_cast<size_t>(raw_bytes))));
}

int64_t RawFrameBytes(int64_t raw_bytes) {
  return RawBlockHeaderOffset(0) + raw_bytes +
         NumRawBlocks(raw_bytes) * kBlockHeaderBytes;
}

int64_t RawFrameOffset(int64_t index) {
  return RawBlockHeaderOffset(index / kRawBlockBytes) + kBlockHeaderBytes +
         index % kRawBlockBytes;
}

void WriteRawFrameHeaders(int64_t raw_bytes, uint8_t* frame) {
  const auto header = RawFrameHeader(raw_bytes);
  std::copy(header.begin(), header.end(), frame);
  for (int64_t block = 0; block < NumRawBlocks(raw_bytes); ++block) {
    const auto block_header = RawBlockHeader(block, raw_bytes);
    std::copy(block_header.begin(), block_header.end(),
              frame + RawBlockHeaderOffset(block));
  }
}

void WriteRawFrame(absl::Span<const uint8_t> raw, uint8_t* frame) {
  const int64_t size = static_cast<int64_t>(raw.size());
  WriteRawFrameHeaders(size, frame);
  for (int64_t at = 0; at < size; at += kRawBlockBytes) {
    const int64_t count = std::min(kRawBlockBytes, size - at);
    std::memcpy(frame + RawFrameOffset(at), raw.data() + at, count);
  }
}

absl::Status CheckRawFrame(absl::Span<const uint8_t> frame, int64_t raw_bytes) {
  const int64_t size = static_cast<int64_t>(frame.size());
  if (raw_bytes < 0 || raw_bytes > kMaxFrameContentBytes ||
      size != RawFrameBytes(raw_bytes)) {
    return absl::DataLossError(
        absl::StrFormat("frame of raw blocks has %d bytes, which do not hold "
                        "the expected %d",
                        size, raw_bytes));
  }
  const auto header = RawFrameHeader(raw_bytes);
  if (!std::equal(header.begin(), header.end(), frame.begin())) {
    return absl::DataLossError("frame of raw blocks has a wrong header");
  }
  for (int64_t block = 0; block < NumRawBlocks(raw_bytes); ++block) {
    const auto block_header = RawBlockHeader(block, raw_bytes);
    if (!std::equal(block_header.begin(), block_header.end(),
                    frame.begin() + RawBlockHeaderOffset(block))) {
      return absl::DataLossError(absl::StrFormat(
          "raw block %d has a wrong header at byte %d of its frame", block,
          RawBlockHeaderOffset(block)));
    }
  }
  return absl::OkStatus();
}

// One context a mode: changing parameters back and forth would set up its
// tables again for every plane.
struct Compressor::State {
  std::unique_ptr<ZSTD_CCtx, FreeCompress> literal;
  std::unique_ptr<ZSTD_CCtx, FreeCompress> lz;
};

Compressor::Compressor() : state_(std::make_unique<State>()) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

absl::StatusOr<int64_t> Compressor::CompressFrame(PlaneMode mode,
                                                  absl::Span<const uint8_t> raw,
                                                  absl::Span<uint8_t> out) {
  const int64_t size = static_cast<int64_t>(raw.size());
  if (size > kMaxFrameContentBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a frame holds at most %d bytes, not %d", kMaxFrameContentBytes, size));
  }
  if (mode == PlaneMode::kRaw) {
    WriteRawFrame(raw, out.data());
    return RawFrameBytes(size);
  }
  auto& context = mode == PlaneMode::kLz ? state_->lz : state_->literal;
  if (context == nullptr) {
    context.reset(ZSTD_createCCtx());
    if (context == nullptr) {
      return absl::ResourceExhaustedError("no memory for a zstd context");
    }
    if (!SetMode(context.get(), ZSTD_CCtx_setParameter, mode)) {
      context.reset();
      return absl::InternalError("libzstd refuses the parameters of level 1");
    }
  }
  const size_t written = ZSTD_compress2(context.get(), out.data(), out.size(),
                                        raw.data(), raw.size());
  if (!ZSTD_isError(written)) return static_cast<int64_t>(written);
  const std::string message = absl::StrFormat("zstd compressing %d bytes: %s",
                                              size, ZSTD_getErrorName(written));
  if (ZSTD_getErrorCode(written) == ZSTD_error_memory_allocation) {
    return absl::ResourceExhaustedError(message);
  }
  return absl::InternalError(message);
}

int64_t Compressor::MaxContextBytes() {
  int64_t total = 0;
  for (const PlaneMode mode : {PlaneMode::kLiteral, PlaneMode::kLz}) {
    const std::unique_ptr<ZSTD_CCtx_params, FreeParameters> parameters(
        ZSTD_createCCtxParams());
    if (parameters == nullptr) continue;
    SetMode(parameters.get(), ZSTD_CCtxParams_setParameter, mode);
    total += static_cast<int64_t>(
        ZSTD_estimateCCtxSize_usingCCtxParams(parameters.get()));
  }
  return total;
}

struct Decompressor::State {
  std::unique_ptr<ZSTD_DCtx, FreeDecompress> context;
};

Decompressor::Decompressor() : state_(std::make_unique<State>()) {}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

namespace {

// All that can be known of a frame without decoding it.
absl::Status CheckFrame(absl::Span<const uint8_t> frame, size_t out_bytes) {
  ZSTD_frameHeader header;
  const size_t result =
      ZSTD_getFrameHeader(&header, frame.data(), frame.size());
  if (ZSTD_isError(result)) {
    return absl::DataLossError(
        absl::StrFormat("not a zstd frame: %s", ZSTD_getErrorName(result)));
  }
  if (result != 0) {
    return absl::DataLossError(absl::StrFormat(
        "zstd frame of %d bytes ends within its header", frame.size()));
  }
  if (header.frameType != ZSTD_frame || header.dictID != 0) {
    return absl::DataLossError(
        "zstd frame is skippable or needs a dictionary; expected a plain one");
  }
  if (header.frameContentSize != out_bytes ||
      header.windowSize > kMaxWindowBytes) {
    return absl::DataLossError(absl::StrFormat(
        "zstd frame states content of %d bytes with a window of %d, expected "
        "%d bytes",
        header.frameContentSize, header.windowSize, out_bytes));
  }
  const size_t size = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(size)) {
    return absl::DataLossError(
        absl::StrFormat("zstd frame of %d bytes has broken blocks: %s",
                        frame.size(), ZSTD_getErrorName(size)));
  }
  if (size != frame.size()) {
    return absl::DataLossError(absl::StrFormat(
        "zstd frame ends after %d bytes, expected %d", size, frame.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Decompressor::DecompressFrame(absl::Span<const uint8_t> frame,
                                           absl::Span<uint8_t> out) {
  const absl::Status checked = CheckFrame(frame, out.size());
  if (!checked.ok()) return checked;
  if (state_->context == nullptr) {
    state_->context.reset(ZSTD_createDCtx());
    if (state_->context == nullptr) {
      return absl::ResourceExhaustedError("no memory for a zstd context");
    }
  }
  const size_t written =
      ZSTD_decompressDCtx(state_->context.get(), out.data(), out.size(),
                          frame.data(), frame.size());
  if (ZSTD_isError(written)) {
    return absl::DataLossError(
        absl::StrFormat("zstd frame of %d bytes is damaged: %s", frame.size(),
                        ZSTD_getErrorName(written)));
  }
  if (written != out.size()) {
    return absl::DataLossError(absl::StrFormat(
        "zstd frame decodes to %d bytes, expected %d", written, out.size()));
  }
  return absl::OkStatus();
}

int64_t Decompressor::MaxContextBytes() {
  return static_cast<int64_t>(ZSTD_estimateDCtxSize());
}

}  // namespace penstock
