// Tensor: a strided view of a Storage.

#ifndef PENSTOCK_CORE_TENSOR_H_
#define PENSTOCK_CORE_TENSOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/storage.h"

namespace penstock {

inline constexpr int kMaxRank = 64;  // torch's own limit

// Half-open byte range.
struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// A strided view of a Storage: what PyTorch calls a tensor, without the maths.
//
// Shares ownership of its storage, so several tensors may view one (tied
// weights). Copying a Tensor copies the view, never the bytes. Immutable.
class Tensor {
 public:
  // Views `storage` as `shape`.
  //
  //   strides  in elements, one per dimension; empty means contiguous, C order
  //   offset   in elements, from the start of `storage`
  //
  // Shape {} is a scalar with one element; a zero anywhere means no elements,
  // and then any stride and any offset >= 0 will do. Stride 0 repeats.
  //
  // Errors:
  //   kInvalidArgument  ranks differ, rank over kMaxRank, a size, stride or
  //                     offset is negative, the element count overflows, or the
  //                     last element would lie past the end of `storage`
  static absl::StatusOr<Tensor> Make(std::shared_ptr<const Storage> storage,
                                     DType dtype, std::vector<int64_t> shape,
                                     std::vector<int64_t> strides = {},
                                     int64_t offset = 0);

  const std::shared_ptr<const Storage>& storage() const { return storage_; }
  DType dtype() const { return dtype_; }
  absl::Span<const int64_t> shape() const { return shape_; }
  absl::Span<const int64_t> strides() const { return strides_; }
  int64_t offset() const { return offset_; }

  int64_t num_elements() const { return num_elements_; }
  // Bytes of the elements as a contiguous tensor (not of the storage). Stride-0
  // views may count more than the storage holds; saturates at INT64_MAX.
  int64_t size_bytes() const;
  bool is_contiguous() const;

  // The bytes of the storage from the first to behind the last element; empty
  // for no elements. Packed dtypes round outwards to whole bytes.
  ByteRange byte_range() const;

  // Rows [begin, end) along dimension 0, as a view of the same storage.
  // Errors: kInvalidArgument for a scalar, begin > end, end > shape[0].
  absl::StatusOr<Tensor> Rows(int64_t begin, int64_t end) const;

  // Copies the elements in C order into `out`, which has exactly size_bytes().
  // The storage must be in memory, the dtype not packed.
  // Errors: kInvalidArgument, kFailedPrecondition (still in a file).
  absl::Status CopyTo(absl::Span<uint8_t> out) const;

 private:
  // The tensors of tables that it has proven.
  friend class Graph;

  // Without the allocation that almost no tensor needs.
  using Dims = absl::InlinedVector<int64_t, 4>;

  Tensor() = default;
  Tensor(std::shared_ptr<const Storage> storage, DType dtype,
         absl::Span<const int64_t> shape, absl::Span<const int64_t> strides,
         int64_t offset);  // CheckView holds

  std::shared_ptr<const Storage> storage_;
  DType dtype_ = DType::kUInt8;
  Dims shape_;
  Dims strides_;
  int64_t offset_ = 0;
  int64_t num_elements_ = 0;
};

// The bounds proof that Make runs, for views that stand in a table (a graph of
// 100 000 tensors is checked without making one): `shape` and `strides` have
// one length, in elements, of a storage of `storage_bytes`.
// Errors: kInvalidArgument, as Make.
absl::Status CheckView(DType dtype, absl::Span<const int64_t> shape,
                       absl::Span<const int64_t> strides, int64_t offset,
                       int64_t storage_bytes);

// Strides of a contiguous tensor in C order. PyTorch's rule: a size of 0 counts
// as 1. The element count must not overflow.
std::vector<int64_t> ContiguousStrides(absl::Span<const int64_t> shape);

}  // namespace penstock

#endif  // PENSTOCK_CORE_TENSOR_H_
