#include "compat/pickle_text.h"

#include <vector>

namespace penstock::pickle {
namespace {

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
    return;
  }
  const int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out.push_back(static_cast<char>(kLead[tail] | code >> 6 * tail));
  for (int i = tail - 1; i >= 0; --i) {
    out.push_back(static_cast<char>(0x80 | (code >> 6 * i & 0x3F)));
  }
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Exactly `count` hex digits off the front of `text`.
std::optional<uint32_t> TakeHex(absl::string_view& text, size_t count) {
  if (text.size() < count) return std::nullopt;
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    const int digit = HexDigit(text[i]);
    if (digit < 0) return std::nullopt;
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  text.remove_prefix(count);
  return value;
}

// Up to three octal digits off the front of `text`; there is at least one.
char TakeOctal(absl::string_view& text) {
  int value = 0;
  for (int i = 0; i < 3 && !text.empty(); ++i) {
    if (text[0] < '0' || text[0] > '7') break;
    value = value * 8 + (text[0] - '0');
    text.remove_prefix(1);
  }
  return static_cast<char>(value);
}

// The character that `\c` stands for in Python; 0 where it is none of these.
char SimpleEscape(char c) {
  constexpr absl::string_view kLetters = "\\'\"abfnrtv";
  constexpr absl::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
  const size_t at = kLetters.find(c);
  return at == absl::string_view::npos ? '\0' : kMeanings[at];
}

// What follows a backslash, off the front of `text` (not empty).
bool TakeEscape(absl::string_view& text, std::string& out) {
  const char c = text[0];
  if (c >= '0' && c <= '7') {
    out.push_back(TakeOctal(text));
    return true;
  }
  text.remove_prefix(1);
  if (const char meaning = SimpleEscape(c); meaning != '\0') {
    out.push_back(meaning);
  } else if (c == 'x') {
    const std::optional<uint32_t> value = TakeHex(text, 2);
    if (!value) return false;
    out.push_back(static_cast<char>(*value));
  } else {
    // Python keeps an unknown escape as it stands.
    out.push_back('\\');
    out.push_back(c);
  }
  return true;
}

}  // namespace

std::string Latin1ToUtf8(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (char c : bytes) AppendUtf8(static_cast<uint8_t>(c), out);
  return out;
}

std::optional<std::string> Utf8ToLatin1(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      out.push_back(text[i]);
      continue;
    }
    // U+0080 to U+00FF begin with one of two bytes; one more follows.
    if ((lead != 0xC2 && lead != 0xC3) || ++i == text.size()) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(lead << 6 | (text[i] & 0x3F)));
  }
  return out;
}

std::optional<std::string> DecodeRawUnicodeEscape(absl::string_view line) {
  std::string out;
  while (!line.empty()) {
    const char c = line[0];
    line.remove_prefix(1);
    if (c != '\\' || line.empty()) {
      AppendUtf8(static_cast<uint8_t>(c), out);
      continue;
    }
    const char kind = line[0];
    line.remove_prefix(1);
    if (kind != 'u' && kind != 'U') {
      // Two backslashes are two characters and escape nothing.
      out.push_back('\\');
      AppendUtf8(static_cast<uint8_t>(kind), out);
      continue;
    }
    const std::optional<uint32_t> code = TakeHex(line, kind == 'u' ? 4 : 8);
    if (!code || *code > 0x10FFFF) return std::nullopt;
    AppendUtf8(*code, out);
  }
  return out;
}

std::optional<std::string> DecodeQuotedString(absl::string_view line) {
  if (line.size() < 2 || line.front() != line.back()) return std::nullopt;
  if (line.front() != '\'' && line.front() != '"') return std::nullopt;
  line = line.substr(1, line.size() - 2);
  std::string out;
  while (!line.empty()) {
    const char c = line[0];
    line.remove_prefix(1);
    if (c != '\\') {
      out.push_back(c);
    } else if (line.empty() || !TakeEscape(line, out)) {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<std::string> DecimalToTwosComplement(absl::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  if (text.empty() || text.size() > kMaxDecimalDigits) return std::nullopt;
  std::vector<uint32_t> limbs = {0};
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    uint64_t carry = static_cast<uint64_t>(c - '0');
    for (uint32_t& limb : limbs) {
      carry += uint64_t{limb} * 10;
      limb = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
  }
  limbs.push_back(0);  // room for the sign
  std::string out;
  uint64_t borrow = 1;
  for (uint32_t limb : limbs) {
    if (negative) {
      borrow += static_cast<uint32_t>(~limb);
      limb = static_cast<uint32_t>(borrow);
      borrow >>= 32;
    }
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(limb >> 8 * i));
  }
  // Of the result: -0 is 0.
  const char sign = (out.back() & 0x80) != 0 ? '\xFF' : '\0';
  while (out.size() > 1 && out.back() == sign &&
         ((out[out.size() - 2] ^ sign) & 0x80) == 0) {
    out.pop_back();
  }
  return out;
}

}  // namespace penstock::pickle
