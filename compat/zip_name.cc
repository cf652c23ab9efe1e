#include "compat/zip_name.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/zip_layout.h"

namespace penstock {
namespace {

bool IsUtf8(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const uint8_t lead = text[i++];
    if (lead < 0x80) continue;
    const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < size_t(more)) {
      return false;
    }
    uint32_t code = lead & (0x3F >> more);
    for (int k = 0; k < more; ++k) {
      const uint8_t next = text[i++];
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    const bool overlong =
        (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      return false;
    }
  }
  return true;
}

// True for what almost every name is: letters, digits, "_-/" and single dots;
// false says nothing.
bool IsPlain(absl::string_view name) {
  if (name.empty() || name[0] == '/' ||
      static_cast<int64_t>(name.size()) > kMaxRecordNameBytes) {
    return false;
  }
  char before = 0;
  for (const char c : name) {
    const bool is_plain = absl::ascii_isalnum(c) || c == '/' || c == '_' ||
                          c == '-' || (c == '.' && before != '.');
    if (!is_plain) return false;
    before = c;
  }
  return true;
}

}  // namespace

absl::string_view RecordNameProblem(absl::string_view name) {
  if (IsPlain(name)) return "";
  if (name.empty()) return "is empty";
  if (static_cast<int64_t>(name.size()) > kMaxRecordNameBytes) {
    return "is longer than 511 bytes";
  }
  if (name.find('\0') != name.npos) return "contains NUL";
  if (name.find('\\') != name.npos) return "contains a backslash";
  if (name[0] == '/' || (name.size() > 2 && name[1] == ':' && name[2] == '/')) {
    return "is an absolute path";
  }
  if (name == ".." || absl::StartsWith(name, "../") ||
      absl::EndsWith(name, "/..") || absl::StrContains(name, "/../")) {
    return "leads out of its folder";
  }
  return IsUtf8(name) ? "" : "is not UTF-8";
}

bool IsFileName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(absl::string_view("/\\\0", 3)) == name.npos;
}

std::string QuotedRecordName(absl::string_view name) {
  constexpr size_t kShown = 100;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kShown)),
                      name.size() > kShown ? "..." : "", "\"");
}

}  // namespace penstock
