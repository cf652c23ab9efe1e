#include "compat/zip_record.h"

#include <zlib.h>

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "compat/zip_name.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Deflate cannot do better than 258 bytes for two bits.
constexpr int64_t kMaxDeflateRatio = 1032;

absl::Span<uint8_t> BytesOf(std::string& text) {
  return absl::MakeSpan(reinterpret_cast<uint8_t*>(text.data()), text.size());
}

// `out` has the size that the directory says; the stream must fill it exactly,
// and end where `stored` ends.
absl::Status Inflate(std::string& stored, std::string& out) {
  z_stream stream = {};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to inflate");
  }
  // zlib counts in 32 bits; the loop feeds it in pieces.
  constexpr size_t kPiece = 1 << 30;
  size_t read = 0;
  size_t written = 0;
  int result = Z_OK;
  while (result == Z_OK) {
    const size_t in = std::min(kPiece, stored.size() - read);
    const size_t room = std::min(kPiece, out.size() - written);
    stream.next_in = BytesOf(stored).data() + read;
    stream.avail_in = in;
    stream.next_out = BytesOf(out).data() + written;
    stream.avail_out = room;
    result = inflate(&stream, Z_NO_FLUSH);
    read += in - stream.avail_in;
    written += room - stream.avail_out;
  }
  inflateEnd(&stream);
  if (result != Z_STREAM_END || written != out.size() ||
      read != stored.size()) {
    return absl::DataLossError(
        absl::StrFormat("zip_bad_local: deflated data is damaged: %d of %d "
                        "bytes came out of %d "
                        "of %d",
                        written, out.size(), read, stored.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Read(const RandomAccessFile& file,
                                 const ZipEntry& entry, int64_t max_bytes) {
  if (entry.size_bytes > max_bytes || entry.stored_bytes > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("zip_limit: %d bytes, at most %d are read at once",
                        entry.size_bytes, max_bytes));
  }
  if (entry.deflated &&
      entry.size_bytes / kMaxDeflateRatio > entry.stored_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("zip_bomb: %d bytes cannot inflate to %d",
                        entry.stored_bytes, entry.size_bytes));
  }
  std::string stored(entry.stored_bytes, '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(entry.payload_offset, BytesOf(stored)));
  if (!entry.deflated) return stored;
  std::string out(entry.size_bytes, '\0');
  PENSTOCK_RETURN_IF_ERROR(Inflate(stored, out));
  return out;
}

}  // namespace

absl::StatusOr<std::string> ReadZipRecord(const RandomAccessFile& file,
                                          const ZipEntry& entry,
                                          int64_t max_bytes) {
  absl::StatusOr<std::string> bytes = Read(file, entry, max_bytes);
  const std::string where =
      absl::StrFormat("record %s at offset %d", QuotedRecordName(entry.name),
                      entry.payload_offset);
  if (!bytes.ok()) return Annotate(bytes.status(), where);
  const uint32_t crc = Crc32(BytesOf(*bytes));
  if (entry.crc32 != 0 && crc != entry.crc32) {
    return absl::DataLossError(
        absl::StrFormat("zip_crc_mismatch: %s: stored %#010x, computed %#010x",
                        where, entry.crc32, crc));
  }
  return bytes;
}

}  // namespace penstock
