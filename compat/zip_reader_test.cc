#include "compat/zip_reader.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "compat/zip_layout.h"
#include "compat/zip_record.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

absl::StatusOr<ZipDirectory> ReadBytes(const std::string& bytes,
                                       const ZipLimits& limits = {}) {
  return ReadZipDirectory(*FileFromString(bytes, "test.pt"), limits);
}

void ExpectError(const std::string& bytes, absl::StatusCode code,
                 const std::string& text) {
  const auto directory = ReadBytes(bytes);
  EXPECT_EQ(directory.status().code(), code) << directory.status();
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr(text));
}

void ExpectDamage(const std::string& bytes, const std::string& text) {
  ExpectError(bytes, absl::StatusCode::kDataLoss, text);
}

TestZip TwoRecords() {
  return TestZip({{"a/x", "hello", false, 0}, {"a/y", "worlds", false, 16}});
}

TestZip OneRecord(const std::string& name, const std::string& payload) {
  std::vector<TestRecord> records(1);
  records[0].name = name;
  records[0].payload = payload;
  return TestZip(records);
}

TEST(ZipReaderTest, ReadsStoredDeflatedAndEveryDescriptor) {
  const std::string text(1000, 'x');
  for (const bool deflate : {false, true}) {
    for (const int descriptor : {0, 12, 16, 20, 24}) {
      SCOPED_TRACE(absl::StrCat(deflate, " ", descriptor));
      const TestZip zip({{"a/", "", false, 0},
                         {"a/x", text, deflate, descriptor},
                         {"a/y", "", false, descriptor}},
                        "a comment");
      const auto file = FileFromString(zip.bytes(), "test.pt");
      const auto directory = ReadZipDirectory(*file);
      ASSERT_TRUE(directory.ok()) << directory.status();
      ASSERT_THAT(directory->entries(), SizeIs(3));
      EXPECT_THAT(directory->warnings(), IsEmpty());
      const ZipEntry& entry = directory->entries()[1];
      EXPECT_EQ(entry.payload_offset, zip.payload(1));
      EXPECT_EQ(entry.deflated, deflate);
      EXPECT_EQ(ReadZipRecord(*file, entry, 1000).value(), text);
      EXPECT_EQ(ReadZipRecord(*file, entry, 999).status().code(),
                absl::StatusCode::kResourceExhausted);
    }
  }
}

TEST(ZipReaderTest, FindsRecordsByExactName) {
  const ZipDirectory directory = ReadBytes(TwoRecords().bytes()).value();
  EXPECT_EQ(directory.Find("a/x"), 0);
  EXPECT_EQ(directory.Find("a/y"), 1);
  EXPECT_EQ(directory.Find("A/X"), -1);
  EXPECT_EQ(directory.Find("a/"), -1);
  EXPECT_EQ(directory.Find("a/z"), -1);
}

