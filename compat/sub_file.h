// SubFile: a file within a file.

#ifndef PENSTOCK_COMPAT_SUB_FILE_H_
#define PENSTOCK_COMPAT_SUB_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "core/checked.h"
#include "core/file.h"

namespace penstock {

// Bytes [offset, offset + size_bytes) of another file, which has them.
class SubFile : public RandomAccessFile {
 public:
  SubFile(std::shared_ptr<const RandomAccessFile> file, int64_t offset,
          int64_t size_bytes)
      : file_(std::move(file)),
        offset_(offset),
        size_bytes_(size_bytes),
        path_(absl::StrFormat("%d bytes at %d", size_bytes, offset)) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    if (!RangeFits(offset, static_cast<int64_t>(out.size()), size_bytes_)) {
      return absl::DataLossError(
          absl::StrFormat("%s: no %d bytes at %d", path_, out.size(), offset));
    }
    return file_->Read(offset_ + offset, out);
  }
  void WillRead(int64_t offset, int64_t size_bytes) const override {
    file_->WillRead(offset_ + offset, size_bytes);
  }
  int64_t size_bytes() const override { return size_bytes_; }
  const std::string& path() const override { return path_; }

 private:
  const std::shared_ptr<const RandomAccessFile> file_;
  const int64_t offset_;
  const int64_t size_bytes_;
  const std::string path_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SUB_FILE_H_
