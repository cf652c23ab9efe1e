#include "compat/json_text.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

// The events in short: kind's number, text, number.
absl::StatusOr<std::vector<std::string>> EventsOf(absl::string_view text,
                                                  int64_t max_depth = 100) {
  std::vector<std::string> events;
  const absl::Status status =
      ReadJson(text, max_depth, [&](const JsonEvent& event) {
        switch (event.kind) {
          case JsonKind::kNull:
            events.push_back("null");
            break;
          case JsonKind::kBool:
            events.push_back(event.number != 0 ? "true" : "false");
            break;
          case JsonKind::kUnsigned:
            events.push_back(absl::StrCat(event.number));
            break;
          case JsonKind::kNegative:
            events.push_back(absl::StrCat("-", event.number));
            break;
          case JsonKind::kFloat:
            events.push_back("float");
            break;
          case JsonKind::kString:
            events.push_back(absl::StrCat("'", event.text, "'"));
            break;
          case JsonKind::kKey:
            events.push_back(absl::StrCat(event.text, ":"));
            break;
          case JsonKind::kBeginObject:
            events.push_back("{");
            break;
          case JsonKind::kEndObject:
            events.push_back("}");
            break;
          case JsonKind::kBeginArray:
            events.push_back("[");
            break;
          case JsonKind::kEndArray:
            events.push_back("]");
            break;
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return events;
}

TEST(JsonTextTest, GivesEveryPartInOrder) {
  const auto events = EventsOf(
      " {\"a\": [1, -2, -0, 2.5, 18446744073709551615, 18446744073709551616],\n"
      "\t\"a\": {\"\": null}, \"b\": [true, false, \"x\\u00e9\\n\"]}\r\n");
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_THAT(*events, ElementsAre("{", "a:", "[", "1", "-2", "-0", "float",
                                   "18446744073709551615", "float", "]",
                                   "a:", "{", ":", "null", "}", "b:", "[",
                                   "true", "false", "'x\xc3\xa9\n'", "]", "}"));
}

TEST(JsonTextTest, RefusesWhatIsNoJson) {
  for (const absl::string_view text :
       std::vector<absl::string_view>{"",
                                      " ",
                                      "{",
                                      "{\"a\"}",
                                      "{\"a\":1,}",
                                      "[1,]",
                                      "[1]]",
                                      "[1] x",
                                      "{a:1}",
                                      "'a'",
                                      "[01]",
                                      "[+1]",
                                      "[.5]",
                                      "[1.]",
                                      "[NaN]",
                                      "[1e999]",
                                      "/*x*/[1]",
                                      "[\"\x01\"]",
                                      "[\"\\x\"]",
                                      "\xEF\xBB\xBF[1]",
                                      "[\"\xff\"]",
                                      "[\"\\ud800\"]",
                                      "[\"\\udc00\"]",
                                      "[\"\\ud800\\u0041\"]",
                                      "[\"\xED\xA0\x80\"]",
                                      absl::string_view("[1]\0", 4),
                                      absl::string_view("\0[1]", 4),
                                      absl::string_view("[\"\0\"]", 5),
                                      "[\"\xC0\x80\"]"}) {
    EXPECT_EQ(EventsOf(text).status().code(), absl::StatusCode::kDataLoss)
        << text;
  }
}

TEST(JsonTextTest, CountsLevelsAndDoesNotRecurse) {
  EXPECT_TRUE(EventsOf("[[]]", 2).ok());
  EXPECT_FALSE(EventsOf("[[[]]]", 2).ok());
  EXPECT_TRUE(EventsOf("[[],[],{\"a\":1}]", 2).ok());
  const int64_t depth = 1'000'000;
  const auto deep = EventsOf(
      absl::StrCat(std::string(depth, '['), std::string(depth, ']')), depth);
  ASSERT_TRUE(deep.ok());
  EXPECT_EQ(static_cast<int64_t>(deep->size()), 2 * depth);
}

TEST(JsonTextTest, StopsAtTheCallersError) {
  int num_events = 0;
  const absl::Status status = ReadJson("[1,2,3]", 9, [&](const JsonEvent&) {
    return ++num_events == 2 ? absl::CancelledError("enough")
                             : absl::OkStatus();
  });
  EXPECT_EQ(status, absl::CancelledError("enough"));
  EXPECT_EQ(num_events, 2);
}

TEST(JsonTextTest, StringsComeBackFromTheirQuotes) {
  std::string all;
  for (char c = 0; c >= 0; ++c) {
    all.push_back(c);
    if (c == 127) break;
  }
  all += "\xc3\xa9\xf0\x9f\x98\x80";
  std::string quoted;
  AppendJsonString(all, quoted);
  EXPECT_NE(quoted.find("\\u001f !\\\"#"), std::string::npos) << quoted;
  EXPECT_NE(quoted.find("\\b\\t\\n\\u000b\\f\\r\\u000e"), std::string::npos);
  std::string back;
  ASSERT_TRUE(ReadJson(quoted, 0, [&](const JsonEvent& event) {
                back = std::string(event.text);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(back, all);
}

TEST(JsonTextTest, KnowsWhatAStringCanHold) {
  EXPECT_TRUE(IsJsonText("a\xc3\xa9\xed\x9f\xbf\xee\x80\x80"));
  EXPECT_FALSE(IsJsonText("a\xed\xa0\x80"));
  EXPECT_FALSE(IsJsonText("\xed\xbf\xbf"));
  EXPECT_FALSE(IsJsonText("\xed"));
  EXPECT_FALSE(IsJsonText("\xff"));
}

}  // namespace
}  // namespace penstock
