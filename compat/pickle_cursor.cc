#include "compat/pickle_cursor.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "core/status_macros.h"

namespace penstock::pickle {

PickleCursor::PickleCursor(absl::Span<const uint8_t> pickle, int64_t max_bytes,
                           int64_t max_string_bytes)
    : data_(reinterpret_cast<const char*>(pickle.data()),
            std::min<uint64_t>(pickle.size(), max_bytes)),
      is_cut_(data_.size() < pickle.size()),
      max_string_bytes_(max_string_bytes) {}

absl::Status PickleCursor::Missing(uint64_t size) const {
  if (is_cut_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "pickle_limit: the pickle is longer than %d bytes", data_.size()));
  }
  return absl::DataLossError(absl::StrFormat(
      "pickle_truncated: needs %d bytes, %d are left", size, remaining()));
}

absl::StatusOr<absl::string_view> PickleCursor::Take(uint64_t size) {
  if (size > remaining()) return Missing(size);
  const absl::string_view taken = data_.substr(position_, size);
  position_ += size;
  return taken;
}

absl::StatusOr<absl::string_view> PickleCursor::TakeLine() {
  const absl::string_view rest = data_.substr(
      position_, std::min<uint64_t>(remaining(), max_string_bytes_));
  const size_t size = rest.find('\n');
  if (size != absl::string_view::npos) {
    position_ += size + 1;
    return rest.substr(0, size);
  }
  if (rest.size() == remaining()) return Missing(remaining() + 1);
  return absl::ResourceExhaustedError(absl::StrFormat(
      "pickle_limit: a line of more than %d bytes", max_string_bytes_));
}

absl::StatusOr<uint64_t> PickleCursor::TakeUnsigned(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const absl::string_view bytes, Take(width));
  uint64_t value = 0;
  for (int i = width - 1; i >= 0; --i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

absl::StatusOr<absl::string_view> PickleCursor::TakeString(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t size,
                            TakeUnsigned(width == kSigned4 ? 4 : width));
  if (width == kSigned4 && size > INT32_MAX) {
    return absl::DataLossError(
        absl::StrFormat("pickle_number: a length of %d",
                        static_cast<int32_t>(static_cast<uint32_t>(size))));
  }
  if (size > remaining()) return Missing(size);
  if (size > max_string_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("pickle_limit: a string of %d bytes, the limit is %d",
                        size, max_string_bytes_));
  }
  return Take(size);
}

}  // namespace penstock::pickle
