#include "compat/inflated_records.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "compat/zip_reader.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Noise(int64_t size, uint32_t seed) {
  std::minstd_rand random(seed);
  std::string bytes(size, '\0');
  // Seven bits of eight, so that deflate finds something to do.
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8 & 0x7F);
  return bytes;
}

// Deflated records r0, r1... in a file, and the reader over them.
class InflatedRecordsTest : public testing::Test {
 protected:
  void Open(const std::string& zip, InflateOptions options = {}) {
    options.files = &files_;
    options.directory = "/tmp";
    std::shared_ptr<const RandomAccessFile> file = FileFromString(zip, "z.pt");
    directory_ = ReadZipDirectory(*file).value();
    records_ = std::make_unique<InflatedRecords>(std::move(file), options);
  }

  static TestZip Zip(const std::vector<std::string>& payloads) {
    std::vector<TestRecord> records;
    for (const std::string& payload : payloads) {
      records.push_back({absl::StrCat("r", records.size()), payload, true});
    }
    return TestZip(records);
  }

  std::vector<int64_t> AddAll() {
    std::vector<int64_t> offsets;
    for (const ZipEntry& entry : directory_.entries()) {
      const auto offset = records_->Add(entry);
      EXPECT_TRUE(offset.ok()) << offset.status();
      offsets.push_back(offset.value_or(-1));
    }
    return offsets;
  }

  absl::StatusOr<std::string> Read(int64_t offset, int64_t size) {
    std::string out(size, '\0');
    const absl::Status status = records_->Read(
        offset, absl::MakeSpan(reinterpret_cast<uint8_t*>(out.data()), size));
    if (!status.ok()) return status;
    return out;
  }

  void ExpectError(int64_t size, absl::StatusCode code,
                   const std::string& words) {
    for (int i = 0; i < 2; ++i) {  // nor does it work the second time
      const auto read = Read(0, size);
      EXPECT_EQ(read.status().code(), code) << read.status();
      EXPECT_THAT(std::string(read.status().message()), HasSubstr(words));
    }
  }

  int64_t Count(const std::string& operation) {
    const std::vector<FileOperation> log = files_.Log();
    return std::count_if(log.begin(), log.end(), [&](const auto& done) {
      return done.name == operation;
    });
  }

  MemoryFileSystem files_;
  ZipDirectory directory_;
  std::unique_ptr<InflatedRecords> records_;
};

