#include "compat/pickle_cursor.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "core/status_macros.h"

namespace penstock::pickle {
namespace {

// Small pickles cost a small read; longer ones soon come in large ones.
constexpr uint64_t kMaxStep = 1 << 20;

}  // namespace

PickleCursor::PickleCursor(const PickleInput& input, int64_t max_bytes,
                           int64_t max_string_bytes)
    : input_(input),
      input_bytes_(input.file == nullptr
                       ? input.bytes.size()
                       : input.file->size_bytes() - input.begin),
      end_(std::min<uint64_t>(input_bytes_, max_bytes)),
      max_string_bytes_(max_string_bytes) {
  if (input.file == nullptr) {
    window_ = absl::string_view(
        reinterpret_cast<const char*>(input.bytes.data()), end_);
  }
}

absl::Status PickleCursor::Missing(uint64_t size) const {
  if (end_ < input_bytes_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "pickle_limit: the pickle is longer than %d bytes", end_));
  }
  return absl::DataLossError(absl::StrFormat(
      "pickle_truncated: needs %d bytes, %d are left", size, remaining()));
}

absl::Status PickleCursor::Fill(uint64_t size) {
  if (size > remaining()) return Missing(size);
  // In memory the window ends where the pickle does.
  const uint64_t wanted = std::min(std::max(size, step_), remaining());
  step_ = std::min(2 * step_, kMaxStep);
  const uint64_t kept = window_.size() - used_;
  window_begin_ += used_;
  buffer_.erase(0, used_);
  buffer_.resize(wanted);
  used_ = 0;
  window_ = absl::string_view();
  const absl::Status read = input_.file->Read(
      input_.begin + static_cast<int64_t>(window_begin_ + kept),
      absl::MakeSpan(reinterpret_cast<uint8_t*>(buffer_.data()) + kept,
                     wanted - kept));
  if (!read.ok()) return read;
  window_ = buffer_;
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> PickleCursor::TakeLine() {
  uint64_t searched = 0;
  while (true) {
    const absl::string_view rest = window_.substr(
        used_, std::min<uint64_t>(window_.size() - used_, max_string_bytes_));
    const size_t size = rest.find('\n', searched);
    if (size != absl::string_view::npos) {
      used_ += size + 1;
      return rest.substr(0, size);
    }
    searched = rest.size();
    if (searched == remaining()) return Missing(searched + 1);
    if (searched == max_string_bytes_) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "pickle_limit: a line of more than %d bytes", max_string_bytes_));
    }
    PENSTOCK_RETURN_IF_ERROR(
        Fill(std::min<uint64_t>(2 * searched + 1, remaining())));
  }
}

absl::StatusOr<uint64_t> PickleCursor::TakeLength(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t size,
                            TakeUnsigned(width == kSigned4 ? 4 : width));
  if (width == kSigned4 && size > INT32_MAX) {
    return absl::DataLossError(
        absl::StrFormat("pickle_number: a length of %d",
                        static_cast<int32_t>(static_cast<uint32_t>(size))));
  }
  // What stays where it is may be longer than what may be taken.
  if (size > input_bytes_ - position()) return Missing(size);
  return size;
}

absl::StatusOr<absl::string_view> PickleCursor::TakeText(uint64_t size) {
  if (size > remaining()) return Missing(size);
  if (size > max_string_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("pickle_limit: a string of %d bytes, the limit is %d",
                        size, max_string_bytes_));
  }
  return Take(size);
}

absl::StatusOr<absl::string_view> PickleCursor::TakeString(int width) {
  PENSTOCK_ASSIGN_OR_RETURN(const uint64_t size, TakeLength(width));
  return TakeText(size);
}

absl::Status PickleCursor::Peek(uint64_t ahead, absl::Span<uint8_t> out) const {
  const uint64_t begin = position() + ahead;
  return input_.file->Read(
      input_.begin + static_cast<int64_t>(begin),
      out.first(std::min<uint64_t>(out.size(), input_bytes_ - begin)));
}

void PickleCursor::Skip(uint64_t size) {
  const uint64_t in_window = std::min<uint64_t>(size, window_.size() - used_);
  used_ += in_window;
  if (in_window < size) {
    window_begin_ += used_ + (size - in_window);
    used_ = 0;
    buffer_.clear();
    window_ = absl::string_view();
  }
  end_ = std::min(input_bytes_, end_ + size);
}

}  // namespace penstock::pickle
