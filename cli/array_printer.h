// PrintArray: elements in nested brackets.

#ifndef PENSTOCK_CLI_ARRAY_PRINTER_H_
#define PENSTOCK_CLI_ARRAY_PRINTER_H_

#include <cstdint>
#include <cstdio>

#include "cli/elements.h"

namespace penstock {

// Of a long dimension that is cut, so many items at both ends stay.
inline constexpr int64_t kOuterItems = 3;

struct ArrayStyle {
  // kNumpy: "[[1.0 2.0]\n [3.0 4.0]]", aligned, in lines of about 75 columns.
  // kJson: "[[1.0, 2.0], ...", a line for each innermost row.
  enum Syntax { kNumpy, kJson } syntax = kNumpy;
  // Bit d: dimension d is 2 x kOuterItems, the outer ones of a longer one.
  uint64_t cut_dims = 0;
};

// Prints to `out`, without a last newline. Nothing here fails: what could not
// be written shows in ferror(out).
void PrintArray(const Elements& elements, const ArrayStyle& style,
                std::FILE* out);

}  // namespace penstock

#endif  // PENSTOCK_CLI_ARRAY_PRINTER_H_
