// CompareElements: how much the elements of two tensors differ. Private to
// api/.

#ifndef PENSTOCK_API_ELEMENT_COMPARE_H_
#define PENSTOCK_API_ELEMENT_COMPARE_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "api/diff.h"
#include "core/dtype.h"

namespace penstock {

// ElementStats of a part, to be summed up. In long double, so that no square
// of a float64 overflows.
struct ElementSums {
  ElementStats stats;  // relative_l2 is not set
  long double a_squares = 0;
  long double difference_squares = 0;

  void Add(const ElementSums& part);
  // As if every element were there `times` times.
  void Repeat(int64_t times);
  ElementStats Finish() const;
};

// The elements of one side, in C order, little-endian, without alignment.
struct ElementBytes {
  DType dtype = DType::kUInt8;
  absl::Span<const uint8_t> bytes;
};

// True where elements of this dtype are numbers to CompareElements.
bool HasNumbers(DType dtype);

// Adds both sides' elements, the same number of them, to `sums`. Dtypes that
// differ must have numbers, which are compared as float64; int64 and uint64 of
// one dtype are subtracted exactly.
void CompareElements(const ElementBytes& a, const ElementBytes& b,
                     const std::optional<Tolerance>& tolerance,
                     ElementSums& sums);

}  // namespace penstock

#endif  // PENSTOCK_API_ELEMENT_COMPARE_H_
