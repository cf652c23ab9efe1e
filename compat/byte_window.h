// ByteWindow: any bytes of a file, for who reads mostly forward and never
// fails.

#ifndef PENSTOCK_COMPAT_BYTE_WINDOW_H_
#define PENSTOCK_COMPAT_BYTE_WINDOW_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/bytes.h"
#include "core/file.h"

namespace penstock {

// Reads `window_bytes` of a file at once, or as much as it is asked for; the
// file outlives it. Thread-compatible.
class ByteWindow {
 public:
  ByteWindow(const RandomAccessFile& file, int64_t window_bytes)
      : file_(file), window_bytes_(window_bytes) {}

  // The bytes from `offset` (>= 0) on: `size` of them, fewer
  // where the file ends or cannot be read. They live until the next call.
  absl::string_view Get(int64_t offset, int64_t size) {
    if (offset < begin_ ||
        size > begin_ + static_cast<int64_t>(bytes_.size()) - offset) {
      Fill(offset, size);
    }
    if (offset - begin_ >= static_cast<int64_t>(bytes_.size())) return {};
    return absl::string_view(bytes_).substr(offset - begin_, size);
  }

  // As Get(offset, least), and of what is held behind it up to `most`: who
  // wants as much as there is does not read it again for each byte further.
  absl::string_view GetAhead(int64_t offset, int64_t least, int64_t most) {
    if (Get(offset, least).empty()) return {};
    return absl::string_view(bytes_).substr(offset - begin_, most);
  }

  const RandomAccessFile& file() const { return file_; }
  int64_t file_bytes() const { return file_.size_bytes(); }
  int64_t window_bytes() const { return window_bytes_; }
  // The first error of reading; what it hid counts as missing.
  const absl::Status& status() const { return status_; }
  // Takes in that of another window of the file.
  void Note(const absl::Status& status) { status_.Update(status); }

 private:
  void Fill(int64_t offset, int64_t size) {
    const int64_t left = file_.size_bytes() - offset;
    if (offset >= begin_ && left <= 0) return;
    // What ends with the file is all there.
    if (offset >= begin_ &&
        begin_ + static_cast<int64_t>(bytes_.size()) == file_.size_bytes()) {
      return;
    }
    begin_ = offset;
    bytes_.resize(std::clamp<int64_t>(left, 0, std::max(size, window_bytes_)));
    if (bytes_.empty()) return;
    const absl::Status read = file_.Read(offset, MutableByteSpan(bytes_));
    if (read.ok()) return;
    status_.Update(read);
    bytes_.clear();
  }

  const RandomAccessFile& file_;
  const int64_t window_bytes_;
  int64_t begin_ = 0;
  std::string bytes_;
  absl::Status status_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_BYTE_WINDOW_H_
