// Diff: how two checkpoints differ, whatever their formats.

#ifndef PENSTOCK_API_DIFF_H_
#define PENSTOCK_API_DIFF_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/penstock.h"
#include "core/dtype.h"

namespace penstock {

// As numpy.allclose(a, b, rtol, atol, equal_nan=True): elements are close where
// |a - b| <= atol + rtol * |b|, both are NaN, or both the same infinity.
struct Tolerance {
  double rtol = 0;
  double atol = 0;
};

struct DiffOptions {
  // Without it tensors are the same where every element has the same bits. With
  // it also where the elements are close, whatever the dtypes.
  std::optional<Tolerance> tolerance;
  // False: what is no tensor is not looked at.
  bool compare_values = true;
  RunOptions run;
};

// Sizes of differences, over the elements of one tensor.
struct ElementStats {
  int64_t num_elements = 0;
  int64_t num_changed = 0;  // not the same bits (of two dtypes: not equal)
  int64_t num_beyond = 0;   // of these are not close; all without a tolerance
  // Of the changed have NaN or infinity on a side: not in relative_l2.
  int64_t num_not_finite = 0;
  // Largest |a - b|, of complex numbers the modulus; infinite where one side is
  // and the other is not; NaN does not count.
  double max_abs = 0;
  // |a - b| / |a| over all finite elements; infinite where |a| is 0 and b is
  // not.
  double relative_l2 = 0;
  // False for dtypes whose bits are no numbers here (bits8, quint4x2,
  // float4_e2m1fn_x2): these are compared byte by byte.
  bool has_numbers = true;
};

// One tensor that both have and that differs.
struct TensorDiff {
  std::string name;
  DType dtype_a = DType::kUInt8;
  DType dtype_b = DType::kUInt8;
  std::vector<int64_t> shape_a;
  std::vector<int64_t> shape_b;
  // Nothing where the shapes differ, or the dtypes without a tolerance.
  std::optional<ElementStats> stats;
};

// A tensor that only one of them has.
struct LoneTensor {
  std::string name;
  DType dtype = DType::kUInt8;
  std::vector<int64_t> shape;
};

// What is no tensor, at one path; nothing where it is not there. Long text and
// bytes are shortened to their beginning, size and hash.
struct ValueDiff {
  std::string path;
  std::optional<std::string> a;
  std::optional<std::string> b;
};

struct DiffReport {
  std::vector<LoneTensor> removed;  // only in a, in its order
  std::vector<LoneTensor> added;    // only in b
  int64_t num_common = 0;           // names that both have
  int64_t num_identical = 0;        // of them, to the last bit
  int64_t num_by_digest = 0;        // of these, known without reading
  int64_t num_close = 0;            // not identical, but within the tolerance
  // Shapes and dtypes first; then the largest relative_l2 first.
  std::vector<TensorDiff> changed;
  std::vector<ValueDiff> values;
  int64_t read_bytes = 0;  // of storages, of both sides
  double seconds = 0;

  bool same() const {
    return removed.empty() && added.empty() && changed.empty() &&
           values.empty();
  }
};

// Compares tensors by name and all else by its path in the tree; dicts, lists
// and objects by what is in them, the order of keys and the kind of container
// left aside; requires_grad and devices, too. A module that was pickled whole
// is compared as its state_dict.
//
// Streams: each side's bytes are read once, in chunks, verified as everywhere;
// tensors that are not contiguous, one at a time. Where both are .pstk with the
// same chunks, tensors whose hashes agree are not read: the index is believed
// (Verify proves it). What both sides repeat by a stride of 0 is read once.
//
// Errors: those of reading, which name the file; kResourceExhausted where a
// tensor that is not contiguous exceeds run.memory_bytes, where sharing
// multiplies the paths of the tree, or where tensors show over 2^31 elements
// that lie nowhere, in another order on each side; kInvalidArgument (a
// tolerance below 0).
absl::StatusOr<DiffReport> Diff(const Checkpoint& a, const Checkpoint& b,
                                const DiffOptions& options = {});

}  // namespace penstock

#endif  // PENSTOCK_API_DIFF_H_
