// PickleCursor: the bytes of a pickle, taken from the front.

#ifndef PENSTOCK_COMPAT_PICKLE_CURSOR_H_
#define PENSTOCK_COMPAT_PICKLE_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/file.h"

namespace penstock {

// Where a pickle lies; what stands behind its end does not matter.
struct PickleInput {
  absl::Span<const uint8_t> bytes;  // in memory that outlives the reading
  // If not null, the pickle lies here from `begin` on (0 to the file's size),
  // and is read through a window.
  std::shared_ptr<const RandomAccessFile> file;
  int64_t begin = 0;
};

namespace pickle {

// Proves that bytes are there before it gives them. Copies nothing from memory;
// from a file it holds a window of up to a megabyte, or the one string that is
// larger. Views live until the next call. Thread-compatible.
//
// Errors: pickle_truncated and pickle_number (kDataLoss), pickle_limit
// (kResourceExhausted), as ReadPickle; the file's.
class PickleCursor {
 public:
  // Ends at `max_bytes`, where the input does not end before.
  PickleCursor(const PickleInput& input, int64_t max_bytes,
               int64_t max_string_bytes);

  // From the start of the pickle.
  size_t position() const { return window_begin_ + used_; }
  size_t remaining() const { return end_ - position(); }

  absl::StatusOr<absl::string_view> Take(uint64_t size) {
    if (size > window_.size() - used_) {
      if (absl::Status filled = Fill(size); !filled.ok()) return filled;
    }
    const absl::string_view taken = window_.substr(used_, size);
    used_ += size;
    return taken;
  }
  // To the next newline, which is taken but not given.
  absl::StatusOr<absl::string_view> TakeLine();
  // `width` bytes, little-endian, 1 to 8.
  absl::StatusOr<uint64_t> TakeUnsigned(int width) {
    const uint64_t size = static_cast<uint64_t>(width);
    if (size > window_.size() - used_) {
      if (absl::Status filled = Fill(size); !filled.ok()) return filled;
    }
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i) {
      value = value << 8 | static_cast<uint8_t>(window_[used_ + i]);
    }
    used_ += size;
    return value;
  }
  // A length of `width` bytes; as many bytes are there behind it. Width
  // kSigned4 is four bytes with a sign: a negative length is pickle_number.
  static constexpr int kSigned4 = -4;
  absl::StatusOr<uint64_t> TakeLength(int width);
  // A string, whose length was taken.
  absl::StatusOr<absl::string_view> TakeText(uint64_t size);
  // A length and the string.
  absl::StatusOr<absl::string_view> TakeString(int width);

  // Only in memory: all from the position on, and any position.
  absl::string_view rest() const { return window_.substr(used_); }
  void GoTo(size_t position) { used_ = position; }

  // For bytes that stay where they are. Only in a file.
  bool in_file() const { return input_.file != nullptr; }
  const PickleInput& input() const { return input_; }
  // The bytes from `ahead` bytes behind the position on; those behind the end
  // of the input stay as they are.
  absl::Status Peek(uint64_t ahead, absl::Span<uint8_t> out) const;
  // Over bytes that TakeLength has proven; they do not count for `max_bytes`.
  void Skip(uint64_t size);

 private:
  // Makes the window hold `size` bytes from the position on.
  absl::Status Fill(uint64_t size);
  absl::Status Missing(uint64_t size) const;

  const PickleInput input_;
  uint64_t input_bytes_;  // of the input, limit or not
  uint64_t end_;          // of what may be taken
  uint64_t max_string_bytes_;

  // The input's bytes from window_begin_ on.
  absl::string_view window_;
  uint64_t window_begin_ = 0;
  uint64_t used_ = 0;     // of the window
  std::string buffer_;    // behind window_, in a file
  uint64_t step_ = 4096;  // how much to read next
};

}  // namespace pickle
}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_CURSOR_H_
