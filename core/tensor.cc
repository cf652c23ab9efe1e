#include "core/tensor.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// The product of the sizes; nothing on overflow. A zero anywhere wins.
std::optional<int64_t> CountElements(absl::Span<const int64_t> shape) {
  for (const int64_t size : shape) {
    if (size == 0) return 0;
  }
  std::optional<int64_t> count = 1;
  for (const int64_t size : shape) {
    count = CheckedMultiply(*count, size);
    if (!count) return std::nullopt;
  }
  return count;
}

// The number of the last element, counted from the start of the storage; the
// shape holds no zero. Nothing on overflow.
std::optional<int64_t> LastElement(absl::Span<const int64_t> shape,
                                   absl::Span<const int64_t> strides,
                                   int64_t offset) {
  std::optional<int64_t> last = offset;
  for (size_t i = 0; i < shape.size(); ++i) {
    const std::optional<int64_t> reach =
        CheckedMultiply(shape[i] - 1, strides[i]);
    if (!reach) return std::nullopt;
    last = CheckedAdd(*last, *reach);
    if (!last) return std::nullopt;
  }
  return last;
}

absl::Status CheckSigns(absl::Span<const int64_t> shape,
                        absl::Span<const int64_t> strides, int64_t offset) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("size %d of dimension %d is negative", shape[i], i));
    }
    if (strides[i] < 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "stride %d of dimension %d is negative", strides[i], i));
    }
  }
  if (offset < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("offset %d is negative", offset));
  }
  return absl::OkStatus();
}

struct Dimension {
  int64_t size;
  int64_t stride;
};

// The same walk over memory in as few dimensions as it takes: those of size 1
// go, and neighbours that continue one another become one. Never empty.
std::vector<Dimension> Coalesce(absl::Span<const int64_t> shape,
                                absl::Span<const int64_t> strides) {
  std::vector<Dimension> dimensions;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    // No overflow: both factors are within a checked view.
    if (!dimensions.empty() &&
        CheckedMultiply(strides[i], shape[i]) == dimensions.back().stride) {
      dimensions.back() = {dimensions.back().size * shape[i], strides[i]};
    } else {
      dimensions.push_back({shape[i], strides[i]});
    }
  }
  if (dimensions.empty()) dimensions.push_back({1, 1});
  return dimensions;
}

// Copies `count` elements that lie `stride` elements apart. A fixed width
// becomes one load and one store; memcpy, because nothing promises alignment.
template <int kWidth>
void CopyStrided(const uint8_t* from, int64_t stride, int64_t count,
                 uint8_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * kWidth, from + i * stride * kWidth, kWidth);
  }
}

void CopyRun(const uint8_t* from, Dimension run, int width, uint8_t* to) {
  if (run.stride == 1) {
    std::memcpy(to, from, run.size * width);
    return;
  }
  switch (width) {
    case 1:
      return CopyStrided<1>(from, run.stride, run.size, to);
    case 2:
      return CopyStrided<2>(from, run.stride, run.size, to);
    case 4:
      return CopyStrided<4>(from, run.stride, run.size, to);
    case 8:
      return CopyStrided<8>(from, run.stride, run.size, to);
    default:
      PENSTOCK_CHECK(width == 16);
      return CopyStrided<16>(from, run.stride, run.size, to);
  }
}

// CheckView in one pass for a view that is right and has elements; false says
// nothing.
bool IsPlainView(DType dtype, absl::Span<const int64_t> shape,
                 absl::Span<const int64_t> strides, int64_t offset,
                 int64_t storage_bytes) {
  if (shape.size() != strides.size() || shape.size() > kMaxRank || offset < 0) {
    return false;
  }
  int64_t count = 1;
  int64_t last = offset;
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t reach;
    if (shape[i] <= 0 || strides[i] < 0 ||
        __builtin_mul_overflow(count, shape[i], &count) ||
        __builtin_mul_overflow(shape[i] - 1, strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return false;
    }
  }
  if (last == kMax) return false;
  const std::optional<int64_t> needed = BytesFor(dtype, last + 1);
  return needed && *needed <= storage_bytes;
}

}  // namespace

absl::Status CheckView(DType dtype, absl::Span<const int64_t> shape,
                       absl::Span<const int64_t> strides, int64_t offset,
                       int64_t storage_bytes) {
  if (IsPlainView(dtype, shape, strides, offset, storage_bytes)) {
    return absl::OkStatus();
  }
  if (shape.size() != strides.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d sizes but %d strides", shape.size(), strides.size()));
  }
  if (shape.size() > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d dimensions; at most %d are possible", shape.size(), kMaxRank));
  }
  PENSTOCK_RETURN_IF_ERROR(CheckSigns(shape, strides, offset));
  const std::optional<int64_t> count = CountElements(shape);
  if (!count) {
    return absl::InvalidArgumentError(
        absl::StrFormat("shape [%s] has more elements than fit 64 bits",
                        absl::StrJoin(shape, ", ")));
  }
  if (*count == 0) return absl::OkStatus();

  const std::optional<int64_t> last = LastElement(shape, strides, offset);
  const std::optional<int64_t> end = last ? CheckedAdd(*last, 1) : std::nullopt;
  const std::optional<int64_t> needed =
      end ? BytesFor(dtype, *end) : std::nullopt;
  if (needed && *needed <= storage_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s view of shape [%s], strides [%s], offset %d needs %s bytes of "
      "storage; it has %d",
      InfoOf(dtype).name, absl::StrJoin(shape, ", "),
      absl::StrJoin(strides, ", "), offset,
      needed ? absl::StrFormat("%d", *needed) : "more than 2^63",
      storage_bytes));
}

