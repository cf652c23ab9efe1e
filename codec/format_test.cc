#include "codec/format.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

Header SomeHeader() {
  Header header;
  header.chunk_bytes = 1 << 20;
  header.optional_features = 5;
  return header;
}

Footer SomeFooter() {
  Footer footer;
  footer.index_offset = 1000;
  footer.index_bytes = 40;
  footer.file_bytes = 1040 + kFooterBytes;
  footer.index_hash = HashOf(ByteSpan("index"));
  return footer;
}

TEST(FormatTest, HeaderComesBack) {
  const std::string bytes = PackHeader(SomeHeader());
  ASSERT_EQ(bytes.size(), kHeaderBytes);
  EXPECT_TRUE(IsNativeStart(ByteSpan(bytes)));
  const auto header = ParseHeader(ByteSpan(bytes));
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->chunk_bytes, 1 << 20);
  EXPECT_EQ(header->optional_features, 5);
}

TEST(FormatTest, FooterComesBack) {
  const std::string bytes = PackFooter(SomeFooter());
  ASSERT_EQ(bytes.size(), kFooterBytes);
  const auto footer = ParseFooter(ByteSpan(bytes), SomeFooter().file_bytes);
  ASSERT_TRUE(footer.ok()) << footer.status();
  EXPECT_EQ(footer->index_offset, 1000);
  EXPECT_EQ(footer->index_bytes, 40);
  EXPECT_TRUE(footer->index_hash == SomeFooter().index_hash);
}

TEST(FormatTest, EveryBitFlipIsFound) {
  const std::string header = PackHeader(SomeHeader());
  const std::string footer = PackFooter(SomeFooter());
  const auto flip = [](std::string bytes, size_t bit) {
    bytes[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    return bytes;
  };
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    EXPECT_EQ(ParseHeader(ByteSpan(flip(header, bit))).status().code(),
              absl::StatusCode::kDataLoss);
  }
  for (size_t bit = 0; bit < footer.size() * 8; ++bit) {
    EXPECT_EQ(ParseFooter(ByteSpan(flip(footer, bit)), SomeFooter().file_bytes)
                  .status()
                  .code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(FormatTest, AMissingFooterIsCalledATruncation) {
  const std::string bytes(kFooterBytes, 'x');
  EXPECT_THAT(
      std::string(ParseFooter(ByteSpan(bytes), 4711).status().message()),
      HasSubstr("file ends at 4711, footer missing"));
}

TEST(FormatTest, AFooterOfAnotherSizeIsRefused) {
  const std::string bytes = PackFooter(SomeFooter());
  const int64_t size = SomeFooter().file_bytes;
  EXPECT_THAT(
      std::string(ParseFooter(ByteSpan(bytes), size + 1).status().message()),
      HasSubstr("file size: expected 1120 bytes, found 1121"));
}

}  // namespace
}  // namespace penstock
