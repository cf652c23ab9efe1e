// JSON as text: a strict reader that gives events, and strings to write.

#ifndef PENSTOCK_COMPAT_JSON_TEXT_H_
#define PENSTOCK_COMPAT_JSON_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace penstock {

enum class JsonKind {
  kNull,
  kBool,      // number: 0 or 1
  kUnsigned,  // number; without sign, fraction and exponent, below 2^64
  kNegative,  // number: the distance from 0; "-0" is one
  kFloat,     // any other number
  kString,    // text, without its escapes
  kKey,       // text
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
};

struct JsonEvent {
  JsonKind kind = JsonKind::kNull;
  absl::string_view text;  // valid during the call; may hold NUL
  uint64_t number = 0;
};

// Reads one JSON value with white space around it (RFC 8259) and calls
// `on_event` for its parts in order; stops at its first error and returns it.
// Keys may come twice: that is for the caller to say. No recursion.
//
// Errors: kDataLoss with the place: no JSON, no UTF-8, a byte order mark, a
// lone surrogate, a number beyond double, objects and arrays deeper than
// `max_depth` (1: not even one within another).
absl::Status ReadJson(
    absl::string_view text, int64_t max_depth,
    absl::FunctionRef<absl::Status(const JsonEvent&)> on_event);

// True for what a JSON string can hold: UTF-8 without surrogates.
bool IsJsonText(absl::string_view bytes);

// Appends `utf8`, for which IsJsonText holds, quoted and escaped as little as
// can be, in the form that serde_json and nlohmann share.
void AppendJsonString(absl::string_view utf8, std::string& out);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_JSON_TEXT_H_