std::vector<int64_t> ContiguousStrides(absl::Span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    // Saturates where sizes beside a 0 are absurd: such strides are never used.
    stride =
        CheckedMultiply(stride, shape[i] > 0 ? shape[i] : 1).value_or(kMax);
  }
  return strides;
}

absl::StatusOr<Tensor> Tensor::Make(std::shared_ptr<const Storage> storage,
                                    DType dtype, std::vector<int64_t> shape,
                                    std::vector<int64_t> strides,
                                    int64_t offset) {
  if (storage == nullptr) {
    return absl::InvalidArgumentError("a tensor needs a storage");
  }
  if (strides.empty()) strides = ContiguousStrides(shape);
  PENSTOCK_RETURN_IF_ERROR(
      CheckView(dtype, shape, strides, offset, storage->size_bytes()));
  return Tensor(std::move(storage), dtype, shape, strides, offset);
}

Tensor::Tensor(std::shared_ptr<const Storage> storage, DType dtype,
               absl::Span<const int64_t> shape,
               absl::Span<const int64_t> strides, int64_t offset)
    : storage_(std::move(storage)),
      dtype_(dtype),
      shape_(shape.begin(), shape.end()),
      strides_(strides.begin(), strides.end()),
      offset_(offset),
      num_elements_(*CountElements(shape)) {}

int64_t Tensor::size_bytes() const {
  return BytesFor(dtype_, num_elements_).value_or(kMax);
}

bool Tensor::is_contiguous() const {
  if (num_elements_ == 0) return true;
  int64_t expected = 1;
  for (size_t i = shape_.size(); i-- > 0;) {
    if (shape_[i] == 1) continue;  // a stride that is never taken
    if (strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

ByteRange Tensor::byte_range() const {
  if (num_elements_ == 0) return {};
  const DTypeInfo& info = InfoOf(dtype_);
  const int64_t end = *LastElement(shape_, strides_, offset_) + 1;
  return {offset_ / info.values_per_byte * info.size_bytes,
          *BytesFor(dtype_, end)};
}

absl::StatusOr<Tensor> Tensor::Rows(int64_t begin, int64_t end) const {
  if (shape_.empty()) {
    return absl::InvalidArgumentError("a scalar has no rows");
  }
  if (begin < 0 || begin > end || end > shape_[0]) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "rows [%d, %d) of a tensor with %d", begin, end, shape_[0]));
  }
  Tensor rows = *this;
  rows.shape_[0] = end - begin;
  rows.num_elements_ = *CountElements(rows.shape_);
  // Without elements the old offset is as good as any, and cannot overflow.
  if (rows.num_elements_ > 0) rows.offset_ += begin * strides_[0];
  return rows;
}

absl::Status Tensor::CopyTo(absl::Span<uint8_t> out) const {
  const DTypeInfo& info = InfoOf(dtype_);
  if (info.values_per_byte != 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "elements of the packed dtype %s cannot be copied one by one",
        info.name));
  }
  if (static_cast<int64_t>(out.size()) != size_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the tensor has %d bytes, the place to copy it to %d",
                        size_bytes(), out.size()));
  }
  if (storage_->in_file()) {
    return absl::FailedPreconditionError(
        "the tensor's bytes are still in its file");
  }
  if (num_elements_ == 0) return absl::OkStatus();

  const int width = info.size_bytes;
  std::vector<Dimension> outer = Coalesce(shape_, strides_);
  const Dimension run = outer.back();
  outer.pop_back();
  std::vector<int64_t> position(outer.size(), 0);
  const uint8_t* const from = storage_->bytes().data();
  int64_t element = offset_;
  for (uint8_t* to = out.data();; to += run.size * width) {
    CopyRun(from + element * width, run, width, to);
    // Counts up like an odometer, the last dimension fastest.
    size_t i = outer.size();
    while (i > 0 && position[i - 1] == outer[i - 1].size - 1) {
      --i;
      element -= position[i] * outer[i].stride;
      position[i] = 0;
    }
    if (i == 0) return absl::OkStatus();
    ++position[i - 1];
    element += outer[i - 1].stride;
  }
}

}  // namespace penstock
