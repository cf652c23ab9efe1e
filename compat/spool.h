// Spool: bytes that come one after the other, then a file to be read.

#ifndef PENSTOCK_COMPAT_SPOOL_H_
#define PENSTOCK_COMPAT_SPOOL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/file.h"

namespace penstock {

// A string as a file. Immutable.
class TextFile : public RandomAccessFile {
 public:
  explicit TextFile(std::string bytes) : bytes_(std::move(bytes)) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override;
  int64_t size_bytes() const override {
    return static_cast<int64_t>(bytes_.size());
  }
  const std::string& path() const override { return path_; }

 private:
  const std::string bytes_;
  const std::string path_ = "(memory)";
};

// In memory up to kMaxSpoolMemory bytes, then in a file without a name.
inline constexpr int64_t kMaxSpoolMemory = 16 << 20;

// Thread-compatible.
class Spool {
 public:
  // `files` outlives it.
  Spool(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  // Errors: the file system's.
  absl::Status Append(absl::Span<const uint8_t> bytes);
  int64_t size_bytes() const { return size_bytes_; }
  // Nothing is to be appended afterwards.
  std::shared_ptr<const RandomAccessFile> Finish() &&;

 private:
  FileSystem& files_;
  const std::string directory_;
  std::string memory_;
  UnnamedFile unnamed_;
  int64_t size_bytes_ = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SPOOL_H_
