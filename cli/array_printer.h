// PrintArray: elements in nested brackets.

#ifndef PENSTOCK_CLI_ARRAY_PRINTER_H_
#define PENSTOCK_CLI_ARRAY_PRINTER_H_

#include <cstdint>
#include <cstdio>

#include "cli/elements.h"

namespace penstock {

// Of a long dimension that is summarised, so many items at both ends stay.
inline constexpr int64_t kOuterItems = 3;

struct ArrayStyle {
  // kNumpy: "[[1.0 2.0]\n [3.0 4.0]]", aligned, in lines of about 75 columns.
  // kJson: "[[1.0, 2.0], ...", a line for each innermost row.
  enum Syntax { kNumpy, kJson } syntax = kNumpy;
  int64_t max_elements = 1000;  // above, long dimensions are summarised
  // The first dimension is 2 x kOuterItems, the outer ones of a longer one.
  bool first_is_cut = false;

  bool Summarises(int64_t num_elements) const {
    return num_elements > max_elements;
  }
};

// Prints to `out`, without a last newline. Nothing here fails: what could not
// be written shows in ferror(out).
void PrintArray(const Elements& elements, const ArrayStyle& style,
                std::FILE* out);

}  // namespace penstock

#endif  // PENSTOCK_CLI_ARRAY_PRINTER_H_
