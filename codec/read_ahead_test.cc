#include "codec/read_ahead.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/direct_reader.h"
#include "core/file.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kMiB = 1 << 20;

// What such a file has at `offset`, for up to 4 MiB: bytes that repeat
// themselves, after so many that no two pieces are alike.
const uint8_t* ContentAt(int64_t offset) {
  constexpr int64_t kPeriod = 65521;
  static const std::vector<uint8_t>* const content = [] {
    auto* bytes = new std::vector<uint8_t>(kPeriod + 4 * kMiB);
    for (size_t i = 0; i < bytes->size(); ++i) {
      (*bytes)[i] = static_cast<uint8_t>((i % kPeriod * 2654435761u) >> 24);
    }
    return bytes;
  }();
  return content->data() + offset % kPeriod;
}

// A file of computed bytes that is not in the page cache, unless told so, and
// whose reads around it fail, or come short, from some offset on.
class ColdFile : public RandomAccessFile {
 public:
  explicit ColdFile(int64_t size_bytes) : size_bytes_(size_bytes) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    buffered_bytes += static_cast<int64_t>(out.size());
    if (offset + static_cast<int64_t>(out.size()) > real_bytes()) {
      return absl::DataLossError(absl::StrCat("ends early at ", offset));
    }
    Fill(offset, out);
    return absl::OkStatus();
  }
  std::unique_ptr<DirectReader> OpenDirect() const override {
    if (!has_direct) return nullptr;
    return MakeThreadReader(
        [this](int64_t offset, absl::Span<uint8_t> out) -> int64_t {
          if (offset >= fails_from) return -1;
          const int64_t size =
              std::clamp<int64_t>(real_bytes() - offset, 0, out.size());
          Fill(offset, out.subspan(0, size));
          direct_bytes += size;
          return size;
        });
  }
  bool IsCached(int64_t offset, int64_t) const override {
    return offset < cached_bytes;
  }
  int64_t size_bytes() const override { return size_bytes_; }
  const std::string& path() const override { return path_; }

  bool has_direct = true;
  int64_t fails_from = INT64_MAX;
  int64_t cached_bytes = 0;
  int64_t missing_bytes = 0;  // since the file was opened
  mutable std::atomic<int64_t> buffered_bytes = 0;
  mutable std::atomic<int64_t> direct_bytes = 0;

 private:
  int64_t real_bytes() const { return size_bytes_ - missing_bytes; }
  static void Fill(int64_t offset, absl::Span<uint8_t> out) {
    if (!out.empty()) std::memcpy(out.data(), ContentAt(offset), out.size());
  }

  const int64_t size_bytes_;
  const std::string path_ = "cold";
};

// What a run with `threads` workers makes of the ranges: the first error by
// number. As in the pump, numbers are begun in order and only while fewer than
// num_slots are between the lowest unfinished one and the next; after an error
// those behind it are not begun. One in `every_unused` is never asked for.
struct Workers {
  int threads = 2;
  int num_slots = 6;
  int64_t every_unused = 0;
};

// Reads one range and compares all its bytes.
absl::Status TakeOne(const FileRange& range, const LentBytes& lent) {
  std::vector<uint8_t> out(range.size_bytes + 1, 0xA5);
  int64_t seen = 0;
  bool is_right = true;
  absl::Status status =
      ReadInTiles(range, lent, out.data(), [&](absl::Span<const uint8_t> tile) {
        is_right =
            is_right && std::memcmp(tile.data(), ContentAt(range.offset + seen),
                                    tile.size()) == 0;
        seen += static_cast<int64_t>(tile.size());
      });
  if (!status.ok()) return status;
  EXPECT_TRUE(is_right) << range.offset;
  EXPECT_EQ(seen, range.size_bytes);
  EXPECT_EQ(std::memcmp(out.data(), ContentAt(range.offset), range.size_bytes),
            0)
      << range.offset;
  EXPECT_EQ(out.back(), 0xA5);
  return status;
}

