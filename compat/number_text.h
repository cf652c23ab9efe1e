// Floats and big ints as text that loses nothing.

#ifndef PENSTOCK_COMPAT_NUMBER_TEXT_H_
#define PENSTOCK_COMPAT_NUMBER_TEXT_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace penstock {

// What Python's float.fromhex reads: "0x1.8p+0", "inf", "nan"; a NaN with other
// bits than Python's own as "nan:" and the bits, "nan:fff8000000000000".
std::string FloatText(double value);

// Nothing for text that FloatText does not write, up to equal spellings.
std::optional<double> FloatFromText(absl::string_view text);

// "-0x1f" of two's complement, little-endian, not empty.
std::string BigIntText(absl::string_view twos_complement);

// The same backwards, perhaps longer than need be; nothing for other text.
std::optional<std::string> BigIntFromText(absl::string_view text);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NUMBER_TEXT_H_
