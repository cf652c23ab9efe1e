// The text forms inside a pickle: Latin-1, escapes and decimal integers.

#ifndef PENSTOCK_COMPAT_PICKLE_TEXT_H_
#define PENSTOCK_COMPAT_PICKLE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace penstock::pickle {

// `bytes` read as Latin-1, in UTF-8.
std::string Latin1ToUtf8(absl::string_view bytes);
// Nothing where a code point is above 255. `text` must be IsPythonText
// (core/python_keys.h).
std::optional<std::string> Utf8ToLatin1(absl::string_view text);

// The line of UNICODE: Latin-1 with \uXXXX and \UXXXXXXXX, in UTF-8. Nothing
// for a broken escape.
std::optional<std::string> DecodeRawUnicodeEscape(absl::string_view line);

// The line of STRING: a quoted literal of Python 2's str. Nothing where the
// quotes do not match or an escape is broken.
std::optional<std::string> DecodeQuotedString(absl::string_view line);

// An optional sign and at most kMaxDecimalDigits digits, as little-endian two's
// complement, minimal except that zero is one byte. Nothing for other text.
// The limit is CPython's own: conversion takes quadratic time.
inline constexpr int kMaxDecimalDigits = 4300;
std::optional<std::string> DecimalToTwosComplement(absl::string_view text);

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_TEXT_H_
