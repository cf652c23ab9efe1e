// Zip files of any shape, and a hand to damage them, for tests.

#ifndef PENSTOCK_COMPAT_ZIP_TESTING_H_
#define PENSTOCK_COMPAT_ZIP_TESTING_H_

#include <zlib.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/checksum.h"

namespace penstock {

struct TestRecord {
  std::string name;
  std::string payload;
  bool deflate = false;
  // Bytes of the data descriptor: 0 (none), 12, 16, 20 or 24.
  int descriptor_bytes = 0;
};

inline uint32_t CrcOf(absl::string_view bytes) {
  return Crc32(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

inline std::string Deflated(absl::string_view bytes) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in =
      const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = bytes.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// A zip file in the making. Numbers are little-endian.
class TestZip {
 public:
  explicit TestZip(const std::vector<TestRecord>& records,
                   absl::string_view comment = "") {
    for (const TestRecord& record : records) Add(record);
    const int64_t directory_offset = static_cast<int64_t>(bytes_.size());
    for (const Place& place : places_) bytes_ += place.central;
    int64_t at = directory_offset;
    for (Place& place : places_) {
      place.central_offset = at;
      at += static_cast<int64_t>(place.central.size());
    }
    end_offset_ = at;
    Put(bytes_, 0x06054B50, 4);
    Put(bytes_, 0, 4);
    Put(bytes_, places_.size(), 2);
    Put(bytes_, places_.size(), 2);
    Put(bytes_, at - directory_offset, 4);
    Put(bytes_, directory_offset, 4);
    Put(bytes_, comment.size(), 2);
    bytes_ += std::string(comment);
  }

  const std::string& bytes() const { return bytes_; }
  int64_t local(int record) const { return places_[record].local_offset; }
  int64_t payload(int record) const { return places_[record].payload_offset; }
  int64_t central(int record) const { return places_[record].central_offset; }
  int64_t end() const { return end_offset_; }

  // The file with another number of `num_bytes` at `offset`.
  std::string With(int64_t offset, uint64_t value, int num_bytes) const {
    std::string changed = bytes_;
    for (int i = 0; i < num_bytes; ++i) {
      changed[offset + i] = static_cast<char>(value >> (8 * i));
    }
    return changed;
  }

 private:
  struct Place {
    int64_t local_offset = 0;
    int64_t payload_offset = 0;
    int64_t central_offset = 0;
    std::string central;
  };

  static void Put(std::string& out, uint64_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; ++i) {
      out.push_back(static_cast<char>(value >> (8 * i)));
    }
  }

  void Add(const TestRecord& record) {
    const std::string stored =
        record.deflate ? Deflated(record.payload) : record.payload;
    const uint32_t crc = CrcOf(record.payload);
    const bool descriptor = record.descriptor_bytes > 0;
    Place place;
    place.local_offset = static_cast<int64_t>(bytes_.size());
    std::string common;  // of both headers
    Put(common, 20, 2);
    Put(common, descriptor ? 0x0808 : 0x0800, 2);
    Put(common, record.deflate ? 8 : 0, 2);
    Put(common, 0x12345678, 4);
    std::string numbers;
    Put(numbers, crc, 4);
    Put(numbers, stored.size(), 4);
    Put(numbers, record.payload.size(), 4);
    Put(bytes_, 0x04034B50, 4);
    bytes_ += common + (descriptor ? std::string(12, '\0') : numbers);
    Put(bytes_, record.name.size(), 2);
    Put(bytes_, 0, 2);
    bytes_ += record.name;
    place.payload_offset = static_cast<int64_t>(bytes_.size());
    bytes_ += stored;
    if (descriptor) {
      const int width = record.descriptor_bytes >= 20 ? 8 : 4;
      if (record.descriptor_bytes == 16 || record.descriptor_bytes == 24)
        Put(bytes_, 0x08074B50, 4);
      Put(bytes_, crc, 4);
      Put(bytes_, stored.size(), width);
      Put(bytes_, record.payload.size(), width);
    }
    Put(place.central, 0x02014B50, 4);
    Put(place.central, 20, 2);
    place.central += common + numbers;
    Put(place.central, record.name.size(), 2);
    place.central.append(12, '\0');  // extra, comment, disk, attributes
    Put(place.central, place.local_offset, 4);
    place.central += record.name;
    places_.push_back(std::move(place));
  }

  std::string bytes_;
  std::vector<Place> places_;
  int64_t end_offset_ = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_TESTING_H_
