// JSON output: every document carries the name of its schema.

#ifndef PENSTOCK_CLI_JSON_H_
#define PENSTOCK_CLI_JSON_H_

#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace penstock {

using Json = nlohmann::ordered_json;

// Text from a file as a JSON string.
inline std::string JsonText(absl::string_view text) {
  return std::string(text.data(), text.size());
}

// On stdout. What is no UTF-8 (names may hold lone surrogates) becomes U+FFFD.
inline void PrintJsonLine(const Json& json) {
  std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

// An object whose last value is too large for a Json: all up to that value,
// which is to follow, then "\n}\n".
inline void PrintJsonHead(const Json& others, const char* last_key) {
  std::string head = others.dump(2, ' ', false, Json::error_handler_t::replace);
  head.resize(head.rfind('\n'));
  std::printf("%s,\n  \"%s\": ", head.c_str(), last_key);
}

}  // namespace penstock

#endif  // PENSTOCK_CLI_JSON_H_
