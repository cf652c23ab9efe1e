#include "codec/block_writer.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/aligned_buffer.h"
#include "core/memory_file_system.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

// A window of a few megabytes of noise: enough to show a byte out of place.
std::string RandomBytes(int64_t size, std::mt19937& random) {
  static const std::string* const noise = [] {
    std::mt19937_64 words(1);
    auto* bytes = new std::string(6 * kBlockBytes, '\0');
    for (size_t i = 0; i < bytes->size(); i += sizeof(uint64_t)) {
      const uint64_t word = words();
      std::memcpy(&(*bytes)[i], &word, sizeof(word));
    }
    return bytes;
  }();
  PENSTOCK_CHECK(size < 5 * kBlockBytes + 1);
  return noise->substr(random() % kBlockBytes, size);
}

// What a BlockWriter asks of a file, seen from the other side: alignment where
// it is direct, order where it is sequential; fails from write `fail_at` on.
class StrictFile : public WritableFile {
 public:
  enum class Kind { kBuffered, kDirect, kSequential };

  StrictFile(std::unique_ptr<WritableFile> file, Kind kind, int fail_at)
      : file_(std::move(file)), kind_(kind), fail_at_(fail_at) {}

  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override {
    const int number = num_writes_++;
    if (kind_ == Kind::kDirect) {
      EXPECT_EQ(offset % kBufferAlignment, 0);
      EXPECT_EQ(static_cast<int64_t>(bytes.size()) % kBufferAlignment, 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % kBufferAlignment,
                0u);
    }
    if (kind_ == Kind::kSequential) {
      EXPECT_EQ(offset, end_);
      end_ = offset + static_cast<int64_t>(bytes.size());
    }
    if (number >= fail_at_) return absl::ResourceExhaustedError("disk full");
    return file_->Write(offset, bytes);
  }
  absl::Status Allocate(int64_t size) override { return file_->Allocate(size); }
  absl::Status Truncate(int64_t size) override {
    EXPECT_NE(kind_, Kind::kSequential);
    return file_->Truncate(size);
  }
  absl::Status Sync() override { return file_->Sync(); }
  absl::Status Close() override { return file_->Close(); }
  bool direct() const override { return kind_ == Kind::kDirect; }
  bool sequential() const override { return kind_ == Kind::kSequential; }
  const std::string& path() const override { return file_->path(); }

  int num_writes() const { return num_writes_; }

 private:
  std::unique_ptr<WritableFile> file_;
  const Kind kind_;
  const int fail_at_;
  int64_t end_ = 0;
  std::atomic<int> num_writes_{0};
};

class BlockWriterTest : public testing::Test {
 protected:
  StrictFile& Open(StrictFile::Kind kind, int fail_at = INT32_MAX) {
    auto file = files_.Create("/f", CreateOptions());
    EXPECT_TRUE(file.ok()) << file.status();
    file_ = std::make_unique<StrictFile>(*std::move(file), kind, fail_at);
    return *file_;
  }
  std::string Written() {
    const auto bytes = files_.Get("/f");
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return *bytes;
  }

  MemoryFileSystem files_;
  std::unique_ptr<StrictFile> file_;
};

// The pipeline in small: one thread reserves in order, `num_threads` fill in
// whatever order they come to it, at most `in_flight` at a time.
class Crew {
 public:
  Crew(BlockWriter& writer, const std::vector<std::string>& records,
       int in_flight)
      : writer_(writer), records_(records), free_(in_flight) {}

