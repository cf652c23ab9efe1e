#include "cli/console.h"

#include <string>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(ConsoleTest, BytesHaveThreeDigits) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.00 kB");
  EXPECT_EQ(HumanBytes(99'950'000), "100 MB");
  EXPECT_EQ(HumanBytes(1'500'000'000), "1.50 GB");
  EXPECT_EQ(HumanBytes(999'600'000'000), "1.00 TB");
}

TEST(ConsoleTest, TimesGrowWithTheirLength) {
  EXPECT_EQ(HumanTime(1.25), "1.2 s");
  EXPECT_EQ(HumanTime(187), "3:07");
  EXPECT_EQ(HumanTime(3723), "1:02:03");
}

TEST(ConsoleTest, ParsesDecimalAndBinarySizes) {
  EXPECT_EQ(*ParseBytes("4096"), 4096);
  EXPECT_EQ(*ParseBytes("64k"), 64 << 10);
  EXPECT_EQ(*ParseBytes("1.5GB"), 1'500'000'000);
  EXPECT_EQ(*ParseBytes("256MiB"), 256 << 20);
  for (const char* bad :
       {"", "MB", "-1", "1x", "0", "1e9GB", "99999999999TB", "nan", "1.2.3"}) {
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  }
}

// A tensor's name must not move the cursor or fake a line of a log.
TEST(ConsoleTest, TextFromFilesIsEscaped) {
  EXPECT_EQ(Printable("layer.0.weight"), "layer.0.weight");
  EXPECT_EQ(Printable("größe €"), "größe €");
  EXPECT_EQ(Printable("a\nb\x1b[2J\x7f"), "a\\x0ab\\x1b[2J\\x7f");
  EXPECT_EQ(Printable("\xff\xed\xa0\x80"), "\\xff\\xed\\xa0\\x80");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(Printable("a\u202Eb\u2069"), "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa9");
  EXPECT_EQ(Printable("\u2013\u2082\u3002"), "\u2013\u2082\u3002");
}

}  // namespace
}  // namespace penstock
