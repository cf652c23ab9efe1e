#include "compat/pt_file.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/golden_checkpoints.h"
#include "compat/pickle_writer.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<ForeignFile> OpenBytes(const std::string& bytes) {
  return OpenPt(FileFromString(bytes, "test.pt"));
}

void ExpectError(const std::string& bytes, absl::StatusCode code,
                 const std::string& text) {
  const auto pt = OpenBytes(bytes);
  EXPECT_EQ(pt.status().code(), code) << pt.status();
  EXPECT_THAT(std::string(pt.status().message()), HasSubstr(text));
}

// The bytes of every storage, chunk by chunk without a pump.
absl::StatusOr<std::vector<std::string>> ReadStorages(const ForeignFile& pt,
                                                      ForeignSource& source) {
  std::vector<std::string> storages;
  for (const auto& storage : pt.root.graph()->storages()) {
    storages.push_back(std::string(storage->size_bytes(), '\0'));
  }
  const Plan plan = PlanInOrder(pt.root.graph()->storages());
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes,
                              source.Bytes(plan, chunk, slot, nullptr));
    for (const Piece& piece : plan.pieces_of(chunk)) {
      std::copy_n(bytes.data() + piece.offset, piece.size,
                  storages[piece.storage].begin() + piece.begin);
    }
  }
  PENSTOCK_RETURN_IF_ERROR(source.Finish());
  return storages;
}

absl::StatusOr<std::vector<std::string>> ReadStorages(const std::string& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const ForeignFile pt, OpenBytes(file));
  return ReadStorages(pt, *pt.new_source());
}

std::vector<std::string> StoragesOf(const Value& root) {
  std::vector<std::string> storages;
  for (const auto& storage : root.graph()->storages()) {
    const auto bytes = storage->bytes();
    storages.emplace_back(bytes.begin(), bytes.end());
  }
  return storages;
}

TEST(OpenPtTest, GivesBackTheGoldenCheckpoints) {
  Value (*const makers[])() = {GoldenG1, GoldenG5, GoldenG6, GoldenG7,
                               GoldenG8, GoldenG9, GoldenG10};
  for (const auto& make : makers) {
    const Value root = make();
    const std::string file = WritePt(root, "golden").value();
    const auto pt = OpenBytes(file);
    ASSERT_TRUE(pt.ok()) << pt.status();
    EXPECT_TRUE(CompareValues(root, pt->root).ok())
        << CompareValues(root, pt->root);
    EXPECT_EQ(pt->writer, "torch.save (container version 3)");
    ExpectExtentsHold(*pt);
    EXPECT_THAT(pt->warnings, IsEmpty());
    const auto source = pt->new_source();
    EXPECT_EQ(ReadStorages(*pt, *source).value(), StoragesOf(root));
    EXPECT_EQ(source->unverified_bytes(), 0);
  }
}

