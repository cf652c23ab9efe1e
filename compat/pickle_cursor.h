// PickleCursor: the bytes of a pickle, taken from the front.

#ifndef PENSTOCK_COMPAT_PICKLE_CURSOR_H_
#define PENSTOCK_COMPAT_PICKLE_CURSOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace penstock::pickle {

// Proves that bytes are there before it gives them; copies and allocates
// nothing. Thread-compatible; views memory that outlives it.
//
// Errors: pickle_truncated and pickle_number (kDataLoss), pickle_limit
// (kResourceExhausted), as ReadPickle.
class PickleCursor {
 public:
  // Ends at `max_bytes`, where `pickle` does not end before.
  PickleCursor(absl::Span<const uint8_t> pickle, int64_t max_bytes,
               int64_t max_string_bytes);

  size_t position() const { return position_; }
  size_t remaining() const { return data_.size() - position_; }

  absl::StatusOr<absl::string_view> Take(uint64_t size);
  // To the next newline, which is taken but not given.
  absl::StatusOr<absl::string_view> TakeLine();
  // `width` bytes, little-endian, 1 to 8.
  absl::StatusOr<uint64_t> TakeUnsigned(int width);
  // A length of `width` bytes and as many bytes as it says. Width kSigned4 is
  // four bytes with a sign, where a negative length is pickle_number.
  static constexpr int kSigned4 = -4;
  absl::StatusOr<absl::string_view> TakeString(int width);

 private:
  absl::Status Missing(uint64_t size) const;

  absl::string_view data_;
  bool is_cut_;  // by max_bytes
  uint64_t max_string_bytes_;
  size_t position_ = 0;
};

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_CURSOR_H_
