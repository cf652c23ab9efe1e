#include "compat/zip_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 62;

// Little-endian fields, of 8 bytes at most, appended to a string.
void Put(std::string& out, uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; ++i) {
    out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  }
}

uint64_t Clamp32(int64_t value) {
  return static_cast<uint64_t>(std::min(value, kZip64From));
}

bool IsBig(int64_t value) { return value >= kZip64From; }

// Bytes of the zip64 extra field of a record, 0 where it needs none. Local and
// central headers carry the same fields, in this order: two sizes, offset.
int64_t Zip64ExtraBytes(const ZipRecord& record) {
  const int64_t data = (IsBig(record.size_bytes) ? 16 : 0) +
                       (IsBig(record.header_offset) ? 8 : 0);
  return data == 0 ? 0 : 4 + data;
}

int64_t DescriptorBytes(const ZipRecord& record) {
  if (record.size_bytes == 0) return 0;
  return Zip64ExtraBytes(record) > 0 ? 24 : 16;
}

// `compressed_bytes` is 0 in a local header, where torch does not know it yet.
void PutZip64Extra(std::string& out, const ZipRecord& record,
                   int64_t compressed_bytes) {
  const int64_t extra_bytes = Zip64ExtraBytes(record);
  if (extra_bytes == 0) return;
  Put(out, kZip64ExtraId, 2);
  Put(out, extra_bytes - 4, 2);
  if (IsBig(record.size_bytes)) {
    Put(out, record.size_bytes, 8);
    Put(out, compressed_bytes, 8);
  }
  if (IsBig(record.header_offset)) Put(out, record.header_offset, 8);
}

uint16_t FlagsOf(const ZipRecord& record) {
  return kZipUtf8Names | (record.size_bytes > 0 ? kZipDescriptorFollows : 0);
}

void PutCentralHeader(std::string& out, const ZipRecord& record) {
  Put(out, kZipCentralSignature, 4);
  Put(out, 0, 2);  // made by
  Put(out, 0, 2);  // version needed, also for zip64 records
  Put(out, FlagsOf(record), 2);
  Put(out, 0, 2);  // stored
  Put(out, 0, 4);  // time and date
  Put(out, record.crc32, 4);
  Put(out, Clamp32(record.size_bytes), 4);
  Put(out, Clamp32(record.size_bytes), 4);
  Put(out, record.name.size(), 2);
  Put(out, Zip64ExtraBytes(record), 2);
  Put(out, 0, 2);  // comment
  Put(out, 0, 2);  // disk
  Put(out, 0, 2);  // internal attributes
  Put(out, 0, 4);  // external attributes
  Put(out, Clamp32(record.header_offset), 4);
  out += record.name;
  PutZip64Extra(out, record, record.size_bytes);
}

void PutEnd(std::string& out, int64_t num_records, int64_t directory_bytes,
            int64_t directory_offset) {
  Put(out, kZip64EndSignature, 4);
  Put(out, kZip64EndBytes - 12, 8);
  Put(out, 0x031E, 2);
  Put(out, 0x002D, 2);
  Put(out, 0, 8);  // disks
  Put(out, num_records, 8);
  Put(out, num_records, 8);
  Put(out, directory_bytes, 8);
  Put(out, directory_offset, 8);

  Put(out, kZip64LocatorSignature, 4);
  Put(out, 0, 4);
  Put(out, directory_offset + directory_bytes, 8);
  Put(out, 1, 4);

  const int64_t clamped_records = std::min<int64_t>(num_records, 0xFFFF);
  Put(out, kZipEndSignature, 4);
  Put(out, 0, 4);
  Put(out, clamped_records, 2);
  Put(out, clamped_records, 2);
  Put(out, Clamp32(directory_bytes), 4);
  Put(out, Clamp32(directory_offset), 4);
  Put(out, 0, 2);  // comment
}

}  // namespace

int64_t ZipRecord::end_offset() const {
  return payload_offset + size_bytes + DescriptorBytes(*this);
}

