#include "core/python_keys.h"

#include <string>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(IsPythonTextTest, AcceptsUtf8AndLoneSurrogates) {
  for (const char* text :
       {"", "a", "plain ASCII of some length", "\x7F", "\xC2\x80", "\xDF\xBF",
        "\xE0\xA0\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF",
        "\xED\xA0\x80", "\xED\xBF\xBF", "long enough \xE2\x82\xAC for words"}) {
    EXPECT_TRUE(IsPythonText(text)) << text;
  }
  EXPECT_TRUE(IsPythonText(absl::string_view("a\0b", 3)));
}

TEST(IsPythonTextTest, RefusesEverythingElse) {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2",
        "\xC2"
        "a",
        "\xE0\x80\x80", "\xE0\x9F\xBF", "\xE2\x82",
        "\xE2\x82"
        "a",
        "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xF8\x88\x80\x80\x80", "\xFE",
        "\xFF", "seven.. \xE2\x82"}) {
    EXPECT_FALSE(IsPythonText(text)) << text;
  }
}

TEST(IsMinimalBigIntTest, WantsNineBytesThatAreNeeded) {
  const std::string zeros(8, '\0');
  const std::string ones(8, '\xFF');
  EXPECT_FALSE(IsMinimalBigInt(""));
  EXPECT_FALSE(IsMinimalBigInt(zeros));
  EXPECT_TRUE(IsMinimalBigInt(zeros + "\x01"));
  EXPECT_FALSE(IsMinimalBigInt(zeros + std::string(1, '\0')));
  EXPECT_TRUE(IsMinimalBigInt(ones + std::string(1, '\0')));  // 2^64 - 1
  EXPECT_FALSE(IsMinimalBigInt(ones + "\xFF"));
  EXPECT_TRUE(IsMinimalBigInt(zeros + "\xFF"));  // -2^64
}

}  // namespace
}  // namespace penstock
