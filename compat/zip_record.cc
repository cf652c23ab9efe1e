#include "compat/zip_record.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_format.h"
#include "compat/zip_name.h"
#include "core/checksum.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Deflate cannot do better than 258 bytes for two bits.
constexpr int64_t kMaxDeflateRatio = 1032;

constexpr int64_t kPieceBytes = 64 << 10;

absl::Span<uint8_t> BytesOf(std::string& text) {
  return absl::MakeSpan(reinterpret_cast<uint8_t*>(text.data()), text.size());
}

std::string PlaceOf(const ZipEntry& entry) {
  return absl::StrFormat("record %s at offset %d", QuotedRecordName(entry.name),
                         entry.payload_offset);
}

absl::Status CompareCrc(const ZipEntry& entry, uint32_t crc) {
  if (entry.crc32 == 0 || ChecksumsMatch(entry.crc32, crc)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrFormat("zip_crc_mismatch: %s: stored %#010x, computed %#010x",
                      PlaceOf(entry), entry.crc32, crc));
}

// One deflate stream on its way out of a file. Thread-compatible.
class Inflater {
 public:
  Inflater(const RandomAccessFile& file, const ZipEntry& entry)
      : file_(file), entry_(entry), buffers_(new Buffers) {}
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  absl::Status Run(
      const std::function<absl::Status(absl::Span<const uint8_t>)>& write);

 private:
  struct Buffers {
    uint8_t in[kPieceBytes];
    uint8_t out[kPieceBytes];
  };

  absl::Status Feed();
  absl::Status Damaged() const;

  const RandomAccessFile& file_;
  const ZipEntry& entry_;
  const std::unique_ptr<Buffers> buffers_;
  z_stream stream_ = {};
  int64_t fed_ = 0;      // bytes of the record, some still in the buffer
  int64_t written_ = 0;  // inflated bytes
};

absl::Status Inflater::Damaged() const {
  return absl::DataLossError(absl::StrFormat(
      "zip_bad_local: %s: deflated data is damaged: %d of %d bytes came out of "
      "%d of %d",
      PlaceOf(entry_), written_, entry_.size_bytes, fed_ - stream_.avail_in,
      entry_.stored_bytes));
}

absl::Status Inflater::Feed() {
  const int64_t size = std::min(kPieceBytes, entry_.stored_bytes - fed_);
  PENSTOCK_RETURN_IF_ERROR(file_.Read(entry_.payload_offset + fed_,
                                      absl::MakeSpan(buffers_->in, size)));
  fed_ += size;
  stream_.next_in = buffers_->in;
  stream_.avail_in = size;
  return absl::OkStatus();
}

absl::Status Inflater::Run(
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write) {
  if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to inflate");
  }
  uint32_t crc = 0;
  int result = Z_OK;
  while (result == Z_OK) {
    // At the end of the record zlib may still have bytes to give; where it has
    // none it says Z_BUF_ERROR.
    if (stream_.avail_in == 0 && fed_ < entry_.stored_bytes) {
      PENSTOCK_RETURN_IF_ERROR(Feed());
    }
    stream_.next_out = buffers_->out;
    stream_.avail_out = kPieceBytes;
    result = inflate(&stream_, Z_NO_FLUSH);
    const absl::Span<const uint8_t> piece(buffers_->out,
                                          kPieceBytes - stream_.avail_out);
    written_ += static_cast<int64_t>(piece.size());
    if (written_ > entry_.size_bytes) return Damaged();
    crc = Crc32(piece, crc);
    PENSTOCK_RETURN_IF_ERROR(write(piece));
  }
  if (result != Z_STREAM_END || written_ != entry_.size_bytes ||
      fed_ - stream_.avail_in != entry_.stored_bytes) {
    return Damaged();
  }
  return CompareCrc(entry_, crc);
}

}  // namespace

absl::Status CheckDeflateRatio(const ZipEntry& entry) {
  if (entry.size_bytes / kMaxDeflateRatio <= entry.stored_bytes) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("zip_bomb: %d bytes cannot inflate to %d",
                      entry.stored_bytes, entry.size_bytes));
}

absl::Status InflateZipRecord(
    const RandomAccessFile& file, const ZipEntry& entry,
    const std::function<absl::Status(absl::Span<const uint8_t>)>& write) {
  return Inflater(file, entry).Run(write);
}

absl::StatusOr<std::string> ReadZipRecord(const RandomAccessFile& file,
                                          const ZipEntry& entry,
                                          int64_t max_bytes) {
  if (entry.size_bytes > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: zip_limit: %d bytes, at most %d are read at once",
                        PlaceOf(entry), entry.size_bytes, max_bytes));
  }
  std::string bytes;
  if (entry.deflated) {
    const absl::Status possible = CheckDeflateRatio(entry);
    if (!possible.ok()) return Annotate(possible, PlaceOf(entry));
    bytes.reserve(entry.size_bytes);
    PENSTOCK_RETURN_IF_ERROR(InflateZipRecord(
        file, entry, [&bytes](absl::Span<const uint8_t> piece) {
          bytes.append(piece.begin(), piece.end());
          return absl::OkStatus();
        }));
    return bytes;
  }
  bytes.resize(entry.size_bytes);
  const absl::Status read = file.Read(entry.payload_offset, BytesOf(bytes));
  if (!read.ok()) return Annotate(read, PlaceOf(entry));
  PENSTOCK_RETURN_IF_ERROR(CompareCrc(entry, Crc32(BytesOf(bytes))));
  return bytes;
}

}  // namespace penstock