absl::Status ZipLayout::Add(std::string name, int64_t size_bytes) {
  if (alignment_ < 1 || alignment_ > kMaxRecordAlignment) {
    return absl::InvalidArgumentError(
        absl::StrFormat("record alignment %d: expected 1 to %d", alignment_,
                        kMaxRecordAlignment));
  }
  if (name.empty() || name[0] == '/' ||
      static_cast<int64_t>(name.size()) > kMaxRecordNameBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "record name of %d bytes: expected 1 to %d, not beginning with '/'",
        name.size(), kMaxRecordNameBytes));
  }
  if (size_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("record of %d bytes", size_bytes));
  }
  if (static_cast<int64_t>(records_.size()) >= kMaxZipRecords) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("over %d records in one zip file", kMaxZipRecords));
  }
  if (size_bytes > kMaxFileBytes - next_) {
    return absl::ResourceExhaustedError("zip file over 2^62 bytes");
  }
  ZipRecord record;
  record.name = std::move(name);
  record.size_bytes = size_bytes;
  record.header_offset = next_;
  const int64_t start = next_ + kLocalHeaderBytes +
                        static_cast<int64_t>(record.name.size()) +
                        Zip64ExtraBytes(record) + 4;
  record.payload_offset = (start + alignment_ - 1) / alignment_ * alignment_;
  const int64_t directory_bytes = directory_bytes_ + CentralBytes(record);
  if (directory_bytes >= kZip64From) {
    return absl::ResourceExhaustedError("zip directory over 4 GiB");
  }
  directory_bytes_ = directory_bytes;
  next_ = record.end_offset();
  records_.push_back(std::move(record));
  return absl::OkStatus();
}

std::string ZipLayout::LocalHeader(int64_t index) const {
  const ZipRecord& record = records_[index];
  const int64_t header_bytes = record.payload_offset - record.header_offset;
  const int64_t name_end =
      kLocalHeaderBytes + static_cast<int64_t>(record.name.size());
  std::string out;
  out.reserve(header_bytes);
  Put(out, kZipLocalSignature, 4);
  Put(out, 0, 2);  // version needed
  Put(out, FlagsOf(record), 2);
  Put(out, 0, 2);        // stored
  Put(out, 0, 4);        // time and date
  out.append(12, '\0');  // CRC and sizes stand in the descriptor
  Put(out, record.name.size(), 2);
  Put(out, header_bytes - name_end, 2);
  out += record.name;
  PutZip64Extra(out, record, 0);
  out += "FB";
  const int64_t pad = header_bytes - static_cast<int64_t>(out.size()) - 2;
  Put(out, pad, 2);
  out.append(pad, 'Z');
  return out;
}

std::string ZipLayout::Descriptor(int64_t index) const {
  const ZipRecord& record = records_[index];
  std::string out;
  if (record.size_bytes == 0) return out;
  const int size_field = Zip64ExtraBytes(record) > 0 ? 8 : 4;
  Put(out, kZipDescriptorSignature, 4);
  Put(out, record.crc32, 4);
  Put(out, record.size_bytes, size_field);
  Put(out, record.size_bytes, size_field);
  return out;
}

int64_t ZipLayout::CentralBytes(const ZipRecord& record) const {
  return kCentralHeaderBytes + static_cast<int64_t>(record.name.size()) +
         Zip64ExtraBytes(record);
}

std::string ZipLayout::Directory() const {
  std::string out;
  out.reserve(file_bytes() - next_);
  for (const ZipRecord& record : records_) PutCentralHeader(out, record);
  PENSTOCK_CHECK(static_cast<int64_t>(out.size()) == directory_bytes_);
  PutEnd(out, static_cast<int64_t>(records_.size()), directory_bytes_, next_);
  return out;
}

int64_t ZipLayout::file_bytes() const {
  return next_ + directory_bytes_ + kZip64EndBytes + kZip64LocatorBytes +
         kEndBytes;
}

}  // namespace penstock
