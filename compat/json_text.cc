#include "compat/json_text.h"

#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "core/python_keys.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using Json = nlohmann::json;

// What nlohmann's parser calls; false stops it.
class Events {
 public:
  Events(int64_t max_depth,
         absl::FunctionRef<absl::Status(const JsonEvent&)> on_event)
      : max_depth_(max_depth), on_event_(on_event) {}

  const absl::Status& status() const { return status_; }

  bool null() { return Give({JsonKind::kNull, {}, 0}); }
  bool boolean(bool value) { return Give({JsonKind::kBool, {}, value}); }
  bool number_integer(int64_t value) {
    // Only for what has a sign.
    return Give({JsonKind::kNegative, {}, 0 - static_cast<uint64_t>(value)});
  }
  bool number_unsigned(uint64_t value) {
    return Give({JsonKind::kUnsigned, {}, value});
  }
  bool number_float(double, const std::string&) {
    return Give({JsonKind::kFloat, {}, 0});
  }
  bool string(std::string& text) { return Give({JsonKind::kString, text, 0}); }
  bool key(std::string& text) { return Give({JsonKind::kKey, text, 0}); }
  bool binary(Json::binary_t&) { return false; }  // never in text
  bool start_object(size_t) { return Enter(JsonKind::kBeginObject); }
  bool end_object() { return Leave(JsonKind::kEndObject); }
  bool start_array(size_t) { return Enter(JsonKind::kBeginArray); }
  bool end_array() { return Leave(JsonKind::kEndArray); }
  bool parse_error(size_t position, const std::string&,
                   const Json::exception&) {
    status_ = absl::DataLossError(
        absl::StrFormat("no valid JSON at byte %d", position));
    return false;
  }

 private:
  bool Give(const JsonEvent& event) {
    status_ = on_event_(event);
    return status_.ok();
  }
  bool Enter(JsonKind kind) {
    if (++depth_ > max_depth_) {
      status_ = absl::DataLossError(
          absl::StrFormat("JSON of more than %d levels", max_depth_));
      return false;
    }
    return Give({kind, {}, 0});
  }
  bool Leave(JsonKind kind) {
    --depth_;
    return Give({kind, {}, 0});
  }

  const int64_t max_depth_;
  const absl::FunctionRef<absl::Status(const JsonEvent&)> on_event_;
  int64_t depth_ = 0;
  absl::Status status_;
};

}  // namespace

absl::Status ReadJson(
    absl::string_view text, int64_t max_depth,
    absl::FunctionRef<absl::Status(const JsonEvent&)> on_event) {
  // nlohmann skips a byte order mark and takes NUL for the end.
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) {
    return absl::DataLossError(
        "no valid JSON: it begins with a byte order mark");
  }
  if (const size_t nul = text.find('\0'); nul != absl::string_view::npos) {
    return absl::DataLossError(
        absl::StrFormat("no valid JSON: a NUL at byte %d", nul));
  }
  Events events(max_depth, on_event);
  const bool done = Json::sax_parse(text.data(), text.data() + text.size(),
                                    &events, Json::input_format_t::json,
                                    /*strict=*/true);
  if (!done && events.status().ok()) {
    return absl::DataLossError("no valid JSON");
  }
  return events.status();
}

bool IsJsonText(absl::string_view bytes) {
  if (!IsPythonText(bytes)) return false;
  // Which may hold U+D800 to U+DFFF: ED A0 80 to ED BF BF.
  for (size_t i = bytes.find('\xED'); i != bytes.npos;
       i = bytes.find('\xED', i + 1)) {
    if (static_cast<uint8_t>(bytes[i + 1]) >= 0xA0) return false;
  }
  return true;
}

void AppendJsonString(absl::string_view utf8, std::string& out) {
  constexpr absl::string_view kPlain = "\"\\\b\f\n\r\t";
  constexpr absl::string_view kLetters = "\"\\bfnrt";
  out.push_back('"');
  size_t begin = 0;  // of what is still to be copied as it is
  for (size_t i = 0; i < utf8.size(); ++i) {
    const char c = utf8[i];
    if (static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(utf8.data() + begin, i - begin);
    begin = i + 1;
    if (const size_t place = kPlain.find(c); place != kPlain.npos) {
      out.push_back('\\');
      out.push_back(kLetters[place]);
    } else {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<int>(c));
    }
  }
  out.append(utf8.data() + begin, utf8.size() - begin);
  out.push_back('"');
}

}  // namespace penstock
