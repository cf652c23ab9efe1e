// The exact bytes of the zip files that torch.save writes: headers, padding,
// descriptors, directory (pytorch-format.md 2.3 to 2.5). Pure functions.

#ifndef PENSTOCK_COMPAT_ZIP_LAYOUT_H_
#define PENSTOCK_COMPAT_ZIP_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace penstock {

inline constexpr uint32_t kZipLocalSignature = 0x04034B50;
inline constexpr uint32_t kZipDescriptorSignature = 0x08074B50;
inline constexpr uint32_t kZipCentralSignature = 0x02014B50;
inline constexpr uint32_t kZip64EndSignature = 0x06064B50;
inline constexpr uint32_t kZip64LocatorSignature = 0x07064B50;
inline constexpr uint32_t kZipEndSignature = 0x06054B50;
inline constexpr uint16_t kZip64ExtraId = 0x0001;
// Flags.
inline constexpr uint16_t kZipDescriptorFollows = 0x0008;
inline constexpr uint16_t kZipUtf8Names = 0x0800;

// The little-endian number of `num_bytes` at `offset`, which must be there.
inline uint64_t ZipField(absl::Span<const uint8_t> bytes, int64_t offset,
                         int num_bytes) {
  uint64_t value = 0;
  for (int i = 0; i < num_bytes; ++i) {
    value |= uint64_t{bytes[offset + i]} << (8 * i);
  }
  return value;
}

// Sizes and offsets from here on need the zip64 form; torch's writer switches
// at equality already.
inline constexpr int64_t kZip64From = 0xFFFFFFFF;

inline constexpr int64_t kLocalHeaderBytes = 30;    // without name and extra
inline constexpr int64_t kCentralHeaderBytes = 46;  // likewise
inline constexpr int64_t kEndBytes = 22;
inline constexpr int64_t kZip64EndBytes = 56;
inline constexpr int64_t kZip64LocatorBytes = 20;

inline constexpr int64_t kDefaultRecordAlignment = 64;
inline constexpr int64_t kMaxRecordAlignment = 65536;  // pad counts 16 bits

// torch cuts longer names in its listings.
inline constexpr int64_t kMaxRecordNameBytes = 511;
// As many records as Penstock's own reader takes.
inline constexpr int64_t kMaxZipRecords = 4'000'000;

// One stored record and its place.
struct ZipRecord {
  std::string name;  // with the archive's prefix
  int64_t size_bytes = 0;
  int64_t header_offset = 0;
  int64_t payload_offset = 0;
  uint32_t crc32 = 0;  // of the payload

  // Behind the payload and its descriptor: where the next header begins.
  int64_t end_offset() const;
};

// Gives records their places, one behind the other. Sizes suffice: a file is
// laid out before its first byte is written, and its length is known.
// Thread-compatible.
class ZipLayout {
 public:
  // `alignment` of every payload: 1 to kMaxRecordAlignment, checked by Add.
  explicit ZipLayout(int64_t alignment) : alignment_(alignment) {}

  // The next record. Errors: kInvalidArgument (name or alignment out of range,
  // negative size), kResourceExhausted (too many records, file over 2^62).
  absl::Status Add(std::string name, int64_t size_bytes);

  const std::vector<ZipRecord>& records() const { return records_; }
  void set_crc32(int64_t record, uint32_t crc) { records_[record].crc32 = crc; }

  // The local header with its padding: all from header_offset to
  // payload_offset. It holds no CRC.
  std::string LocalHeader(int64_t record) const;
  // What follows the payload; nothing behind an empty one.
  std::string Descriptor(int64_t record) const;
  // Central directory, zip64 end, locator and end. Needs every CRC.
  std::string Directory() const;

  int64_t directory_offset() const { return next_; }
  int64_t file_bytes() const;

 private:
  int64_t CentralBytes(const ZipRecord& record) const;

  int64_t alignment_;
  int64_t next_ = 0;
  int64_t directory_bytes_ = 0;
  std::vector<ZipRecord> records_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_LAYOUT_H_
