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
#include "core/bytes.h"
#include "core/memory_file_system.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

constexpr int64_t kUnit = 1 << 20;

// A window of a few megabytes of noise: enough to show a byte out of place.
std::string RandomBytes(int64_t size, std::mt19937& random) {
  static const std::string* const noise = [] {
    std::mt19937_64 words(1);
    auto* bytes = new std::string(6 * kUnit, '\0');
    for (size_t i = 0; i < bytes->size(); i += sizeof(uint64_t)) {
      const uint64_t word = words();
      std::memcpy(&(*bytes)[i], &word, sizeof(word));
    }
    return bytes;
  }();
  PENSTOCK_CHECK(size < 5 * kUnit + 1);
  return noise->substr(random() % kUnit, size);
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

// The pipeline in small: one thread places in order, `num_threads` write in
// whatever order they come to it, at most `in_flight` at a time. Every third
// record is made where it will stand.
class Crew {
 public:
  Crew(BlockWriter& writer, const std::vector<std::string>& records,
       int in_flight)
      : writer_(writer), records_(records), jobs_(in_flight) {
    for (Job& job : jobs_) free_.push_back(&job);
  }

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
    Block block;
    std::vector<absl::Span<const uint8_t>> parts;
  };

  // Writes a random one of the records that have been placed, sometimes after
  // more were; a thread that finds none places one.
  void Work(int seed) {
    std::mt19937 random(seed);
    while (Job* const job = Take(random)) {
      if (!writer_.Write(job->parts, job->block).ok()) ++num_errors_;
      MutexLock lock(mutex_);
      free_.push_back(job);
    }
  }

  Job* Take(std::mt19937& random) {
    MutexLock lock(mutex_);
    int wanted = static_cast<int>(random() % 4);
    while (!free_.empty() && next_ < records_.size() &&
           (wanted-- > 0 || placed_.empty())) {
      Job* const job = free_.back();
      free_.pop_back();
      Place(next_++, random, *job);
      placed_.push_back(job);
    }
    if (placed_.empty()) return nullptr;
    std::swap(placed_[random() % placed_.size()], placed_.back());
    Job* const job = placed_.back();
    placed_.pop_back();
    return job;
  }

  void Place(size_t number, std::mt19937& random, Job& job) {
    const absl::Span<const uint8_t> bytes = ByteSpan(records_[number]);
    if (number % 3 == 0) {
      uint8_t* const made = BlockWriter::Prepare(
          writer_.size_bytes(), static_cast<int64_t>(bytes.size()), job.block);
      std::copy(bytes.begin(), bytes.end(), made);
      job.parts = {absl::MakeConstSpan(made, bytes.size())};
    } else {
      const size_t cut = random() % (bytes.size() + 1);
      job.parts = {bytes.first(cut), absl::Span<const uint8_t>(),
                   bytes.subspan(cut)};
    }
    writer_.Place(job.parts, job.block);
  }

  BlockWriter& writer_;
  const std::vector<std::string>& records_;
  Mutex mutex_;
  size_t next_ = 0;
  std::vector<Job> jobs_;
  std::vector<Job*> free_;
  std::vector<Job*> placed_;
  std::atomic<int> num_errors_{0};
};

// Sizes from nothing to more than two units.
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
constexpr int64_t kLargest = 5 * kUnit / 2;

