#include "compat/number_text.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

#include "absl/strings/charconv.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace penstock {

std::string FloatText(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (!std::isnan(value)) return absl::StrFormat("%a", value);
  if (bits == 0x7ff8000000000000) return "nan";
  return absl::StrFormat("nan:%016x", bits);
}

std::optional<double> FloatFromText(absl::string_view text) {
  if (absl::ConsumePrefix(&text, "nan:")) {
    uint64_t bits;
    if (text.size() != 16 || !absl::SimpleHexAtoi(text, &bits)) {
      return std::nullopt;
    }
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  const bool negative = absl::ConsumePrefix(&text, "-");
  const double sign = negative ? -1 : 1;
  if (text == "inf") return sign * std::numeric_limits<double>::infinity();
  if (!absl::ConsumePrefix(&text, "0x")) return std::nullopt;
  double value;
  const auto [end, error] = absl::from_chars(
      text.data(), text.data() + text.size(), value, absl::chars_format::hex);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return sign * value;
}

std::string BigIntText(absl::string_view bytes) {
  const bool negative = static_cast<uint8_t>(bytes.back()) >= 0x80;
  std::string digits;
  int carry = negative ? 1 : 0;
  for (const char c : bytes) {
    const int byte = static_cast<uint8_t>(c);
    carry += negative ? 255 - byte : byte;
    digits.push_back("0123456789abcdef"[carry & 15]);
    digits.push_back("0123456789abcdef"[carry >> 4 & 15]);
    carry >>= 8;
  }
  if (carry > 0) digits.push_back('1');
  while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
  std::reverse(digits.begin(), digits.end());
  return absl::StrCat(negative ? "-0x" : "0x", digits);
}

std::optional<std::string> BigIntFromText(absl::string_view text) {
  const bool negative = absl::ConsumePrefix(&text, "-");
  if (!absl::ConsumePrefix(&text, "0x") || text.empty()) return std::nullopt;
  std::string bytes;
  int carry = negative ? 1 : 0;
  for (size_t taken = 0; taken < text.size(); taken += 2) {
    int byte = 0;
    for (size_t k = taken; k < taken + 2 && k < text.size(); ++k) {
      int digit;
      if (!absl::SimpleHexAtoi(text.substr(text.size() - 1 - k, 1), &digit)) {
        return std::nullopt;
      }
      byte |= digit << (4 * (k - taken));
    }
    carry += negative ? 255 - byte : byte;
    bytes.push_back(static_cast<char>(carry & 255));
    carry >>= 8;
  }
  // A whole byte of sign; the builder takes off what is too much.
  bytes.push_back(static_cast<char>(carry + (negative ? 255 : 0)));
  return bytes;
}

}  // namespace penstock
