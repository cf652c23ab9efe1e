#include "core/python_repr.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/python_keys.h"

namespace penstock {
namespace {

// Its decimal form has about the 4,300 digits at which Python refuses, too.
constexpr size_t kMaxBigIntBytes = 1785;

std::string BigIntDigits(absl::string_view bytes) {
  const bool negative = static_cast<uint8_t>(bytes.back()) >= 0x80;
  std::vector<uint32_t> words((bytes.size() + 3) / 4);  // of the magnitude
  uint64_t carry = negative ? 1 : 0;
  for (size_t i = 0; i < words.size(); ++i) {
    uint32_t word = 0;
    for (size_t k = 4 * i; k < 4 * i + 4; ++k) {
      const uint32_t byte = k < bytes.size() ? static_cast<uint8_t>(bytes[k])
                            : negative       ? 255
                                             : 0;
      word |= byte << (8 * (k % 4));
    }
    carry += negative ? ~word : word;
    words[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  constexpr uint32_t kBillion = 1'000'000'000;
  std::vector<uint32_t> groups;  // of nine digits, the lowest first
  while (!words.empty()) {
    uint64_t rest = 0;
    for (size_t i = words.size(); i-- > 0;) {
      rest = (rest << 32) | words[i];
      words[i] = static_cast<uint32_t>(rest / kBillion);
      rest %= kBillion;
    }
    groups.push_back(static_cast<uint32_t>(rest));
    while (!words.empty() && words.back() == 0) words.pop_back();
  }
  std::string text = absl::StrCat(negative ? "-" : "", groups.back());
  for (size_t i = groups.size() - 1; i-- > 0;) {
    absl::StrAppendFormat(&text, "%09d", groups[i]);
  }
  return text;
}

// The shortest digits that read back as `value`, laid out as Python does.
std::string FloatDigits(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double size = std::fabs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  char digits[64];
  const auto end = std::to_chars(
      digits, digits + sizeof(digits), value,
      fixed ? std::chars_format::fixed : std::chars_format::scientific);
  return std::string(digits, end.ptr);
}

std::string FloatRepr(double value) {
  std::string text = FloatDigits(value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string ComplexRepr(double real, double imag) {
  std::string text = FloatDigits(imag);
  if (real == 0 && !std::signbit(real)) return absl::StrCat(text, "j");
  const bool has_sign = text[0] == '-';
  return absl::StrCat("(", FloatDigits(real), has_sign ? "" : "+", text, "j)");
}

// The character that the bytes of a proven text start with.
uint32_t CodePoint(absl::string_view text, size_t& size) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = at(0);
  size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t point = size == 1 ? lead : lead & (0xFF >> (size + 1));
  for (size_t i = 1; i < size; ++i) point = (point << 6) | (at(i) & 0x3F);
  return point;
}

char QuoteFor(absl::string_view text) {
  const bool single = text.find('\'') != text.npos;
  return single && text.find('"') == text.npos ? '"' : '\'';
}

// True where `point` needed a backslash.
bool AppendEscape(uint32_t point, char quote, std::string& out) {
  switch (point) {
    case '\\':
      out += "\\\\";
      return true;
    case '\n':
      out += "\\n";
      return true;
    case '\r':
      out += "\\r";
      return true;
    case '\t':
      out += "\\t";
      return true;
    default:
      break;
  }
  if (point == static_cast<uint32_t>(quote)) {
    out += {'\\', quote};
  } else if (point < 0x20 || (point >= 0x7F && point <= 0xA0) ||
             point == 0xAD) {
    absl::StrAppendFormat(&out, "\\x%02x", point);
  } else if (point >= 0xD800 && point < 0xE000) {
    absl::StrAppendFormat(&out, "\\u%04x", point);
  } else {
    return false;
  }
  return true;
}

std::string StrRepr(absl::string_view text) {
  const char quote = QuoteFor(text);
  std::string out(1, quote);
  while (!text.empty()) {
    size_t size;
    const uint32_t point = CodePoint(text, size);
    if (!AppendEscape(point, quote, out)) out.append(text.data(), size);
    text.remove_prefix(size);
  }
  return out + quote;
}

std::string BytesRepr(absl::string_view bytes) {
  const char quote = QuoteFor(bytes);
  std::string out = {'b', quote};
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x80) {
      absl::StrAppendFormat(&out, "\\x%02x", byte);
    } else if (!AppendEscape(byte, quote, out)) {
      out += c;
    }
  }
  return out + quote;
}

std::optional<std::string> ScalarRepr(const Value& value) {
  switch (value.kind()) {
    case NodeKind::kNone:
      return "None";
    case NodeKind::kBool:
      return value.AsBool() ? "True" : "False";
    case NodeKind::kInt:
      return absl::StrCat(value.AsInt());
    case NodeKind::kBigInt:
      if (value.AsBytes().size() > kMaxBigIntBytes) return std::nullopt;
      return BigIntDigits(value.AsBytes());
    case NodeKind::kFloat:
      return FloatRepr(value.AsFloat());
    case NodeKind::kComplex:
      return ComplexRepr(value.real(), value.imag());
    case NodeKind::kStr:
      return StrRepr(value.AsBytes());
    case NodeKind::kPy2Str:
      return IsPythonText(value.AsBytes()) ? StrRepr(value.AsBytes())
                                           : BytesRepr(value.AsBytes());
    case NodeKind::kBytes:
      return BytesRepr(value.AsBytes());
    case NodeKind::kByteArray:
      return absl::StrCat("bytearray(", BytesRepr(value.AsBytes()), ")");
    case NodeKind::kGlobal:
      return absl::StrCat(value.module(), ".", value.name());
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<std::string> PythonRepr(const Value& value) {
  if (value.kind() != NodeKind::kTuple) return ScalarRepr(value);
  std::vector<std::string> items;
  for (int64_t i = 0; i < value.size(); ++i) {
    std::optional<std::string> item = ScalarRepr(value.item(i));
    if (!item.has_value()) return std::nullopt;
    items.push_back(*std::move(item));
  }
  return absl::StrCat("(", absl::StrJoin(items, ", "),
                      items.size() == 1 ? ",)" : ")");
}

}  // namespace penstock
