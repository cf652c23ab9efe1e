// The records of a zip file: one interpretation of it, or an error.

#ifndef PENSTOCK_COMPAT_ZIP_READER_H_
#define PENSTOCK_COMPAT_ZIP_READER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/file.h"
#include "core/text_index.h"

namespace penstock {

// One record. Its bytes were proven to lie within the file, and in no other
// record.
struct ZipEntry {
  std::string name;
  int64_t header_offset = 0;
  int64_t payload_offset = 0;  // from the local header
  int64_t stored_bytes = 0;    // in the file
  int64_t size_bytes = 0;      // inflated; stored_bytes unless deflated
  uint32_t crc32 = 0;          // of the size_bytes; 0: maybe not computed
  bool deflated = false;
};

struct ZipLimits {
  int64_t max_records = 4'000'000;
  int64_t max_directory_bytes = 512 << 20;
  // Names that differ by case alone are one name to torch, and refused.
  bool ignores_case = true;
};

// What a zip file holds. Immutable, thread-safe.
class ZipDirectory {
 public:
  // In the order of the central directory, which is torch's too.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  std::vector<ZipEntry> TakeEntries() && { return std::move(entries_); }
  // Number of the entry with exactly this name, -1 where there is none.
  int64_t Find(absl::string_view name) const;
  // What is unusual but has one meaning.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend class ZipDirectoryReader;

  std::vector<ZipEntry> entries_;
  TextIndex by_name_;  // without case where `ignores_case_`
  bool ignores_case_ = true;
  std::vector<std::string> warnings_;
};

// Reads and checks end, zip64 end, directory and every local header and data
// descriptor; no payload. Memory: the directory, and a window of about 1 MiB.
//
// More than torch, which believes the directory alone, this compares what the
// file says twice and wants every byte before the end to belong to exactly one
// record. Other tools' stored or deflated files pass, with bytes behind the end
// too (a warning); bytes before the first header do not.
//
// Errors, each beginning with a name of pytorch-format.md 17:
//   kDataLoss           no zip, truncated, or contradicting itself
//   kUnimplemented      encrypted, several disks, method neither 0 nor 8
//   kResourceExhausted  over `limits`
absl::StatusOr<ZipDirectory> ReadZipDirectory(const RandomAccessFile& file,
                                              const ZipLimits& limits = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_READER_H_