TEST(OpenPtTest, RefusesEveryTruncation) {
  const std::string file = WritePt(GoldenG5(), "golden").value();
  for (size_t size = 0; size < file.size(); ++size) {
    const auto pt = OpenBytes(file.substr(0, size));
    EXPECT_EQ(pt.status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

// A flip that changes a number would be silent corruption of someone's weights:
// each bit either is noticed or means nothing.
TEST(OpenPtTest, NoBitFlipChangesATensor) {
  const Value root = GoldenG5();
  const std::vector<std::string> expected = StoragesOf(root);
  const std::string file = WritePt(root, "golden").value();
  int num_noticed = 0;
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string damaged = file;
    damaged[bit / 8] ^= 1 << (bit % 8);
    const auto pt = OpenBytes(damaged);
    if (!pt.ok()) {
      ++num_noticed;
      continue;
    }
    ASSERT_TRUE(CompareValues(root, pt->root).ok()) << bit;
    const auto storages = ReadStorages(*pt, *pt->new_source());
    if (!storages.ok()) {
      EXPECT_EQ(storages.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(storages.status().message()),
                  HasSubstr("zip_crc_mismatch: record \"golden/data/0\""));
      ++num_noticed;
      continue;
    }
    EXPECT_EQ(*storages, expected) << bit;
  }
  // Payloads, names, numbers: most of the file speaks.
  EXPECT_GT(num_noticed, static_cast<int>(file.size()) * 8 / 2);
}

// The records of a small checkpoint, to be changed: {'w': float32 [3]}.
std::vector<TestRecord> PlainRecords() {
  GraphBuilder b;
  const NodeId tensor =
      AddTensor(b, StorageOf<float>({1, 2, 3}), DType::kFloat32, {3});
  const Value root = DictOf(b, "w", tensor);
  return {{"a/data.pkl", WritePickle(root)->pickle},
          {"a/byteorder", "little"},
          {"a/data/0", absl::HexStringToBytes("0000803f0000004000004040")},
          {"a/version", "3\n"}};
}

TEST(OpenPtTest, ReadsFilesThatWereZippedAgain) {
  for (const int descriptor : {0, 12, 16, 20, 24}) {
    std::vector<TestRecord> records = PlainRecords();
    for (TestRecord& record : records) {
      record.descriptor_bytes = descriptor;
      record.deflate = record.name != "a/data/0";
    }
    records.insert(records.begin(), {"a/", ""});
    const auto storages = ReadStorages(TestZip(records, "comment").bytes());
    ASSERT_TRUE(storages.ok()) << storages.status();
    EXPECT_THAT(*storages, ElementsAre(PlainRecords()[2].payload));
  }
}

TEST(OpenPtTest, RefusesRecordsOfAnotherSize) {
  for (const int change : {-1, 1, -12, 4}) {
    std::vector<TestRecord> records = PlainRecords();
    records[2].payload.resize(12 + change);
    ExpectError(TestZip(records).bytes(), absl::StatusCode::kDataLoss,
                "storage_size");
  }
  std::vector<TestRecord> records = PlainRecords();
  records[2].name = "a/data/1";
  ExpectError(TestZip(records).bytes(), absl::StatusCode::kDataLoss,
              "storage_missing");
}

TEST(OpenPtTest, AcceptsAMissingRecordOfAnEmptyStorage) {
  std::vector<TestRecord> records = PlainRecords();
  records[0].payload = WritePickle(GoldenG10())->pickle;
  records.erase(records.begin() + 2);
  const auto storages = ReadStorages(TestZip(records).bytes());
  ASSERT_TRUE(storages.ok()) << storages.status();
  EXPECT_THAT(*storages, ElementsAre(""));
}

TEST(OpenPtTest, JudgesTheVersionAsTorchDoes) {
  struct Case {
    std::string text;
    absl::StatusCode code;
  };
  const Case cases[] = {
      {"1", absl::StatusCode::kOk},
      {"10", absl::StatusCode::kOk},
      {" 3x", absl::StatusCode::kOk},
      {"0", absl::StatusCode::kUnimplemented},
      {"11", absl::StatusCode::kUnimplemented},
      {"99999999999999999999", absl::StatusCode::kUnimplemented},
      {"abc", absl::StatusCode::kDataLoss},
      {"-1", absl::StatusCode::kDataLoss},
      {"", absl::StatusCode::kDataLoss},
      {std::string(5000, '3'), absl::StatusCode::kResourceExhausted},
  };
  for (const Case& c : cases) {
    std::vector<TestRecord> records = PlainRecords();
    records[3].payload = c.text;
    EXPECT_EQ(OpenBytes(TestZip(records).bytes()).status().code(), c.code)
        << c.text;
  }
  std::vector<TestRecord> records = PlainRecords();
  records.pop_back();
  ExpectError(TestZip(records).bytes(), absl::StatusCode::kDataLoss,
              "version_missing");
}

TEST(OpenPtTest, JudgesTheByteOrder) {
  for (const std::string& text :
       {std::string("middle"), std::string(), std::string("little\n"),
        std::string(100'000, 'l')}) {
    std::vector<TestRecord> records = PlainRecords();
    records[1].payload = text;
    ExpectError(TestZip(records).bytes(), absl::StatusCode::kDataLoss,
                "byteorder_bad");
  }
  std::vector<TestRecord> records = PlainRecords();
  records.erase(records.begin() + 1);
  EXPECT_TRUE(OpenBytes(TestZip(records).bytes()).ok());
}

// Each storage turned by the width of the numbers in it: of complex ones the
// halves, of types that torch keeps in untyped storages too.
TEST(OpenPtTest, TurnsBigEndianNumbers) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  std::vector<TestRecord> records = {
      {"a/data.pkl", ""}, {"a/byteorder", "big"}, {"a/version", "3\n"}};
  std::vector<std::string> expected;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    const int64_t size = *BytesFor(dtype, 8);
    const auto storage = StorageOfRange<uint8_t>(size);
    b.SetItem(root, b.Int(code), AddTensor(b, storage, dtype, {8}))
        .IgnoreError();
    std::string bytes(storage->bytes().begin(), storage->bytes().end());
    expected.push_back(bytes);
    const int width = InfoOf(dtype).word_bytes;
    for (int64_t i = 0; i < size; i += width) {
      std::reverse(bytes.begin() + i, bytes.begin() + i + width);
    }
    records.push_back({absl::StrCat("a/data/", code), bytes});
  }
  const Value value = std::move(b).Finish(root).value();
  records[0].payload = WritePickle(value)->pickle;
  const auto pt = OpenBytes(TestZip(records).bytes());
  ASSERT_TRUE(pt.ok()) << pt.status();
  const auto source = pt->new_source();
  EXPECT_EQ(ReadStorages(*pt, *source).value(), expected);
  EXPECT_EQ(source->unverified_bytes(), 0);
  // Samples are turned too.
  const int kFloat64 = static_cast<int>(DType::kFloat64);
  std::string sample(16, '\0');
  const absl::Span<uint8_t> out(reinterpret_cast<uint8_t*>(sample.data()), 16);
  ASSERT_TRUE(
      source->Sample(*pt->root.graph()->storages()[kFloat64], 8, out).ok());
  EXPECT_EQ(sample, expected[kFloat64].substr(8, 16));
  EXPECT_EQ(
      source->Sample(*pt->root.graph()->storages()[kFloat64], 7, out).code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(OpenPtTest, SaysWhatAnotherZipIs) {
  const auto expect = [](const std::string& record, const std::string& text) {
    std::vector<TestRecord> records = PlainRecords();
    records.push_back({record, "x"});
    ExpectError(TestZip(records).bytes(), absl::StatusCode::kUnimplemented,
                text);
  };
  expect("a/model.json", "TorchScript");
  std::vector<TestRecord> records = PlainRecords();
  records[0].name = "a/other.pkl";
  ExpectError(TestZip(records).bytes(), absl::StatusCode::kUnimplemented,
              "without data.pkl");
  for (TestRecord& record : records) record.name = record.name.substr(2);
  ExpectError(TestZip(records).bytes(), absl::StatusCode::kUnimplemented,
              "no folder");
}

TEST(OpenPtTest, RefusesRecordsOutsideOfTheFolder) {
  for (const char* name : {"__MACOSX/x", "b/data/0", "ab/x"}) {
    std::vector<TestRecord> records = PlainRecords();
    records.push_back({name, "x"});
    ExpectError(TestZip(records).bytes(), absl::StatusCode::kDataLoss,
                "zip_prefix");
  }
}

TEST(OpenPtTest, WarnsOfWhatTorchWouldNotLike) {
  std::vector<TestRecord> records = PlainRecords();
  records[0].payload += "trailing";
  records.push_back({"a/.storage_alignment", "abc"});
  records.push_back({"a/data/1", "x"});
  records.push_back({"a/evil.pkl", "x"});
  const auto pt = OpenBytes(TestZip(records).bytes());
  ASSERT_TRUE(pt.ok()) << pt.status();
  EXPECT_THAT(pt->warnings, Contains(HasSubstr("8 bytes behind the end")));
  EXPECT_THAT(pt->warnings, Contains(HasSubstr(".storage_alignment")));
  EXPECT_THAT(pt->warnings, Contains(HasSubstr("2 records that data.pkl")));
}

TEST(OpenPtTest, NoticesAWrongCrcOfThePickle) {
  std::vector<TestRecord> records = PlainRecords();
  const TestZip zip(records);
  const int64_t at = zip.payload(0) + 10;
  ExpectError(zip.With(at, zip.bytes()[at] ^ 1, 1), absl::StatusCode::kDataLoss,
              "zip_crc_mismatch: record \"a/data.pkl\"");
}

TEST(OpenPtTest, ReadsRecordsWithoutCrcButSaysSo) {
  const TestZip zip(PlainRecords());
  std::string bytes = zip.With(zip.central(2) + 16, 0, 4);
  bytes.replace(zip.local(2) + 14, 4, 4, '\0');
  const auto pt = OpenBytes(bytes);
  ASSERT_TRUE(pt.ok()) << pt.status();
  EXPECT_THAT(pt->warnings, ElementsAre(HasSubstr("have no CRC-32")));
  const auto source = pt->new_source();
  EXPECT_TRUE(ReadStorages(*pt, *source).ok());
  EXPECT_EQ(source->unverified_bytes(), 12);
}

// One storage of four chunks.
class LargeRecordTest : public testing::Test {
 protected:
  LargeRecordTest() {
    std::mt19937 random(3);
    std::vector<uint8_t> bytes(3'500'001);
    for (uint8_t& byte : bytes) byte = random();
    GraphBuilder b;
    const NodeId tensor = AddTensor(b, StorageOf(bytes), DType::kUInt8,
                                    {static_cast<int64_t>(bytes.size())});
    file_ = WritePt(DictOf(b, "w", tensor), "large").value();
    payload_.assign(bytes.begin(), bytes.end());
  }

  // All chunks in this order, the last with its status.
  absl::Status ReadInOrder(const ForeignFile& pt, ForeignSource& source,
                           const std::vector<int>& order) {
    const Plan plan = PlanInOrder(pt.root.graph()->storages());
    EXPECT_EQ(plan.chunks.size(), 4u);
    absl::Status status;
    Slot slot;
    for (const int i : order) {
      const auto bytes = source.Bytes(plan, plan.chunks[i], slot, nullptr);
      status.Update(bytes.status());
      if (!bytes.ok()) continue;
      const int64_t begin = plan.pieces_of(plan.chunks[i])[0].begin;
      EXPECT_TRUE(std::equal(
          bytes->begin(), bytes->end(), payload_.begin() + begin,
          [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
    }
    return status;
  }

  std::string file_;
  std::string payload_;
};

TEST_F(LargeRecordTest, VerifiesPiecesInEveryOrder) {
  const ForeignFile pt = OpenBytes(file_).value();
  std::vector<int> order = {0, 1, 2, 3};
  do {
    const auto source = pt.new_source();
    EXPECT_TRUE(ReadInOrder(pt, *source, order).ok());
    EXPECT_EQ(source->unverified_bytes(), 0);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(LargeRecordTest, NoticesDamageWithTheLastPiece) {
  const ForeignFile good = OpenBytes(file_).value();
  const int64_t payload = good.extents[0].file_offset;
  for (const int64_t at :
       {int64_t{0}, int64_t{1'500'000}, int64_t{3'500'000}}) {
    std::string damaged = file_;
    damaged[payload + at] ^= 4;
    payload_[at] ^= 4;
    const ForeignFile pt = OpenBytes(damaged).value();
    std::vector<int> order = {0, 1, 2, 3};
    do {
      const auto source = pt.new_source();
      EXPECT_EQ(ReadInOrder(pt, *source, order).code(),
                absl::StatusCode::kDataLoss);
    } while (std::next_permutation(order.begin(), order.end()));
    payload_[at] ^= 4;
  }
}

TEST_F(LargeRecordTest, CountsWhatNoCrcVouchesFor) {
  const ForeignFile pt = OpenBytes(file_).value();
  const auto source = pt.new_source();
  EXPECT_TRUE(ReadInOrder(pt, *source, {1, 2}).ok());
  EXPECT_EQ(source->unverified_bytes(), 2 * kChunkBytes);
  // The same piece again is not the missing one.
  EXPECT_TRUE(ReadInOrder(pt, *source, {1}).ok());
  EXPECT_EQ(source->unverified_bytes(), 3 * kChunkBytes);
  EXPECT_TRUE(ReadInOrder(pt, *source, {0, 3}).ok());
  EXPECT_EQ(source->unverified_bytes(), kChunkBytes);
}

TEST_F(LargeRecordTest, VerifiesTheRestOfWhatWasReadInPart) {
  const ForeignFile pt = OpenBytes(file_).value();
  const int64_t payload = pt.extents[0].file_offset;
  for (const int64_t at : {int64_t{-1}, int64_t{5}, int64_t{3'500'000}}) {
    std::string file = file_;
    if (at >= 0) file[payload + at] ^= 4;
    const ForeignFile maybe_damaged = OpenBytes(file).value();
    const auto source = maybe_damaged.new_source();
    EXPECT_TRUE(ReadInOrder(maybe_damaged, *source, {1, 2}).ok());
    EXPECT_EQ(source->VerifyRest().code(),
              at < 0 ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss);
    EXPECT_EQ(source->unverified_bytes(), at < 0 ? 0 : 3'500'001);
  }
}

// Views that overlap: what two of them have in common counts once.
TEST_F(LargeRecordTest, VerifiesOverlappingParts) {
  const ForeignFile pt = OpenBytes(file_).value();
  const auto& storage = pt.root.graph()->storages()[0];
  for (const bool damaged : {false, true}) {
    std::string file = file_;
    if (damaged) file[pt.extents[0].file_offset + 2'000'000] ^= 1;
    const auto source = OpenBytes(file).value().new_source();
    absl::Status status;
    Slot slot;
    for (const auto& [begin, end] :
         std::vector<std::pair<int64_t, int64_t>>{{1'000'000, 2'500'000},
                                                  {0, 1'200'000},
                                                  {2'400'000, 3'500'001},
                                                  {900'000, 2'600'000}}) {
      const Plan plan = PlanRange(storage, begin, end);
      for (const Chunk& chunk : plan.chunks) {
        status.Update(source->Bytes(plan, chunk, slot, nullptr).status());
      }
    }
    EXPECT_EQ(status.code(),
              damaged ? absl::StatusCode::kDataLoss : absl::StatusCode::kOk);
  }
}

TEST_F(LargeRecordTest, RefusesWhatIsNotInTheFile) {
  const ForeignFile pt = OpenBytes(file_).value();
  const auto source = pt.new_source();
  uint8_t byte;
  const auto sample = [&](const Storage& storage, int64_t begin) {
    return source->Sample(storage, begin, absl::MakeSpan(&byte, 1)).code();
  };
  const Storage& storage = *pt.root.graph()->storages()[0];
  EXPECT_EQ(sample(storage, 3'500'000), absl::StatusCode::kOk);
  EXPECT_EQ(sample(storage, 3'500'001), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sample(storage, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sample(*Storage::InFile(10, 1000), 0),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sample(*Storage::Allocate(10).value(), 0),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
