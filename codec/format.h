// The frame of a .pstk file: constants, header, footer and the index's
// sections. docs/FORMAT.md is normative; what is inside the sections is
// native_index.h.

#ifndef PENSTOCK_CODEC_FORMAT_H_
#define PENSTOCK_CODEC_FORMAT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/bytes.h"
#include "core/checksum.h"

namespace penstock {

inline constexpr absl::string_view kMagic = "PENSTOCK";
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr absl::string_view kWriterName = "penstock 0.1.0";

// zstd skippable frames: u32 magic, u32 payload size, payload. One magic a
// role.
inline constexpr uint32_t kHeaderFrame = 0x184D2A50;
inline constexpr uint32_t kRawFrame = 0x184D2A51;
inline constexpr uint32_t kIndexFrame = 0x184D2A52;
inline constexpr uint32_t kFooterFrame = 0x184D2A53;
inline constexpr int64_t kFrameHeaderBytes = 8;
// `zstd -l` 1.5.4 loops for ever on larger ones.
inline constexpr int64_t kMaxFramePayload = (1LL << 32) - (64 << 10);

inline constexpr int64_t kHeaderBytes = 64;
inline constexpr int64_t kFooterBytes = 80;
inline constexpr int64_t kMaxIndexBytes = 1LL << 30;
inline constexpr int64_t kMinFileChunkBytes = 64 << 10;
inline constexpr int64_t kMaxFileChunkBytes = 64 << 20;

// Raw storages from this size on have a frame of their own, at a multiple of
// kLargeAlignment; smaller ones share frames, at multiples of kSmallAlignment.
inline constexpr int64_t kLargeRawBytes = 4 << 20;
inline constexpr int64_t kLargeAlignment = 4096;
inline constexpr int64_t kSmallAlignment = 64;

// The 8 bytes that open a skippable frame.
std::string PackFrameHeader(uint32_t magic, int64_t payload_bytes);

// True where a file that begins with `start` says that it is a .pstk; 16 bytes
// are enough.
bool IsNativeStart(absl::Span<const uint8_t> start);

struct Header {
  uint32_t version = kFormatVersion;
  uint32_t chunk_bytes = 0;
  uint64_t required_features = 0;
  uint64_t optional_features = 0;
};

std::string PackHeader(const Header& header);  // kHeaderBytes

// `bytes` are the first kHeaderBytes of a file.
// Errors: kDataLoss; kUnimplemented (a newer version, an unknown feature).
absl::StatusOr<Header> ParseHeader(absl::Span<const uint8_t> bytes);

struct Footer {
  uint32_t version = kFormatVersion;
  int64_t file_bytes = 0;
  int64_t index_offset = 0;  // of the index frame's payload
  int64_t index_bytes = 0;   // of that payload
  Hash128 index_hash;
};

std::string PackFooter(const Footer& footer);  // kFooterBytes

// `bytes` are the last kFooterBytes of a file of `file_bytes`. What it returns
// fits the file: header, data, index and footer one behind the other.
// Errors: kDataLoss; kUnimplemented (a newer version); kResourceExhausted (an
// index over kMaxIndexBytes).
absl::StatusOr<Footer> ParseFooter(absl::Span<const uint8_t> bytes,
                                   int64_t file_bytes);

// What the index is made of. Types below kFirstExtension are the format's own;
// flags other than kSectionRequired are 0.
inline constexpr uint32_t kFirstExtension = 256;
inline constexpr uint32_t kSectionRequired = 1;
inline constexpr int64_t kDirectoryHeadBytes = 8;
inline constexpr int64_t kDirectoryEntryBytes = 32;  // one a section
inline constexpr int64_t kSectionAlignment = 8;      // of bodies and the end
struct Section {
  uint32_t type = 0;
  uint32_t flags = 0;
  std::string body;
};
struct SectionView {
  uint32_t type = 0;
  uint32_t flags = 0;
  absl::Span<const uint8_t> body;
};

// The payload of the index frame, which SectionReader reads. Types must ascend.
std::string PackSections(absl::Span<const SectionView> sections);

// OK where both are the same.
// Errors: kDataLoss "`what` hash mismatch: expected ..., computed ...".
absl::Status CheckHash(const Hash128& expected, const Hash128& computed,
                       absl::string_view what);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_FORMAT_H_