TEST(ZipReaderTest, RefusesWhatIsNoZip) {
  ExpectDamage("", "not_torch");
  ExpectDamage("PK\x03", "not_torch");
  ExpectDamage("PK\x03\x04", "zip_truncated");
  ExpectDamage(std::string(70'000, 'x'), "not_torch");
  // Bytes before the first header, as in a self-extracting file.
  ExpectDamage("MZ" + TwoRecords().bytes(), "not_torch");
}

TEST(ZipReaderTest, RefusesEveryTruncation) {
  const std::string bytes = TwoRecords().bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(ReadBytes(bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  ExpectDamage(bytes.substr(0, bytes.size() / 2), "download incomplete");
}

TEST(ZipReaderTest, RefusesABadEnd) {
  const TestZip zip = TwoRecords();
  const int64_t end = zip.end();
  ExpectDamage(zip.With(end + 16, 0x7FFFFFFF, 4), "zip_bad_central");
  ExpectDamage(zip.With(end + 12, 5, 4), "zip_bad_central");
  ExpectDamage(zip.With(end + 16, zip.central(0) + 1, 4), "zip_bad_central");
  ExpectError(zip.With(end + 4, 1, 2), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
  ExpectError(zip.With(end + 8, 1, 2), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
  ExpectDamage(zip.With(end + 8, 0x00030003, 4), "zip_bad_central");
  ExpectDamage(zip.With(end + 8, 0x00010001, 4), "bytes too many");
  ExpectDamage(zip.With(end + 8, 0x60006000, 4), "cannot stand");
  ExpectDamage(zip.With(end + 20, 1, 2), "zip_truncated");
  ExpectDamage(zip.With(zip.central(1), 0, 4), "zip_bad_central");
}

TEST(ZipReaderTest, RefusesABadDirectoryEntry) {
  const TestZip zip = TwoRecords();
  const int64_t at = zip.central(0);
  struct Case {
    int64_t offset;
    uint64_t value;
    int num_bytes;
    absl::StatusCode code;
    const char* text;
  };
  const auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const auto kDataLoss = absl::StatusCode::kDataLoss;
  const Case cases[] = {
      {8, 0x0801, 2, kUnimplemented, "zip_encrypted"},
      {8, 0x0820, 2, kUnimplemented, "zip_encrypted"},
      {8, 0x0840, 2, kUnimplemented, "zip_encrypted"},
      {8, 0x2800, 2, kUnimplemented, "zip_encrypted"},
      {8, 0x0810, 2, kUnimplemented, "zip_method"},
      {10, 12, 2, kUnimplemented, "zip_method"},
      {10, 93, 2, kUnimplemented, "zip_method"},
      {10, 8, 2, kDataLoss, "zip_bad_local"},
      {16, 1, 4, kDataLoss, "zip_bad_local"},
      {20, 4, 4, kDataLoss, "is stored"},
      {20, 0xFFFFFFFF, 4, kDataLoss, "is stored"},
      {24, 6, 4, kDataLoss, "is stored"},
      {28, 0xFFFF, 2, kDataLoss, "past the directory"},
      {28, 0, 2, kDataLoss, "zip_bad_name"},
      {30, 0xFFFF, 2, kDataLoss, "past the directory"},
      {32, 0xFFFF, 2, kDataLoss, "past the directory"},
      {34, 1, 2, kUnimplemented, "zip_multidisk"},
      {38, 0x10, 4, kDataLoss, "is a folder by its attributes"},
      {42, 1, 4, kDataLoss, "zip_bad_local"},
      {42, 0xFFFFFFF0, 4, kDataLoss, "zip_bad_central"},
      {46, 'A', 1, kDataLoss, "zip_bad_local"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.offset, ": ", c.value));
    ExpectError(zip.With(at + c.offset, c.value, c.num_bytes), c.code, c.text);
  }
}

TEST(ZipReaderTest, RefusesABadLocalHeader) {
  const TestZip zip = TwoRecords();
  const int64_t at = zip.local(0);
  ExpectDamage(zip.With(zip.local(1), 0, 4), "zip_bad_local");
  ExpectDamage(zip.With(at + 8, 8, 2), "zip_bad_local");
  ExpectDamage(zip.With(at + 14, 1, 4), "zip_bad_local");
  ExpectDamage(zip.With(at + 18, 4, 4), "zip_bad_local");
  ExpectDamage(zip.With(at + 22, 4, 4), "zip_bad_local");
  ExpectDamage(zip.With(at + 26, 2, 2), "zip_bad_local");
  ExpectDamage(zip.With(at + 28, 1, 2), "zip_bad_local");
  ExpectDamage(zip.With(at + 28, 0xFFFF, 2), "zip_overlap");
  ExpectDamage(zip.With(at + 30, 'b', 1), "zip_bad_local");
  ExpectError(zip.With(at + 6, 0x0801, 2), absl::StatusCode::kUnimplemented,
              "zip_encrypted");
  // A descriptor announced where none is, and one kept secret.
  ExpectDamage(zip.With(at + 6, 0x0808, 2), "zip_bad_local");
  ExpectDamage(zip.With(zip.local(1) + 6, 0x0800, 2), "zip_bad_local");
}

TEST(ZipReaderTest, RefusesEveryDescriptorThatDiffers) {
  for (const int descriptor : {12, 16, 20, 24}) {
    const TestZip zip({{"a/x", "hello", false, descriptor}});
    for (int i = 0; i < descriptor; ++i) {
      const int64_t at = zip.payload(0) + 5 + i;
      SCOPED_TRACE(absl::StrCat(descriptor, " ", i));
      ExpectDamage(zip.With(at, zip.bytes()[at] ^ 1, 1), "zip_bad_local");
    }
  }
}

TEST(ZipReaderTest, RefusesOverlapsAndGaps) {
  const TestZip zip = TwoRecords();
  // Both entries name the same local header.
  std::string same = zip.With(zip.central(1) + 42, 0, 4);
  ExpectDamage(same, "zip_overlap");
  // The first record reaches into the second.
  std::string longer = zip.With(zip.central(0) + 20, 10, 4);
  longer = longer.replace(zip.central(0) + 24, 4, "\x0A\0\0\0", 4);
  longer = longer.replace(zip.local(0) + 18, 8, "\x0A\0\0\0\x0A\0\0\0", 8);
  ExpectDamage(longer, "zip_overlap");
  // The first one ends too early: its last byte is nobody's.
  std::string shorter = zip.With(zip.central(0) + 20, 4, 4);
  shorter = shorter.replace(zip.central(0) + 24, 4, "\x04\0\0\0", 4);
  shorter = shorter.replace(zip.local(0) + 18, 8, "\x04\0\0\0\x04\0\0\0", 8);
  ExpectDamage(shorter, "belong to no record");
}

TEST(ZipReaderTest, RefusesDuplicatesAlsoByCase) {
  ExpectDamage(TestZip({{"a/x", "1"}, {"a/x", "2"}}).bytes(), "zip_duplicate");
  ExpectDamage(TestZip({{"a/x", "1"}, {"a/y", ""}, {"A/X", "2"}}).bytes(),
               "zip_duplicate");
}

TEST(ZipReaderTest, RefusesNamesThatNobodyShouldSee) {
  const std::string names[] = {"../x",
                               "/x",
                               "C:/x",
                               "a/../../x",
                               "a/..",
                               "..",
                               std::string("a/\0x", 4),
                               "a\\x",
                               "a/\xFF",
                               "a/\xC0\xAF",
                               "a/\xED\xA0\x80",
                               "a/\xF4\x90\x80\x80",
                               "a/\xE2\x82",
                               "a/" + std::string(510, 'x')};
  for (const std::string& name : names) {
    SCOPED_TRACE(absl::CHexEscape(name));
    ExpectDamage(OneRecord(name, "1").bytes(), "zip_bad_name");
  }
  EXPECT_TRUE(ReadBytes(OneRecord("a..b/€/..x", "1").bytes()).ok());
  ExpectDamage(OneRecord("a/", "1").bytes(), "zip_bad_name");
}

TEST(ZipReaderTest, TakesTheOnlyEndThatFits) {
  const std::string end_signature = "PK\x05\x06";
  // A fake end in the comment, one in payload.
  EXPECT_TRUE(
      ReadBytes(TestZip({{"a/x", "1"}}, end_signature + std::string(18, '\1'))
                    .bytes())
          .ok());
  EXPECT_TRUE(ReadBytes(OneRecord("a/x", TwoRecords().bytes()).bytes()).ok());
  // Two files in one: an inner directory that also fits the outer file.
  const std::string inner = TwoRecords().bytes();
  std::string both = inner;
  const TestZip outer = OneRecord("b/x", "1");
  std::string tail = outer.bytes();
  for (int i = 0; i < 4; ++i) {
    tail[outer.central(0) + 42 + i] = static_cast<char>(both.size() >> (8 * i));
    tail[outer.end() + 16 + i] =
        static_cast<char>((both.size() + outer.central(0)) >> (8 * i));
  }
  both += tail;
  ExpectDamage(both, "two");
  // One behind the other: zipfile takes the last, by what lies before its end.
  ExpectDamage(inner + inner, "two");
  ExpectDamage(inner + OneRecord("a/x", "other").bytes(), "two");
  ExpectDamage(TestZip({{"a/x", "1"}}, inner).bytes(), "two");
}

TEST(ZipReaderTest, IgnoresAFewBytesBehindTheEndWithAWarning) {
  const std::string bytes = TwoRecords().bytes();
  const auto directory = ReadBytes(bytes + std::string(100, '\0'));
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_THAT(directory->warnings(), SizeIs(1));
  ExpectDamage(bytes + std::string(70'000, '\0'), "zip_truncated");
}

TEST(ZipReaderTest, KeepsToItsLimits) {
  ZipLimits limits;
  limits.max_records = 1;
  EXPECT_EQ(ReadBytes(TwoRecords().bytes(), limits).status().code(),
            absl::StatusCode::kResourceExhausted);
  limits = ZipLimits();
  limits.max_directory_bytes = 50;
  EXPECT_EQ(ReadBytes(TwoRecords().bytes(), limits).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ZipRecordTest, RefusesStreamsThatLie) {
  const std::string text(1000, 'x');
  const TestZip zip({{"a/x", text, true, 0}});
  const auto file = FileFromString(zip.bytes(), "test.pt");
  const ZipEntry entry = ReadZipDirectory(*file)->entries()[0];
  struct Case {
    int64_t size_change, stored_change;
    const char* text;
  };
  for (const Case& c : {Case{1, 0, "zip_bad_local"}, Case{-1, 0, "zip_bad"},
                        Case{0, -1, "zip_bad"}, Case{0, 1, "zip_bad"},
                        Case{100'000'000, 0, "zip_bomb"}}) {
    ZipEntry lie = entry;
    lie.size_bytes += c.size_change;
    lie.stored_bytes += c.stored_change;
    const auto record = ReadZipRecord(*file, lie, 1 << 30);
    EXPECT_THAT(std::string(record.status().message()), HasSubstr(c.text));
  }
  ZipEntry other_crc = entry;
  other_crc.crc32 ^= 1;
  EXPECT_THAT(
      std::string(ReadZipRecord(*file, other_crc, 1000).status().message()),
      StartsWith("zip_crc_mismatch"));
  other_crc.crc32 = 0;
  EXPECT_TRUE(ReadZipRecord(*file, other_crc, 1000).ok());
}

// A file of any size, zeros where nothing was put.
class SparseFile : public RandomAccessFile {
 public:
  SparseFile(std::map<int64_t, std::string> parts, int64_t size)
      : parts_(std::move(parts)), size_(size) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    const int64_t end = offset + static_cast<int64_t>(out.size());
    if (end > size_) return absl::DataLossError("past the end");
    ++num_reads_;
    read_bytes_ += static_cast<int64_t>(out.size());
    if (offset >= told_from_ && !WasTold(offset, end)) ++num_surprises_;
    std::fill(out.begin(), out.end(), 0);
    for (const auto& [begin, bytes] : parts_) {
      const int64_t part_end = begin + static_cast<int64_t>(bytes.size());
      const int64_t from = std::max(begin, offset);
      const int64_t to = std::min(part_end, end);
      for (int64_t i = from; i < to; ++i) out[i - offset] = bytes[i - begin];
    }
    return absl::OkStatus();
  }
  void WillRead(int64_t offset, int64_t size_bytes) const override {
    ASSERT_TRUE(offset >= 0 && size_bytes > 0 && offset + size_bytes <= size_);
    told_.emplace_back(offset, offset + size_bytes);
    if (told_from_ > offset) told_from_ = offset;
  }
  int64_t size_bytes() const override { return size_; }
  const std::string& path() const override { return path_; }
  int num_reads() const { return num_reads_; }
  int64_t read_bytes() const { return read_bytes_; }
  int64_t num_told() const { return static_cast<int64_t>(told_.size()); }
  // Reads of what WillRead had not said, since it was called first.
  int num_surprises() const { return num_surprises_; }

 private:
  bool WasTold(int64_t begin, int64_t end) const {
    return std::any_of(told_.begin(), told_.end(), [&](const auto& range) {
      return range.first <= begin && end <= range.second;
    });
  }

  std::map<int64_t, std::string> parts_;
  int64_t size_;
  std::string path_ = "sparse.pt";
  mutable int num_reads_ = 0;
  mutable int64_t read_bytes_ = 0;
  mutable std::vector<std::pair<int64_t, int64_t>> told_;
  mutable int64_t told_from_ = std::numeric_limits<int64_t>::max();
  mutable int num_surprises_ = 0;
};

// The layout's own output, with zeros for payload.
SparseFile SparseFileOf(const ZipLayout& layout) {
  std::map<int64_t, std::string> parts;
  for (size_t i = 0; i < layout.records().size(); ++i) {
    const ZipRecord& record = layout.records()[i];
    parts[record.header_offset] = layout.LocalHeader(i);
    parts[record.payload_offset + record.size_bytes] = layout.Descriptor(i);
  }
  parts[layout.directory_offset()] = layout.Directory();
  return SparseFile(std::move(parts), layout.file_bytes());
}

TEST(ZipReaderTest, ReadsRecordsOverFourGigabytes) {
  ZipLayout layout(64);
  const int64_t sizes[] = {6, int64_t{1} << 32, 10, 0, 0xFFFFFFFF, 2};
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(layout.Add(absl::StrCat("big/", i), sizes[i]).ok());
    if (sizes[i] > 0) layout.set_crc32(i, 1000 + i);
  }
  const SparseFile file = SparseFileOf(layout);
  const auto directory = ReadZipDirectory(file);
  ASSERT_TRUE(directory.ok()) << directory.status();
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(directory->entries()[i].size_bytes, sizes[i]);
    EXPECT_EQ(directory->entries()[i].payload_offset,
              layout.records()[i].payload_offset);
    EXPECT_EQ(directory->entries()[i].crc32, sizes[i] > 0 ? 1000u + i : 0);
  }
}

TEST(ZipReaderTest, ReadsManySmallHeadersInFewReads) {
  ZipLayout layout(64);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(layout.Add(absl::StrCat("a/data/", i), 100).ok());
  }
  const SparseFile file = SparseFileOf(layout);
  ASSERT_TRUE(ReadZipDirectory(file).ok());
  EXPECT_LT(file.num_reads(), 10);
}

// A cold disk has them under way together then; one by one they would take
// longer than all of the payload.
TEST(ZipReaderTest, TellsOfStrewnHeadersBeforeItReadsThem) {
  constexpr int kRecords = 1000;
  ZipLayout layout(64);
  for (int i = 0; i < kRecords; ++i) {
    ASSERT_TRUE(layout.Add(absl::StrCat("a/data/", i), 64 << 10).ok());
  }
  const SparseFile file = SparseFileOf(layout);
  ASSERT_TRUE(ReadZipDirectory(file).ok());
  EXPECT_EQ(file.num_told(), kRecords);
  // The last descriptor, which lies beside the directory.
  EXPECT_LE(file.num_surprises(), 1);
  // Payload is left to who wants it, the directory and the end are read.
  EXPECT_LT(file.read_bytes(), kRecords * 2048 + (256 << 10));
}

// Every wrong bit of a zip64 end, locator or directory field is noticed, or
// means nothing.
class Zip64EndTest : public testing::Test {
 protected:
  Zip64EndTest() {
    EXPECT_TRUE(layout_.Add("a/x", 5).ok());
    bytes_ = layout_.LocalHeader(0) + std::string(5, '\0') +
             layout_.Descriptor(0) + layout_.Directory();
    locator_ = static_cast<int64_t>(bytes_.size()) - 42;
    zip64_end_ = locator_ - 56;
  }
  std::string With(int64_t offset, uint64_t value, int num_bytes) const {
    std::string changed = bytes_;
    for (int i = 0; i < num_bytes; ++i) {
      changed[offset + i] = static_cast<char>(value >> (8 * i));
    }
    return changed;
  }
  ZipLayout layout_{64};
  std::string bytes_;
  int64_t locator_, zip64_end_;
};

TEST_F(Zip64EndTest, RefusesALocatorThatLies) {
  EXPECT_TRUE(ReadBytes(bytes_).ok());
  ExpectDamage(With(locator_ + 8, locator_, 8), "zip_bad_central");
  ExpectDamage(With(locator_ + 8, 1 << 30, 8), "zip_bad_central");
  ExpectDamage(With(locator_ + 8, UINT64_MAX, 8), "zip_bad_central");
  ExpectDamage(With(locator_ + 8, zip64_end_ - 1, 8), "zip_bad_central");
  ExpectDamage(With(locator_, 0, 4), "zip_bad_central");
  ExpectError(With(locator_ + 4, 1, 4), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
  ExpectError(With(locator_ + 16, 2, 4), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
}

TEST_F(Zip64EndTest, RefusesAZip64EndThatLies) {
  ExpectDamage(With(zip64_end_, 0, 4), "zip_bad_central");
  ExpectDamage(With(zip64_end_ + 4, 45, 8), "zip_bad_central");
  ExpectDamage(With(zip64_end_ + 4, UINT64_MAX, 8), "zip_bad_central");
  ExpectError(With(zip64_end_ + 16, 1, 4), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
  ExpectError(With(zip64_end_ + 24, 2, 8), absl::StatusCode::kUnimplemented,
              "zip_multidisk");
  for (const uint64_t lie : {uint64_t{0}, uint64_t{1} << 62, UINT64_MAX}) {
    ExpectDamage(With(zip64_end_ + 40, lie, 8), "zip_bad_central");
    ExpectDamage(With(zip64_end_ + 48, lie, 8), "zip_bad_central");
  }
  // Clamped in the plain end, so that only the zip64 end speaks.
  std::string clamped = With(locator_ + 28, 0xFFFFFFFF, 4);
  EXPECT_TRUE(ReadBytes(clamped).ok());
  for (int i = 0; i < 8; ++i) clamped[zip64_end_ + 24 + i] = '\xFF';
  for (int i = 0; i < 8; ++i) clamped[zip64_end_ + 32 + i] = '\xFF';
  EXPECT_FALSE(ReadBytes(clamped).ok());
}

TEST_F(Zip64EndTest, RefusesZip64ExtrasThatLie) {
  // The one entry once more, with an extra field.
  const auto with_extra = [this](const std::string& extra, uint32_t size) {
    std::string entry = bytes_.substr(layout_.directory_offset(), 49);
    for (int i = 0; i < 4; ++i) {
      entry[20 + i] = entry[24 + i] = static_cast<char>(size >> (8 * i));
    }
    entry[30] = static_cast<char>(extra.size());
    std::string zip = bytes_.substr(0, layout_.directory_offset());
    zip += entry + extra;
    const uint64_t directory_bytes = entry.size() + extra.size();
    std::string end("PK\5\6\0\0\0\0\1\0\1\0", 12);
    for (int i = 0; i < 4; ++i) end.push_back(directory_bytes >> (8 * i));
    for (int i = 0; i < 4; ++i) {
      end.push_back(static_cast<char>(layout_.directory_offset() >> (8 * i)));
    }
    return zip + end + std::string(2, '\0');
  };
  const std::string five("\5\0\0\0\0\0\0\0", 8);
  const std::string good = std::string("\1\0\x10\0", 4) + five + five;
  EXPECT_TRUE(ReadBytes(with_extra("", 5)).ok());
  EXPECT_TRUE(ReadBytes(with_extra(good, 0xFFFFFFFF)).ok());
  EXPECT_TRUE(ReadBytes(with_extra(std::string("XX\0\0", 4), 5)).ok());
  ExpectDamage(with_extra(good, 5), "too long");
  ExpectDamage(with_extra(std::string("\1\0\x08\0", 4) + five, 0xFFFFFFFF),
               "too short");
  ExpectDamage(with_extra(good.substr(0, 19), 0xFFFFFFFF), "malformed");
  ExpectDamage(with_extra(good + good, 0xFFFFFFFF), "malformed");
  ExpectDamage(with_extra("X", 5), "malformed");
  const std::string huge("\0\0\0\0\0\0\0\x80", 8);
  ExpectDamage(
      with_extra(std::string("\1\0\x10\0", 4) + huge + huge, 0xFFFFFFFF),
      "over 2^63");
}

}  // namespace
}  // namespace penstock
