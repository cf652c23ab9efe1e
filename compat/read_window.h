// ReadWindow: a forward reader of headers that are strewn over a file.

#ifndef PENSTOCK_COMPAT_READ_WINDOW_H_
#define PENSTOCK_COMPAT_READ_WINDOW_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/status_macros.h"

namespace penstock {

inline constexpr int64_t kReadWindowBytes = 1 << 20;

// Reads forward through a file whose interesting places lie close together:
// many small reads become few.
class ReadWindow {
 public:
  explicit ReadWindow(const RandomAccessFile& file) : file_(file) {}

  bool Holds(int64_t offset, int64_t size) const {
    return offset >= begin_ && RangeFits(offset - begin_, size,
                                         static_cast<int64_t>(bytes_.size()));
  }

  // `size` bytes from `offset`, which the file has; valid until the next call.
  // Where it must read, it reads on to `ahead_end`, but at most
  // kReadWindowBytes.
  absl::StatusOr<absl::Span<const uint8_t>> Get(int64_t offset, int64_t size,
                                                int64_t ahead_end) {
    if (!Holds(offset, size)) {
      const int64_t ahead = std::min(ahead_end - offset, kReadWindowBytes);
      bytes_.resize(
          std::min(std::max(ahead, size), file_.size_bytes() - offset));
      begin_ = offset;
      PENSTOCK_RETURN_IF_ERROR(file_.Read(offset, absl::MakeSpan(bytes_)));
    }
    return absl::MakeConstSpan(bytes_).subspan(offset - begin_, size);
  }

 private:
  const RandomAccessFile& file_;
  int64_t begin_ = 0;
  std::vector<uint8_t> bytes_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_READ_WINDOW_H_
