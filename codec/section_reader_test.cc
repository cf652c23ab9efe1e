#include "codec/section_reader.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "codec/format.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::string ThreeSections() {
  return PackSections({{1, kSectionRequired, ByteSpan("abc")},
                       {7, 0, ByteSpan("")},
                       {300, 0, ByteSpan("12345678")}});
}

struct Read {
  std::vector<SectionHead> sections;
  std::vector<std::string> bodies;
  Hash128 hash;
};

// Of an index that stands between other bytes.
absl::StatusOr<Read> ReadAll(const std::string& index) {
  const auto file = FileFromString("before" + index + "behind", "x");
  SectionReader reader(*file, 6, static_cast<int64_t>(index.size()));
  Read read;
  PENSTOCK_ASSIGN_OR_RETURN(read.sections, reader.ReadDirectory());
  for (const SectionHead& section : read.sections) {
    std::string& body = read.bodies.emplace_back();
    PENSTOCK_RETURN_IF_ERROR(
        reader.ReadBody(section, [&](absl::Span<const uint8_t> tile) {
          body.append(reinterpret_cast<const char*>(tile.data()), tile.size());
          return absl::OkStatus();
        }));
  }
  PENSTOCK_ASSIGN_OR_RETURN(read.hash, reader.HashAll());
  return read;
}

TEST(SectionReaderTest, SectionsComeBack) {
  const std::string bytes = ThreeSections();
  const auto read = ReadAll(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->sections.size(), 3);
  EXPECT_EQ(read->sections[0].flags, kSectionRequired);
  EXPECT_EQ(read->sections[1].type, 7);
  EXPECT_EQ(read->bodies, (std::vector<std::string>{"abc", "", "12345678"}));
  EXPECT_TRUE(read->hash == HashOf(ByteSpan(bytes)));
}

TEST(SectionReaderTest, LongBodiesComeInWholeTiles) {
  std::string body(2 * SectionReader::kTileBytes + 17, 'x');
  for (size_t i = 0; i < body.size(); ++i) {
    body[i] = static_cast<char>(i * i / 7);
  }
  const std::string bytes =
      PackSections({{1, 0, ByteSpan(body)}, {2, 0, ByteSpan("y")}});
  const auto file = FileFromString(bytes, "x");
  SectionReader reader(*file, 0, static_cast<int64_t>(bytes.size()));
  const auto sections = reader.ReadDirectory();
  ASSERT_TRUE(sections.ok()) << sections.status();
  std::vector<int64_t> sizes;
  std::string all;
  const auto take = [&](absl::Span<const uint8_t> tile) {
    sizes.push_back(static_cast<int64_t>(tile.size()));
    all.append(reinterpret_cast<const char*>(tile.data()), tile.size());
    return absl::OkStatus();
  };
  ASSERT_TRUE(reader.ReadBody((*sections)[0], take).ok());
  EXPECT_EQ(sizes, (std::vector<int64_t>{SectionReader::kTileBytes,
                                         SectionReader::kTileBytes, 17}));
  EXPECT_TRUE(all == body);
  // What is left is hashed, too.
  const auto hash = reader.HashAll();
  ASSERT_TRUE(hash.ok()) << hash.status();
  EXPECT_TRUE(*hash == HashOf(ByteSpan(bytes)));
}

TEST(SectionReaderTest, EveryBitOfABodyIsHashed) {
  const std::string bytes = ThreeSections();
  for (size_t bit = (8 + 3 * 32) * 8; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_EQ(ReadAll(damaged).status().code(), absl::StatusCode::kDataLoss)
        << bit;
  }
}

TEST(SectionReaderTest, EveryTruncationIsRefused) {
  const std::string bytes = ThreeSections();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(ReadAll(bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_FALSE(ReadAll(bytes + std::string(8, '\0')).ok());
}

TEST(SectionReaderTest, ARepeatedSectionIsRefused) {
  std::string bytes = ThreeSections();
  bytes[8 + 32] = 1;  // type of the second
  EXPECT_THAT(std::string(ReadAll(bytes).status().message()),
              HasSubstr("section type 1 after 1"));
}

TEST(SectionReaderTest, AnUnknownFlagIsUnimplemented) {
  std::string bytes = ThreeSections();
  bytes[8 + 4] = 3;
  EXPECT_EQ(ReadAll(bytes).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(SectionReaderTest, PaddingMustBeZero) {
  std::string bytes = ThreeSections();
  const size_t body = 8 + 3 * 32;
  bytes[body + 3] = 1;
  EXPECT_THAT(std::string(ReadAll(bytes).status().message()),
              HasSubstr("section of type 1: padding"));
}

}  // namespace
}  // namespace penstock
