#include "compat/zip_layout.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

std::string Hex(const std::string& hex) { return absl::HexStringToBytes(hex); }

ZipLayout SmallLayout(int64_t alignment) {
  ZipLayout layout(alignment);
  EXPECT_TRUE(layout.Add("golden/data.pkl", 150).ok());
  EXPECT_TRUE(layout.Add("golden/.format_version", 1).ok());
  EXPECT_TRUE(layout.Add("golden/.storage_alignment", 2).ok());
  EXPECT_TRUE(layout.Add("golden/byteorder", 6).ok());
  EXPECT_TRUE(layout.Add("golden/data/0", 12).ok());
  EXPECT_TRUE(layout.Add("golden/version", 2).ok());
  EXPECT_TRUE(layout.Add("golden/.data/serialization_id", 40).ok());
  return layout;
}

TEST(ZipLayoutTest, PlacesTheGoldenFileAsTorchDoes) {
  const ZipLayout layout = SmallLayout(64);
  const int64_t headers[] = {0, 230, 337, 466, 598, 732, 850};
  const int64_t payloads[] = {64, 320, 448, 576, 704, 832, 960};
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(layout.records()[i].header_offset, headers[i]) << i;
    EXPECT_EQ(layout.records()[i].payload_offset, payloads[i]) << i;
  }
  EXPECT_EQ(layout.directory_offset(), 1016);
  EXPECT_EQ(layout.file_bytes(), 1570);
  EXPECT_EQ(layout.Directory().size(), 1570u - 1016u);
}

TEST(ZipLayoutTest, AlignsEveryPayloadToAnyAlignment) {
  for (int64_t alignment : {1, 2, 3, 48, 64, 100, 512, 4096, 65536}) {
    const ZipLayout layout = SmallLayout(alignment);
    for (const ZipRecord& record : layout.records()) {
      EXPECT_EQ(record.payload_offset % alignment, 0);
      EXPECT_GE(record.payload_offset - record.header_offset,
                kLocalHeaderBytes + 4);
    }
  }
}

// Over 4 GiB every clamp and every zip64 field shows. Nothing is written.
class Zip64LayoutTest : public testing::Test {
 protected:
  Zip64LayoutTest() {
    EXPECT_TRUE(layout_.Add("big/data.pkl", 6).ok());
    EXPECT_TRUE(layout_.Add("big/data/0", int64_t{1} << 32).ok());
    EXPECT_TRUE(layout_.Add("big/data/1", 10).ok());
    EXPECT_TRUE(layout_.Add("big/data/2", 0).ok());
    EXPECT_TRUE(layout_.Add("big/data/3", 0xFFFFFFFF).ok());
    EXPECT_TRUE(layout_.Add("big/version", 2).ok());
  }
  ZipLayout layout_{64};
};

TEST_F(Zip64LayoutTest, PlacesRecordsAsTorchDoes) {
  struct Expected {
    int64_t header, payload, extra_bytes;
    size_t descriptor_bytes;
  };
  const Expected table[] = {{0x0, 0x40, 22, 16},
                            {0x56, 0xc0, 66, 24},
                            {0x1000000d8, 0x100000140, 64, 24},
                            {0x100000162, 0x1000001c0, 54, 0},
                            {0x1000001c0, 0x100000240, 88, 24},
                            {0x200000257, 0x2000002c0, 64, 24}};
  for (int i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    const ZipRecord& record = layout_.records()[i];
    EXPECT_EQ(record.header_offset, table[i].header);
    EXPECT_EQ(record.payload_offset, table[i].payload);
    EXPECT_EQ(layout_.Descriptor(i).size(), table[i].descriptor_bytes);
    const std::string header = layout_.LocalHeader(i);
    EXPECT_EQ(static_cast<int64_t>(header.size()),
              record.payload_offset - record.header_offset);
    EXPECT_EQ(static_cast<uint8_t>(header[28]), table[i].extra_bytes);
    EXPECT_EQ(header[29], 0);
  }
  EXPECT_EQ(layout_.file_bytes(), 8589935843);
}

TEST_F(Zip64LayoutTest, WritesTheLocalZip64FieldsAsTorchDoes) {
  EXPECT_THAT(layout_.LocalHeader(1).substr(40),
              StartsWith(Hex("01001000"
                             "0000000001000000"
                             "0000000000000000"
                             "46422a005a5a")));
  EXPECT_THAT(layout_.LocalHeader(2).substr(40),
              StartsWith(Hex("01000800d8000000010000004642")));
}

TEST_F(Zip64LayoutTest, MatchesTorchsLengthWithItsOwnTwoRecords) {
  ASSERT_TRUE(layout_.Add("big/byteorder", 6).ok());
  ASSERT_TRUE(layout_.Add("big/.data/serialization_id", 40).ok());
  EXPECT_EQ(layout_.records()[6].header_offset, 0x2000002da);
  EXPECT_EQ(layout_.records()[7].header_offset, 0x20000035e);
  EXPECT_EQ(layout_.directory_offset(), 0x200000400);
  EXPECT_EQ(layout_.file_bytes(), 8589936292);
  const std::string directory = layout_.Directory();
  EXPECT_EQ(directory.size(), 578u + 98u);
  // The clamps are independent: real size, clamped offset.
  EXPECT_THAT(directory,
              EndsWith(Hex("504b0506000000000800080042020000ffffffff0000")));
}

TEST(ZipLayoutLimitTest, RefusesWhatTheFormatCannotHold) {
  ZipLayout layout(64);
  EXPECT_FALSE(layout.Add("", 1).ok());
  EXPECT_FALSE(layout.Add("/a", 1).ok());
  EXPECT_FALSE(layout.Add(std::string(512, 'a'), 1).ok());
  EXPECT_TRUE(layout.Add(std::string(511, 'a'), 1).ok());
  EXPECT_FALSE(layout.Add("a", -1).ok());
  EXPECT_EQ(layout.Add("a", INT64_MAX).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(ZipLayout(0).Add("a", 1).ok());
  EXPECT_FALSE(ZipLayout(65537).Add("a", 1).ok());
}

}  // namespace
}  // namespace penstock
