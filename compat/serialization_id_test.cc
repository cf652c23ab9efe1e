#include "compat/serialization_id.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(LibstdcxxHashTest, GivesTheKnownValues) {
  EXPECT_EQ(LibstdcxxHash("data.pkl"), 0x44943d565847b09eu);
  EXPECT_EQ(LibstdcxxHash("version"), 0x15ba742bb08e0596u);
  EXPECT_EQ(LibstdcxxHash("data/0"), 0x069d3707f0dfe08bu);
  EXPECT_EQ(LibstdcxxHash(""), 0x553e93901e462a6eu);
}

// The golden file of a float32 [1, 2, 3], as torch 2.13.0 writes it.
std::vector<IdRecord> GoldenRecords() {
  return {{"data.pkl", 150, 0x9464eb0b, {}},
          {".format_version", 1, 0x83dcefb7, {}},
          {".storage_alignment", 2, 0xe971773f, {}},
          {"byteorder", 6, 0x19e33d85, {}},
          {"data/0", 12, 0xb20e96b1, {}},
          {"version", 2, 0x55679ed1, {}}};
}

TEST(SerializationIdTest, IsTorchsForTheGoldenFile) {
  EXPECT_EQ(SerializationId(GoldenRecords()),
            "1572819951185464302605823121648058084398");
}

TEST(SerializationIdTest, EmptyRecordsCountByNameOnly) {
  std::vector<IdRecord> records = GoldenRecords();
  const std::string full = SerializationId(records);
  records[4].size_bytes = 0;
  records[4].crc32 = 0;
  const std::string empty = SerializationId(records);
  EXPECT_EQ(empty.substr(0, 20), full.substr(0, 20));
  EXPECT_NE(empty.substr(20), full.substr(20));
}

TEST(SerializationIdTest, CountsAMistakenDescriptorBeforeTheOwnCrc) {
  std::vector<IdRecord> mistaken = {{"a", 8, 2, 1}};
  std::vector<IdRecord> as_two = {{"a", 8, 1, {}}, {"b", 8, 2, {}}};
  EXPECT_EQ(SerializationId(mistaken).substr(20),
            SerializationId(as_two).substr(20));
}

#ifdef __GLIBCXX__
// The library that we imitate is the oracle, over every growth of its table.
TEST(SerializationIdTest, FollowsTheOrderOfUnorderedSet) {
  std::unordered_set<std::string> set;
  std::vector<std::string> names;
  names.reserve(130000);
  for (int i = 0; i < 130000; ++i) {
    names.push_back(absl::StrCat("data/", i));
    set.insert(names.back());
    if (i > 600 && i % 9973 != 0) continue;
    uint64_t expected = 0;
    for (const std::string& name : set) {
      expected ^=
          LibstdcxxHash(name) + 0x9E3779B9 + (expected << 6) + (expected >> 2);
    }
    std::vector<IdRecord> records;
    for (const std::string& each : names) records.push_back({each, 0, 0, {}});
    ASSERT_EQ(std::stoull(SerializationId(records).substr(0, 20)), expected)
        << "at " << names.size() << " names";
  }
}
#endif

}  // namespace
}  // namespace penstock