TEST_F(InflatedRecordsTest, ReadsAnyRangeAndInflatesOnlyWhatItTouches) {
  const std::vector<std::string> payloads = {
      Noise(300'000, 1), "", Noise(1, 2), Noise(200'000, 3), Noise(70'000, 4)};
  Open(Zip(payloads).bytes());
  const std::vector<int64_t> offsets = AddAll();
  std::string all;
  for (size_t i = 0; i < payloads.size(); ++i) {
    EXPECT_EQ(offsets[i], static_cast<int64_t>(all.size()));
    all += payloads[i];
  }
  EXPECT_EQ(records_->size_bytes(), static_cast<int64_t>(all.size()));
  EXPECT_EQ(records_->path(), "z.pt (inflated)");
  EXPECT_EQ(Read(0, 0).value(), "");
  EXPECT_THAT(files_.Log(), IsEmpty());

  EXPECT_EQ(Read(offsets[3] + 5, 10).value(), payloads[3].substr(5, 10));
  EXPECT_EQ(Count("create_unnamed"), 1);
  const int64_t writes = Count("write");
  EXPECT_LT(writes, 10);
  EXPECT_EQ(Read(offsets[3], 200'000).value(), payloads[3]);
  EXPECT_EQ(Count("write"), writes);

  EXPECT_EQ(Read(0, all.size()).value(), all);
  EXPECT_EQ(Read(299'999, 3).value(), all.substr(299'999, 3));
  EXPECT_EQ(Count("create_unnamed"), 1);
  EXPECT_THAT(files_.Names(), IsEmpty());
  EXPECT_EQ(Read(all.size() - 1, 2).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(InflatedRecordsTest, ManyThreadsInflateEachRecordOnce) {
  std::vector<std::string> payloads;
  for (int i = 0; i < 40; ++i) payloads.push_back(Noise(30'000 + i, i));
  Open(Zip(payloads).bytes());
  const std::vector<int64_t> offsets = AddAll();
  std::vector<std::thread> threads;
  std::vector<int> failures(8);
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < payloads.size(); ++i) {
        const size_t k = t % 2 == 0 ? i : payloads.size() - 1 - i;
        const auto read = Read(offsets[k], payloads[k].size());
        if (!read.ok() || *read != payloads[k]) ++failures[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(failures, testing::Each(0));
  EXPECT_EQ(Count("write"), 40);
}

TEST_F(InflatedRecordsTest, FindsEveryDamageBeforeAByteIsGivenOut) {
  const std::string payload = Noise(100'000, 1);
  const TestZip zip = Zip({payload});
  // Directory and local header tell one story in all of these.
  const auto with_size = [&](int64_t size) {
    std::string bytes = zip.With(zip.central(0) + 24, size, 4);
    for (int i = 0; i < 4; ++i) {
      bytes[zip.local(0) + 22 + i] = static_cast<char>(size >> (8 * i));
    }
    return bytes;
  };
  Open(with_size(99'999));
  AddAll();
  ExpectError(99'999, absl::StatusCode::kDataLoss, "zip_bad_local");
  Open(with_size(100'001));
  AddAll();
  ExpectError(100'001, absl::StatusCode::kDataLoss, "zip_bad_local");

  std::string bytes = zip.bytes();
  bytes[zip.payload(0) + 50'000] ^= 0x10;
  Open(bytes);
  AddAll();
  ExpectError(10, absl::StatusCode::kDataLoss, "record \"r0\"");

  bytes = zip.With(zip.central(0) + 16, 1, 4);
  for (int i = 0; i < 4; ++i) bytes[zip.local(0) + 14 + i] = i == 0;
  Open(bytes);
  AddAll();
  ExpectError(10, absl::StatusCode::kDataLoss, "zip_crc_mismatch");
}

// Damaged data is inflated once, however often it is asked for.
TEST_F(InflatedRecordsTest, DoesNotTryADamagedRecordAgain) {
  const TestZip zip = Zip({Noise(100'000, 1), "good"});
  std::string bytes = zip.bytes();
  bytes[zip.payload(0) + 80'000] ^= 0x10;
  Open(bytes);
  const std::vector<int64_t> offsets = AddAll();
  EXPECT_FALSE(Read(0, 10).ok());
  const int64_t writes = Count("write");
  EXPECT_GT(writes, 0);
  EXPECT_FALSE(Read(99'990, 10).ok());
  EXPECT_EQ(Count("write"), writes);
  EXPECT_EQ(Read(offsets[1], 4).value(), "good");
}

TEST_F(InflatedRecordsTest, WantsTheStreamToFillItsRecord) {
  const std::string payload = Noise(1000, 1);
  const std::string stream = Deflated(payload);
  // As records of method 0, turned into deflated ones by hand.
  struct Case {
    const char* name;
    std::string stored;
  };
  for (const Case& c : {Case{"behind", stream + "garbage"},
                        Case{"short", stream.substr(0, stream.size() - 1)},
                        Case{"one byte", stream.substr(0, 1)},
                        Case{"twice", stream + stream}}) {
    SCOPED_TRACE(c.name);
    const TestZip zip({{"r0", c.stored}});
    std::string bytes = zip.bytes();
    const auto put = [&](int64_t at, uint32_t value, int num_bytes) {
      for (int i = 0; i < num_bytes; ++i) {
        bytes[at + i] = static_cast<char>(value >> (8 * i));
      }
    };
    put(zip.local(0) + 8, 8, 2);
    put(zip.local(0) + 14, CrcOf(payload), 4);
    put(zip.local(0) + 22, 1000, 4);
    put(zip.central(0) + 10, 8, 2);
    put(zip.central(0) + 16, CrcOf(payload), 4);
    put(zip.central(0) + 24, 1000, 4);
    Open(bytes);
    AddAll();
    ExpectError(1000, absl::StatusCode::kDataLoss, "zip_bad_local");
  }
}

TEST_F(InflatedRecordsTest, RefusesBombsWithoutInflatingThem) {
  const TestZip zip = Zip({std::string(4'000'000, '\0'), Noise(1000, 1)});
  InflateOptions options;
  options.max_bytes = 3'999'999;
  Open(zip.bytes(), options);
  const auto bomb = records_->Add(directory_.entries()[0]);
  EXPECT_EQ(bomb.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(bomb.status().message()), HasSubstr("zip_bomb"));
  EXPECT_THAT(files_.Log(), IsEmpty());
  // More than any stream could hold.
  ZipEntry impossible = directory_.entries()[1];
  impossible.size_bytes = impossible.stored_bytes * 2000;
  EXPECT_EQ(records_->Add(impossible).status().code(),
            absl::StatusCode::kResourceExhausted);
  // What grows by less than max_growth may be larger than max_bytes.
  options.max_bytes = 10;
  Open(zip.bytes(), options);
  EXPECT_TRUE(records_->Add(directory_.entries()[1]).ok());
}

TEST(InflatedRecordsFullDiskTest, SaysWhatIsMissingAndWorksOnceThereIsRoom) {
  MemoryFileSystem files(MemoryFileSystem::Options{false, 150'000});
  files.Put("/other", std::string(100'000, 'x'));
  const std::string payload = Noise(80'000, 1);
  const TestZip zip({{"r0", payload, true}});
  std::shared_ptr<const RandomAccessFile> file =
      FileFromString(zip.bytes(), "z.pt");
  const ZipDirectory directory = ReadZipDirectory(*file).value();
  InflatedRecords records(file, {&files, "/tmp"});
  ASSERT_TRUE(records.Add(directory.entries()[0]).ok());
  std::vector<uint8_t> out(80'000);
  const absl::Status full = records.Read(0, absl::MakeSpan(out));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()),
              HasSubstr("80000 bytes, and /tmp has 50000 free"));
  ASSERT_TRUE(files.Unlink("/other").ok());
  ASSERT_TRUE(records.Read(0, absl::MakeSpan(out)).ok());
  EXPECT_EQ(std::string(out.begin(), out.end()), payload);
}

}  // namespace
}  // namespace penstock
