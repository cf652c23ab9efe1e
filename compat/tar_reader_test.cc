#include "compat/tar_reader.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compat/tar_testing.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<std::vector<TarMember>> Read(const std::string& bytes) {
  return ReadTarDirectory(*FileFromString(bytes, "test.tar"));
}

void ExpectRefused(const std::string& bytes, const std::string& words) {
  const auto members = Read(bytes);
  ASSERT_FALSE(members.ok()) << words;
  EXPECT_THAT(std::string(members.status().message()), HasSubstr("tar_bad"));
  EXPECT_THAT(std::string(members.status().message()), HasSubstr(words));
}

TEST(TarReaderTest, GivesTheMembersInOrder) {
  const auto members =
      Read(absl::StrCat(Tarred("a", "123"), Tarred("d/", "", '5'),
                        Tarred("b", ""), TarEnd(), "whatever"));
  ASSERT_TRUE(members.ok()) << members.status();
  ASSERT_EQ(members->size(), 3u);
  EXPECT_EQ((*members)[0].name, "a");
  EXPECT_EQ((*members)[0].offset, 512);
  EXPECT_EQ((*members)[0].size_bytes, 3);
  EXPECT_EQ((*members)[0].type, '0');
  EXPECT_EQ((*members)[1].type, '5');
  EXPECT_EQ((*members)[2].name, "b");
  EXPECT_EQ((*members)[2].header_offset, 1536);
}

TEST(TarReaderTest, TheEndNeedNoZeros) {
  const auto members = Read(Tarred("a", "123"));
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(members->size(), 1u);
}

TEST(TarReaderTest, PaxAndGnuHeadersNameTheNextMember) {
  const std::string long_name(300, 'n');
  const auto members = Read(absl::StrCat(
      Tarred("p", PaxRecord("path", long_name) + PaxRecord("mtime", "1.5"),
             'x'),
      Tarred("short", "1"), Tarred("q", absl::StrCat(long_name, "2"), 'L'),
      Tarred("short", "2"), Tarred("short", "3")));
  ASSERT_TRUE(members.ok()) << members.status();
  ASSERT_EQ(members->size(), 3u);
  EXPECT_EQ((*members)[0].name, long_name);
  EXPECT_EQ((*members)[1].name, absl::StrCat(long_name, "2"));
  EXPECT_EQ((*members)[2].name, "short");
}

TEST(TarReaderTest, SizesMayBeOctalBinaryOrPax) {
  const std::string binary("\x80\0\0\0\0\0\0\0\0\0\0\5", 12);
  const std::string padded = absl::StrCat("12345", std::string(507, '\0'));
  const auto members = Read(absl::StrCat(
      TarHeader("octal", " 5 "), padded, TarHeader("binary", binary), padded,
      Tarred("p", PaxRecord("size", "5"), 'x'), TarHeader("pax", "0"), padded));
  ASSERT_TRUE(members.ok()) << members.status();
  ASSERT_EQ(members->size(), 3u);
  for (const TarMember& member : *members) EXPECT_EQ(member.size_bytes, 5);
}

TEST(TarReaderTest, RefusesWhatHasNoOrTwoMeanings) {
  std::string flipped = Tarred("a", "123");
  flipped[0] = 'b';
  ExpectRefused(flipped, "checksum");
  ExpectRefused(Tarred("a", "123").substr(0, 400), "cut off within it");
  ExpectRefused(Tarred("a", "123").substr(0, 514), "cut off");
  ExpectRefused(TarHeader("a", "77777777777"), "cut off");
  ExpectRefused(TarHeader("a", "128"), "no number");
  ExpectRefused(TarHeader("a", std::string(12, '\xff')), "no number");
  for (const std::string& pax :
       {std::string("x"), std::string("9999 a=b\n"), std::string("2 a=b\n"),
        std::string("6 ab\n\n"), PaxRecord("size", "-1"),
        PaxRecord("size", "99999999999999999999"),
        PaxRecord("GNU.sparse.map", "0,1")}) {
    ExpectRefused(absl::StrCat(Tarred("p", pax, 'x'), Tarred("a", "1")), "pax");
  }
  ExpectRefused(Tarred("p", PaxRecord("path", "a"), 'g'), "pax");
  ExpectRefused(Tarred("p", std::string((1 << 20) + 1, ' '), 'x'), "limit");
}

TEST(TarReaderTest, StopsAtAHundredThousandHeaders) {
  std::string bytes;
  const std::string member = Tarred("a", "");
  for (int64_t i = 0; i <= kMaxTarMembers; ++i) bytes += member;
  ExpectRefused(bytes, "100000");
}

}  // namespace
}  // namespace penstock