absl::Status TakeAll(const std::vector<ChunkRange>& ranges, ReadAhead* ahead,
                     const Workers& workers) {
  const int64_t count = static_cast<int64_t>(ranges.size());
  std::atomic<int64_t> next = 0;
  std::atomic<int64_t> failed = INT64_MAX;
  std::vector<std::atomic<bool>> done(count);
  std::vector<absl::Status> errors(count);
  std::vector<std::thread> threads;
  for (int i = 0; i < workers.threads; ++i) {
    threads.emplace_back([&] {
      for (int64_t number; (number = next++) < count; done[number] = true) {
        for (int64_t before = 0; before <= number - workers.num_slots;
             ++before) {
          while (!done[before]) std::this_thread::yield();
        }
        const bool unused =
            workers.every_unused > 0 && number % workers.every_unused == 0;
        if (number >= failed || unused) continue;
        errors[number] = TakeOne(
            ranges[number].range,
            ahead == nullptr ? LentBytes()
                             : ahead->Take(number, ranges[number].range));
        if (errors[number].ok()) continue;
        int64_t lowest = failed;
        while (number < lowest &&
               !failed.compare_exchange_weak(lowest, number)) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failed == INT64_MAX ? absl::OkStatus() : errors[failed];
}

RunLimits Limits(int num_slots = 6) {
  RunLimits limits;
  limits.spare_bytes = 64 * kMiB;
  limits.num_slots = num_slots;
  return limits;
}

// Chunks of a file with headers between some, larger and smaller than a piece.
using Ranges = std::vector<ChunkRange>;
Ranges RangesOf(const ColdFile& file) {
  Ranges ranges;
  int64_t offset = 77;
  for (int i = 0; offset < file.size_bytes(); ++i) {
    int64_t size = i % 7 == 3 ? 3 * kMiB + 5 : (i % 5 == 1 ? 1000 : kMiB);
    size = std::min(size, file.size_bytes() - offset);
    ranges.push_back(
        {static_cast<int64_t>(ranges.size()), {&file, offset, size}});
    offset += size + (i % 6 == 2 ? 300'000 : (i % 3 == 0 ? 64 : 0));
  }
  return ranges;
}

TEST(ReadAheadTest, LendsEveryByteAndReadsNoneTwice) {
  for (const int threads : {1, 2, 8}) {
    SCOPED_TRACE(threads);
    const ColdFile file(70 * kMiB + 123);
    const Ranges ranges = RangesOf(file);
    auto ahead = ReadAhead::Start(ranges, Limits(2 * threads + 2));
    ASSERT_NE(ahead, nullptr);
    EXPECT_TRUE(TakeAll(ranges, ahead.get(), {threads, 2 * threads + 2}).ok());
    EXPECT_EQ(file.buffered_bytes, 0);
    EXPECT_LT(file.direct_bytes, file.size_bytes() + kMiB);
  }
}

TEST(ReadAheadTest, StartsOnlyWhereSomethingIsGained) {
  ColdFile file(70 * kMiB);
  const Ranges ranges = RangesOf(file);
  EXPECT_EQ(ReadAhead::Start({ranges[0]}, Limits()), nullptr);
  EXPECT_EQ(ReadAhead::Start({}, Limits()), nullptr);
  EXPECT_EQ(ReadAhead::Start(ranges, {ReadAhead::kRingBytes - 1, 6}), nullptr);
  file.cached_bytes = file.size_bytes();
  EXPECT_EQ(ReadAhead::Start(ranges, Limits()), nullptr);
}

TEST(ReadAheadTest, LeavesWhatIsCachedToTheWorkers) {
  ColdFile file(60 * kMiB);
  file.cached_bytes = 30 * kMiB;
  const Ranges ranges = RangesOf(file);
  auto ahead = ReadAhead::Start(ranges, Limits());
  ASSERT_NE(ahead, nullptr);
  EXPECT_TRUE(TakeAll(ranges, ahead.get(), {}).ok());
  EXPECT_GT(file.buffered_bytes, 25 * kMiB);
  EXPECT_LT(file.buffered_bytes, 34 * kMiB);
  EXPECT_LT(file.direct_bytes, 32 * kMiB);
}

TEST(ReadAheadTest, LeavesTheRestToTheWorkersAfterAnError) {
  for (const int threads : {1, 2, 8}) {
    ColdFile file(60 * kMiB);
    file.fails_from = 20 * kMiB;
    const Ranges ranges = RangesOf(file);
    auto ahead = ReadAhead::Start(ranges, Limits(2 * threads + 2));
    ASSERT_NE(ahead, nullptr);
    EXPECT_TRUE(TakeAll(ranges, ahead.get(), {threads, 2 * threads + 2}).ok());
    EXPECT_GT(file.buffered_bytes, 30 * kMiB);
  }
}

TEST(ReadAheadTest, GoesWithoutWhereThereIsNoDirectReading) {
  ColdFile file(60 * kMiB);
  file.has_direct = false;
  const Ranges ranges = RangesOf(file);
  auto ahead = ReadAhead::Start(ranges, Limits());
  ASSERT_NE(ahead, nullptr);
  EXPECT_TRUE(TakeAll(ranges, ahead.get(), {}).ok());
}

// Truncated after it was opened: the error is that of the worker's own read,
// of the lowest range that is not there.
TEST(ReadAheadTest, TheEndThatIsGoneIsTheErrorOfTheLowestRange) {
  for (const int threads : {1, 2, 8}) {
    ColdFile file(60 * kMiB);
    file.missing_bytes = 20 * kMiB + 17;
    const Ranges ranges = RangesOf(file);
    const absl::Status expected = TakeAll(ranges, nullptr, {1, 1});
    EXPECT_EQ(expected.code(), absl::StatusCode::kDataLoss);
    auto ahead = ReadAhead::Start(ranges, Limits(2 * threads + 2));
    ASSERT_NE(ahead, nullptr);
    const absl::Status status =
        TakeAll(ranges, ahead.get(), {threads, 2 * threads + 2});
    EXPECT_EQ(status, expected);
  }
}

TEST(ReadAheadTest, RangesThatNobodyTakesHoldUpNothing) {
  for (const int64_t every : {2, 3, 10}) {
    const ColdFile file(50 * kMiB);
    const Ranges ranges = RangesOf(file);
    auto ahead = ReadAhead::Start(ranges, Limits(4));
    ASSERT_NE(ahead, nullptr);
    EXPECT_TRUE(TakeAll(ranges, ahead.get(), {2, 4, every}).ok());
  }
}

TEST(ReadAheadTest, StopsInTheMiddle) {
  const ColdFile file(50 * kMiB);
  const Ranges ranges = RangesOf(file);
  for (size_t take = 0; take < 12; ++take) {
    auto ahead = ReadAhead::Start(ranges, Limits());
    ASSERT_NE(ahead, nullptr);
    for (size_t i = 0; i < take; ++i) ahead->Take(i, ranges[i].range);
    ahead.reset();
  }
}

// Whoever asks for something else, or twice, gets nothing, and no wrong bytes.
TEST(ReadAheadTest, LendsOnlyWhatWasAskedFor) {
  const ColdFile file(60 * kMiB);
  const Ranges ranges = RangesOf(file);
  auto ahead = ReadAhead::Start(ranges, Limits());
  ASSERT_NE(ahead, nullptr);
  FileRange other = ranges[0].range;
  ++other.offset;
  EXPECT_TRUE(ahead->Take(0, other).empty());
  EXPECT_TRUE(ahead->Take(-1, ranges[0].range).empty());
  EXPECT_TRUE(ahead->Take(int64_t{1} << 40, ranges[0].range).empty());
  EXPECT_FALSE(ahead->Take(0, ranges[0].range).empty());
  EXPECT_TRUE(ahead->Take(0, ranges[0].range).empty());
}

// A chunk of several ranges: those of another one are not taken for its own.
TEST(ReadAheadTest, AChunkMayHaveSeveralRanges) {
  const ColdFile file(60 * kMiB);
  Ranges ranges;
  for (int64_t i = 0; i < 15; ++i) {
    for (int64_t part = 0; part < 4; ++part) {
      ranges.push_back({i * 2, {&file, (4 * i + part) * kMiB + 5, kMiB - 5}});
    }
  }
  auto ahead = ReadAhead::Start(ranges, Limits(2));
  ASSERT_NE(ahead, nullptr);
  EXPECT_TRUE(ahead->Take(1, ranges[0].range).empty());
  EXPECT_TRUE(ahead->Take(0, ranges[4].range).empty());
  for (const auto& [chunk, range] : ranges) {
    const LentBytes lent = ahead->Take(chunk, range);
    EXPECT_FALSE(lent.empty());
    EXPECT_TRUE(TakeOne(range, lent).ok());
  }
  EXPECT_EQ(file.buffered_bytes, 0);
}

TEST(ReadAheadTest, GoesThroughSeveralFilesAndBackwards) {
  const ColdFile a(20 * kMiB), b(20 * kMiB);
  Ranges ranges;
  for (int64_t i = 18; i >= 0; --i) {
    const int64_t number = static_cast<int64_t>(ranges.size());
    ranges.push_back({number, {&a, i * kMiB + 9, kMiB}});
    ranges.push_back(
        {number + 1, {i % 2 == 0 ? &a : &b, i * kMiB + 100'000, 500'000}});
  }
  auto ahead = ReadAhead::Start(ranges, Limits());
  ASSERT_NE(ahead, nullptr);
  EXPECT_TRUE(TakeAll(ranges, ahead.get(), {}).ok());
  EXPECT_EQ(a.buffered_bytes + b.buffered_bytes, 0);
}

}  // namespace
}  // namespace penstock
