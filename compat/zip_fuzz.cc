// Reads any bytes as a zip file, and each of its records: no two may claim one
// byte, however their headers lie.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "compat/fuzz_testing.h"
#include "compat/zip_reader.h"
#include "compat/zip_record.h"
#include "core/status_macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  constexpr int64_t kMaxRecordBytes = 1 << 20;
  const auto file = FuzzedFile(data, size);
  const auto directory = ReadZipDirectory(*file);
  if (!directory.ok()) return 0;
  std::vector<ZipEntry> entries = directory->entries();
  std::sort(entries.begin(), entries.end(),
            [](const ZipEntry& a, const ZipEntry& b) {
              return a.payload_offset < b.payload_offset;
            });
  int64_t end = 0;
  for (const ZipEntry& entry : entries) {
    PENSTOCK_CHECK(entry.header_offset >= end);
    PENSTOCK_CHECK(entry.payload_offset >= entry.header_offset + 30);
    end = entry.payload_offset + entry.stored_bytes;
    PENSTOCK_CHECK(end <= file->size_bytes());
    const auto bytes = ReadZipRecord(*file, entry, kMaxRecordBytes);
    PENSTOCK_CHECK(!bytes.ok() ||
                   static_cast<int64_t>(bytes->size()) == entry.size_bytes);
  }
  return 0;
}
