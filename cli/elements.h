// The elements of tensors, as numbers and as text, for `cat` and `extract`.

#ifndef PENSTOCK_CLI_ELEMENTS_H_
#define PENSTOCK_CLI_ELEMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/tensor.h"

namespace penstock {

// Elements in C order, densely, each in a whole number of bytes. Plain data.
struct Elements {
  DType dtype = DType::kUInt8;
  std::vector<int64_t> shape;
  int element_bytes = 1;  // 1 for packed dtypes too: a byte for each value
  std::vector<uint8_t> bytes;
};

// Those of a tensor in memory, conjugated and negated as `flags` (TensorFlags)
// say. Packed values are unpacked, the lowest bits first.
// Errors: kResourceExhausted where they do not fit into memory (stride 0);
// kUnimplemented for a negated tensor whose dtype has no sign.
absl::StatusOr<Elements> ElementsOf(const Tensor& tensor, uint8_t flags);

// What numpy has for a dtype: itself; the smallest floating-point dtype that
// holds every value of those that it lacks (float32 for bfloat16 and float8,
// complex64 for complex32); integers of the same size for quantised dtypes,
// whose scale is no part of a tensor, for bits, packed floats and odd widths.
DType NumpyDTypeOf(DType dtype);
// The unsigned integers that take an element's bits as they are; a dtype that
// numpy has stays itself.
DType RawNumpyDTypeOf(DType dtype);

// `elements`, of `dtype` where that is NumpyDTypeOf or RawNumpyDTypeOf of
// theirs. No value changes; a NaN keeps its sign and may lose its payload.
Elements InDType(Elements elements, DType dtype);

// One element as Python prints it: 3, 0.1, 1e-05, nan, True, 1.5-2.0j. The
// shortest digits that give the same element back in its own dtype; whole
// numbers stay whole. Elements of dtypes that are no numbers (bits, packed
// floats) come as unsigned integers.
std::string ElementText(DType dtype, const uint8_t* element);
// As JSON: true; numbers, those of floating-point dtypes with '.' or 'e';
// "NaN", "Infinity" and "-Infinity"; [real, imaginary].
std::string ElementJson(DType dtype, const uint8_t* element);

}  // namespace penstock

#endif  // PENSTOCK_CLI_ELEMENTS_H_