TEST_F(BlockWriterTest, RunsWrittenInAnyOrderEndUpInTheirPlaces) {
  for (const auto kind :
       {StrictFile::Kind::kBuffered, StrictFile::Kind::kDirect}) {
    for (int seed = 0; seed < 2; ++seed) {
      SCOPED_TRACE(seed);
      const std::vector<std::string> records =
          RandomRecords(24, kLargest, seed);
      StrictFile& file = Open(kind);
      BlockWriter writer(file);
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

TEST_F(BlockWriterTest, RunsShorterThanAnAlignmentAreGathered) {
  std::vector<std::string> records;
  std::mt19937 random(7);
  for (const int64_t size : {1, 4094, 1, 0, 5, 4091, 4096, 1, 1, 8190, 4095}) {
    records.push_back(RandomBytes(size, random));
  }
  StrictFile& file = Open(StrictFile::Kind::kDirect);
  BlockWriter writer(file);
  for (const std::string& record : records) {
    Block block;
    const std::vector<absl::Span<const uint8_t>> parts = {ByteSpan(record)};
    writer.Place(parts, block);
    ASSERT_TRUE(writer.Write(parts, block).ok());
  }
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(Written() == Joined(records));
}

TEST_F(BlockWriterTest, SequentialFileGetsItsBytesInOrder) {
  const std::vector<std::string> records = RandomRecords(24, kLargest, 3);
  StrictFile& file = Open(StrictFile::Kind::kSequential);
  BlockWriter writer(file);
  Crew crew(writer, records, 1);
  crew.Run(1);
  EXPECT_EQ(crew.num_errors(), 0);
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
          kBufferAlignment + 1, kUnit - 1, kUnit, kUnit + 1, 3 * kUnit,
          3 * kUnit + 17}) {
      SCOPED_TRACE(size);
      const std::string bytes = RandomBytes(size, random);
      StrictFile& file = Open(kind);
      BlockWriter writer(file);
      ASSERT_TRUE(writer.Append(ByteSpan(bytes)).ok());
      ASSERT_TRUE(writer.Finish().ok());
      EXPECT_TRUE(Written() == bytes);
      ASSERT_TRUE(files_.Unlink("/f").ok());
    }
  }
}

TEST_F(BlockWriterTest, AppendGoesBetweenRunsInFlight) {
  std::mt19937 random(9);
  const std::string first = RandomBytes(kUnit + 3, random);
  const std::string between = RandomBytes(5 * kUnit, random);
  StrictFile& file = Open(StrictFile::Kind::kDirect);
  BlockWriter writer(file);
  Block block;
  const std::vector<absl::Span<const uint8_t>> parts = {ByteSpan(first)};
  writer.Place(parts, block);
  ASSERT_TRUE(writer.Append(ByteSpan(between)).ok());
  ASSERT_TRUE(writer.Write(parts, block).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(Written() == first + between);
}

TEST_F(BlockWriterTest, EveryFailingWriteIsReported) {
  const std::vector<std::string> records(12, std::string(kUnit, 'x'));
  for (int fail_at = 0; fail_at < 12; ++fail_at) {
    SCOPED_TRACE(fail_at);
    StrictFile& file = Open(StrictFile::Kind::kBuffered, fail_at);
    BlockWriter writer(file);
    Crew crew(writer, records, kInFlight);
    crew.Run(4);
    EXPECT_EQ(crew.num_errors(), 12 - fail_at);
    ASSERT_TRUE(files_.Unlink("/f").ok());
  }
}

TEST_F(BlockWriterTest, FinishReportsAFailedTail) {
  BlockWriter writer(Open(StrictFile::Kind::kDirect, 0));
  ASSERT_TRUE(writer.Append(ByteSpan("tail")).ok());
  EXPECT_EQ(writer.Finish().code(), absl::StatusCode::kResourceExhausted);
}

// A run of more than Append takes at a time, with a tail: three writes and a
// truncation.
TEST(BlockWriterFaultTest, EveryFailingOperationIsReported) {
  MemoryFileSystem::Options memory_options;
  memory_options.accept_direct = true;
  MemoryFileSystem memory(memory_options);
  FaultFileSystem files(memory);
  CreateOptions options;
  options.caching = Caching::kDirect;
  const std::string bytes(5 * kUnit + 5, 'x');
  for (int operation = 1; operation <= 5; ++operation) {
    SCOPED_TRACE(operation);
    auto file = files.Create(absl::StrCat("/f", operation), options);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->direct());
    Fault fault;
    fault.at_operation = operation;
    fault.status = absl::ResourceExhaustedError("disk full");
    files.Inject(fault);
    BlockWriter writer(**file);
    absl::Status status = writer.Append(ByteSpan(bytes));
    if (status.ok()) status = writer.Finish();
    // There is no fifth operation: this shows that the first four are all.
    EXPECT_EQ(status.code(), operation <= 4
                                 ? absl::StatusCode::kResourceExhausted
                                 : absl::StatusCode::kOk);
    EXPECT_EQ(files.num_operations(), std::min(operation, 4));
  }
}

}  // namespace
}  // namespace penstock
