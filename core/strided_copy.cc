#include "core/strided_copy.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

// One dimension of both views; strides in bytes.
struct Dimension {
  int64_t size;
  int64_t source;
  int64_t target;
};

// Neighbours become one wherever they are one step in both views, so that two
// contiguous tensors are one run. Never empty.
std::vector<Dimension> Coalesce(const Tensor& source, const Tensor& target) {
  const int64_t width = InfoOf(source.dtype()).size_bytes;
  std::vector<Dimension> dimensions;
  for (size_t i = 0; i < source.shape().size(); ++i) {
    const int64_t size = source.shape()[i];
    if (size == 1) continue;
    const Dimension next = {size, source.strides()[i] * width,
                            target.strides()[i] * width};
    if (!dimensions.empty()) {
      Dimension& last = dimensions.back();
      if (last.source == next.source * size &&
          last.target == next.target * size) {
        last = {last.size * size, next.source, next.target};
        continue;
      }
    }
    dimensions.push_back(next);
  }
  if (dimensions.empty()) dimensions.push_back({1, width, width});
  return dimensions;
}

template <int kWidth>
void CopyEach(const uint8_t* from, uint8_t* to, const Dimension& run) {
  for (int64_t i = 0; i < run.size; ++i) {
    std::memcpy(to + i * run.target, from + i * run.source, kWidth);
  }
}

void CopyRun(const uint8_t* from, uint8_t* to, const Dimension& run,
             int width) {
  if (run.source == width && run.target == width) {
    // A view may be loaded into itself.
    std::memmove(to, from, run.size * width);
    return;
  }
  switch (width) {
    case 1:
      return CopyEach<1>(from, to, run);
    case 2:
      return CopyEach<2>(from, to, run);
    case 4:
      return CopyEach<4>(from, to, run);
    case 8:
      return CopyEach<8>(from, to, run);
    default:
      PENSTOCK_CHECK(width == 16);
      return CopyEach<16>(from, to, run);
  }
}

void CopyStrided(const Tensor& source, const Tensor& target,
                 const uint8_t* from, uint8_t* to) {
  const int width = InfoOf(source.dtype()).size_bytes;
  from += source.offset() * width;
  to += target.offset() * width;
  std::vector<Dimension> outer = Coalesce(source, target);
  const Dimension run = outer.back();
  outer.pop_back();
  std::vector<int64_t> position(outer.size(), 0);
  while (true) {
    CopyRun(from, to, run, width);
    // Counts up like an odometer, the last dimension fastest.
    size_t i = outer.size();
    while (i > 0 && position[i - 1] == outer[i - 1].size - 1) {
      --i;
      from -= position[i] * outer[i].source;
      to -= position[i] * outer[i].target;
      position[i] = 0;
    }
    if (i == 0) return;
    ++position[i - 1];
    from += outer[i - 1].source;
    to += outer[i - 1].target;
  }
}

// Every byte that the elements of a packed tensor touch is wholly theirs, or
// the last one of the storage.
bool IsWholeBytes(const Tensor& tensor) {
  const int per_byte = InfoOf(tensor.dtype()).values_per_byte;
  return tensor.is_contiguous() && tensor.offset() % per_byte == 0 &&
         (tensor.num_elements() % per_byte == 0 ||
          tensor.byte_range().end == tensor.storage()->size_bytes());
}

std::string Describe(const Tensor& tensor) {
  return absl::StrCat(InfoOf(tensor.dtype()).name, " [",
                      absl::StrJoin(tensor.shape(), ", "), "]");
}

}  // namespace

absl::Status CheckCopy(const Tensor& source, const Tensor& target) {
  if (source.dtype() != target.dtype() || source.shape() != target.shape()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "source ", Describe(source), ", target ", Describe(target)));
  }
  if (source.num_elements() == 0) return absl::OkStatus();
  if (InfoOf(source.dtype()).values_per_byte > 1) {
    if (IsWholeBytes(source) && IsWholeBytes(target)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "packed ", Describe(source), " is not contiguous on whole bytes"));
  }
  for (size_t i = 0; i < target.shape().size(); ++i) {
    if (target.shape()[i] > 1 && target.strides()[i] == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("target ", Describe(target), " repeats dimension ", i));
    }
  }
  return absl::OkStatus();
}

absl::Status CopyElements(const Tensor& source, const Tensor& target) {
  PENSTOCK_RETURN_IF_ERROR(CheckCopy(source, target));
  if (source.storage()->in_file() || target.storage()->in_file()) {
    return absl::FailedPreconditionError("bytes are still in a file");
  }
  if (source.num_elements() == 0) return absl::OkStatus();
  const uint8_t* const from = source.storage()->bytes().data();
  uint8_t* const to = std::const_pointer_cast<Storage>(target.storage())
                          ->mutable_bytes()
                          .data();
  if (InfoOf(source.dtype()).values_per_byte == 1) {
    CopyStrided(source, target, from, to);
    return absl::OkStatus();
  }
  const ByteRange range = source.byte_range();
  std::memmove(to + target.byte_range().begin, from + range.begin,
               range.size());
  return absl::OkStatus();
}

}  // namespace penstock