  void Run(int num_threads) {
    std::vector<std::thread> threads;
    for (int i = 0; i < num_threads; ++i) {
      threads.emplace_back([this, i] { Work(i); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  int num_errors() const { return num_errors_; }

 private:
  struct Job {
    BlockReservation reservation;
    const std::string* record;
  };

  // Fills a random one of the reservations in flight, sometimes after more were
  // made; a thread that finds none reserves.
  void Work(int seed) {
    std::mt19937 random(seed);
    Job job;
    while (Take(random, job)) {
      const absl::Span<const uint8_t> bytes = BytesOf(*job.record);
      const size_t cut = random() % (bytes.size() + 1);
      const std::vector<absl::Span<const uint8_t>> parts = {
          bytes.first(cut), absl::Span<const uint8_t>(), bytes.subspan(cut)};
      if (!writer_.Fill(job.reservation, parts).ok()) ++num_errors_;
      MutexLock lock(mutex_);
      ++free_;
    }
  }

  bool Take(std::mt19937& random, Job& job) {
    MutexLock lock(mutex_);
    int wanted = static_cast<int>(random() % 4);
    while (free_ > 0 && next_ < records_.size() &&
           (wanted-- > 0 || jobs_.empty())) {
      --free_;
      const std::string& record = records_[next_++];
      Job made;
      made.reservation = writer_.Reserve(static_cast<int64_t>(record.size()));
      made.record = &record;
      jobs_.push_back(made);
    }
    if (jobs_.empty()) return false;
    std::swap(jobs_[random() % jobs_.size()], jobs_.back());
    job = jobs_.back();
    jobs_.pop_back();
    return true;
  }

  BlockWriter& writer_;
  const std::vector<std::string>& records_;
  Mutex mutex_;
  size_t next_ = 0;
  int free_;
  std::vector<Job> jobs_;
  std::atomic<int> num_errors_{0};
};

// Sizes from nothing to more than two blocks.
std::vector<std::string> RandomRecords(int count, int64_t largest, int seed) {
  std::mt19937 random(seed);
  std::vector<std::string> records;
  for (int i = 0; i < count; ++i) {
    const int64_t limit = random() % 4 == 0 ? largest : 4096;
    records.push_back(RandomBytes(random() % (limit + 1), random));
  }
  return records;
}

std::string Joined(const std::vector<std::string>& records) {
  std::string joined;
  for (const std::string& record : records) joined += record;
  return joined;
}

constexpr int kInFlight = 6;
constexpr int64_t kLargest = 5 * kBlockBytes / 2;

TEST_F(BlockWriterTest, RecordsFilledInAnyOrderEndUpInTheirPlaces) {
  for (const auto kind :
       {StrictFile::Kind::kBuffered, StrictFile::Kind::kDirect}) {
    for (int seed = 0; seed < 2; ++seed) {
      SCOPED_TRACE(seed);
      const std::vector<std::string> records =
          RandomRecords(24, kLargest, seed);
      StrictFile& file = Open(kind);
      BlockWriter writer(file, BlockWriter::BlocksNeeded(kInFlight, kLargest));
      Crew crew(writer, records, kInFlight);
      crew.Run(4);
      EXPECT_EQ(crew.num_errors(), 0);
      EXPECT_TRUE(writer.Finish().ok());
      EXPECT_TRUE(Written() == Joined(records));
      EXPECT_EQ(writer.size_bytes(),
                static_cast<int64_t>(Joined(records).size()));
      ASSERT_TRUE(files_.Unlink("/f").ok());
    }
  }
}

TEST_F(BlockWriterTest, BlocksSufficeWhileTheOldestReservationIsLate) {
  constexpr int kReservations = 4;
  std::mt19937 random(7);
  StrictFile& file = Open(StrictFile::Kind::kDirect);
  BlockWriter writer(file,
                     BlockWriter::BlocksNeeded(kReservations, kBlockBytes));
  std::string expected = RandomBytes(kBlockBytes, random);
  const std::string late = expected;
  const BlockReservation oldest = writer.Reserve(kBlockBytes);
  for (int i = 0; i < 8; ++i) {
    std::vector<std::string> records;
    std::vector<BlockReservation> reservations;
    for (int j = 1; j < kReservations; ++j) {
      records.push_back(RandomBytes(kBlockBytes - 1 - i, random));
      expected += records.back();
      reservations.push_back(
          writer.Reserve(static_cast<int64_t>(records.back().size())));
    }
    for (size_t j = records.size(); j-- > 0;) {
      const auto bytes = BytesOf(records[j]);
      ASSERT_TRUE(
          writer.Fill(reservations[j], absl::MakeConstSpan(&bytes, 1)).ok());
    }
  }
  const auto bytes = BytesOf(late);
  ASSERT_TRUE(writer.Fill(oldest, absl::MakeConstSpan(&bytes, 1)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(Written() == expected);
}

TEST_F(BlockWriterTest, SequentialFileGetsItsBytesInOrder) {
  const std::vector<std::string> records = RandomRecords(24, kLargest, 3);
  StrictFile& file = Open(StrictFile::Kind::kSequential);
  BlockWriter writer(file, BlockWriter::BlocksNeeded(kInFlight, kLargest));
  std::vector<BlockReservation> ahead;
  size_t filled = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    ahead.push_back(writer.Reserve(static_cast<int64_t>(records[i].size())));
    while (ahead.size() - filled == kInFlight ||
           (i + 1 == records.size() && filled < records.size())) {
      const auto bytes = BytesOf(records[filled]);
      ASSERT_TRUE(
          writer.Fill(ahead[filled++], absl::MakeConstSpan(&bytes, 1)).ok());
    }
  }
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(Written() == Joined(records));
}

TEST_F(BlockWriterTest, EveryTailLengthIsKeptExactly) {
  std::mt19937 random(5);
  for (const auto kind :
       {StrictFile::Kind::kBuffered, StrictFile::Kind::kDirect,
        StrictFile::Kind::kSequential}) {
    for (const int64_t size :
         {int64_t{0}, int64_t{1}, kBufferAlignment - 1, kBufferAlignment,
          kBufferAlignment + 1, kBlockBytes - 1, kBlockBytes, kBlockBytes + 1,
          3 * kBlockBytes, 3 * kBlockBytes + 17}) {
      SCOPED_TRACE(size);
      const std::string bytes = RandomBytes(size, random);
      StrictFile& file = Open(kind);
      BlockWriter writer(file, BlockWriter::BlocksNeeded(1, 1));
      ASSERT_TRUE(writer.Append(BytesOf(bytes)).ok());
      ASSERT_TRUE(writer.Finish().ok());
      EXPECT_TRUE(Written() == bytes);
      ASSERT_TRUE(files_.Unlink("/f").ok());
    }
  }
}

TEST_F(BlockWriterTest, AppendGoesBetweenReservationsInFlight) {
  std::mt19937 random(9);
  const std::string first = RandomBytes(kBlockBytes + 3, random);
  const std::string between = RandomBytes(5 * kBlockBytes, random);
  StrictFile& file = Open(StrictFile::Kind::kDirect);
  BlockWriter writer(
      file, BlockWriter::BlocksNeeded(1, static_cast<int64_t>(first.size())));
  const BlockReservation reservation =
      writer.Reserve(static_cast<int64_t>(first.size()));
  ASSERT_TRUE(writer.Append(BytesOf(between)).ok());
  const auto bytes = BytesOf(first);
  ASSERT_TRUE(writer.Fill(reservation, absl::MakeConstSpan(&bytes, 1)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(Written() == first + between);
}

TEST_F(BlockWriterTest, FirstErrorEndsItWithoutADeadlock) {
  const std::vector<std::string> records = RandomRecords(40, kLargest, 11);
  for (int fail_at = 0; fail_at < 8; ++fail_at) {
    SCOPED_TRACE(fail_at);
    StrictFile& file = Open(StrictFile::Kind::kBuffered, fail_at);
    BlockWriter writer(file, BlockWriter::BlocksNeeded(kInFlight, kLargest));
    Crew crew(writer, records, kInFlight);
    crew.Run(4);
    EXPECT_GT(crew.num_errors(), 0);
    // At most one more write by each of the other threads.
    EXPECT_LE(file.num_writes(), fail_at + 4);
    const int num_writes = file.num_writes();
    const std::string more = "more";
    EXPECT_EQ(writer.Append(BytesOf(more)).code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(writer.Finish().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(file.num_writes(), num_writes);
    ASSERT_TRUE(files_.Unlink("/f").ok());
  }
}

TEST_F(BlockWriterTest, FinishReportsAFailedTail) {
  const std::string bytes = "tail";
  BlockWriter writer(Open(StrictFile::Kind::kDirect, 0), 2);
  ASSERT_TRUE(writer.Append(BytesOf(bytes)).ok());
  EXPECT_EQ(writer.Finish().code(), absl::StatusCode::kResourceExhausted);
}

// A tail behind two whole blocks: three writes and a truncation.
TEST(BlockWriterFaultTest, EveryFailingOperationIsReported) {
  MemoryFileSystem::Options memory_options;
  memory_options.accept_direct = true;
  MemoryFileSystem memory(memory_options);
  FaultFileSystem files(memory);
  CreateOptions options;
  options.caching = Caching::kDirect;
  const std::string bytes(2 * kBlockBytes + 5, 'x');
  for (int operation = 1; operation <= 5; ++operation) {
    SCOPED_TRACE(operation);
    auto file = files.Create(absl::StrCat("/f", operation), options);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->direct());
    Fault fault;
    fault.at_operation = operation;
    fault.status = absl::ResourceExhaustedError("disk full");
    files.Inject(fault);
    BlockWriter writer(**file, 2);
    absl::Status status = writer.Append(BytesOf(bytes));
    if (status.ok()) status = writer.Finish();
    // There is no fifth operation: this shows that the first four are all.
    EXPECT_EQ(status.code(), operation <= 4
                                 ? absl::StatusCode::kResourceExhausted
                                 : absl::StatusCode::kOk);
    EXPECT_EQ(files.num_operations(), std::min(operation, 4));
  }
}

using BlockWriterDeathTest = BlockWriterTest;

TEST_F(BlockWriterDeathTest, ChecksThatThePoolIsLargeEnough) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  BlockWriter writer(Open(StrictFile::Kind::kBuffered),
                     BlockWriter::BlocksNeeded(1, kBlockBytes));
  EXPECT_DEATH(writer.Reserve(3 * kBlockBytes + 1), "max_blocks");
}

TEST_F(BlockWriterDeathTest, ChecksThatPartsFillTheReservation) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  BlockWriter writer(Open(StrictFile::Kind::kBuffered), 2);
  const BlockReservation reservation = writer.Reserve(3);
  EXPECT_DEATH((void)writer.Fill(reservation, {}), "size_bytes");
}

}  // namespace
}  // namespace penstock
