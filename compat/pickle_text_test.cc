#include "compat/pickle_text.h"

#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::pickle {
namespace {

TEST(PickleTextTest, Latin1GoesThereAndBack) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::string utf8 = Latin1ToUtf8(all);
  EXPECT_EQ(utf8.size(), 384);
  EXPECT_EQ(Utf8ToLatin1(utf8), all);
  EXPECT_EQ(Utf8ToLatin1("\xC4\x80"), std::nullopt);
}

TEST(PickleTextTest, DecodesRawUnicodeEscapes) {
  EXPECT_EQ(DecodeRawUnicodeEscape("a\\u20ac\\U0001f389\xE9"),
            "a\xE2\x82\xAC\xF0\x9F\x8E\x89\xC3\xA9");
  EXPECT_EQ(DecodeRawUnicodeEscape("\\\\u20ac\\n\\"), "\\\\u20ac\\n\\");
  for (const char* broken : {"\\u12", "\\u12g4", "\\U00110000", "\\u"}) {
    EXPECT_EQ(DecodeRawUnicodeEscape(broken), std::nullopt) << broken;
  }
}

TEST(PickleTextTest, DecodesQuotedStrings) {
  EXPECT_EQ(DecodeQuotedString("'a\\n\\x41\\101\\'\\q'"), "a\nAA'\\q");
  EXPECT_EQ(DecodeQuotedString("\"it's\""), "it's");
  EXPECT_EQ(DecodeQuotedString("''"), "");
  for (const char* broken : {"", "'", "abc", "'a\"", "'\\x4'", "'a\\'"}) {
    EXPECT_EQ(DecodeQuotedString(broken), std::nullopt) << broken;
  }
}

TEST(PickleTextTest, DecimalsBecomeTwosComplement) {
  const auto hex = [](const char* text) -> std::string {
    const auto bytes = DecimalToTwosComplement(text);
    return bytes ? absl::BytesToHexString(*bytes) : "none";
  };
  EXPECT_EQ(hex("0"), "00");
  EXPECT_EQ(hex("-0"), "00");
  EXPECT_EQ(hex("127"), "7f");
  EXPECT_EQ(hex("128"), "8000");
  EXPECT_EQ(hex("-128"), "80");
  EXPECT_EQ(hex("-129"), "7fff");
  EXPECT_EQ(hex("+4294967296"), "0000000001");
  EXPECT_EQ(hex("-4294967296"), "00000000ff");
  EXPECT_EQ(hex("1180591620717411303424"), "000000000000000040");
  for (const char* broken : {"", "-", "+", "1x", " 1", "0x1", "--1"}) {
    EXPECT_EQ(hex(broken), "none") << broken;
  }
  EXPECT_TRUE(DecimalToTwosComplement(std::string(kMaxDecimalDigits, '9')));
  EXPECT_FALSE(
      DecimalToTwosComplement(std::string(kMaxDecimalDigits + 1, '9')));
}

}  // namespace
}  // namespace penstock::pickle
