#include "codec/auto_codec.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

CodecRates Rates(double disk, double encode, double ratio) {
  CodecRates rates;
  rates.disk = disk;
  rates.encode = encode;
  rates.ratio = ratio;
  return rates;
}

TEST(CodingPaysTest, OnSlowDisksAndNotOnFastOnes) {
  EXPECT_TRUE(CodingPays(Rates(1e9, 4e9, 1.5)));
  EXPECT_TRUE(CodingPays(Rates(3e9, 4e9, 1.5)));
  EXPECT_FALSE(CodingPays(Rates(5e9, 4e9, 1.5)));
}

TEST(CodingPaysTest, NotForDataThatDoesNotShrink) {
  EXPECT_FALSE(CodingPays(Rates(0.1e9, 4e9, 1.01)));
}

TEST(CodingPaysTest, NotWhereItIsAlmostATie) {
  EXPECT_FALSE(CodingPays(Rates(1e9, 1.04e9, 1.5)));
  EXPECT_TRUE(CodingPays(Rates(1e9, 1.07e9, 1.5)));
}

constexpr int64_t kGigabyte = 1'000'000'000;

FinishedSave RawSave(double rate) {
  FinishedSave save;
  save.raw_bytes = save.file_bytes = kGigabyte;
  save.seconds = kGigabyte / rate;
  return save;
}

// At ratio 1.25 and `rate` bytes of tensors a second.
FinishedSave CodedSave(double rate) {
  FinishedSave save = RawSave(rate);
  save.coded = true;
  save.file_bytes = kGigabyte / 5 * 4;
  return save;
}

TEST(LearnTest, ARawSaveTellsTheDisksRate) {
  EXPECT_DOUBLE_EQ(Learn({}, RawSave(2e9)).disk, 2e9);
  EXPECT_DOUBLE_EQ(Learn(Rates(9e9, 0, 1), RawSave(2e9)).disk, 2e9);
}

TEST(LearnTest, ACodedSaveThatFilledTheDiskTellsTheDisksRate) {
  const CodecRates learned = Learn(Rates(1e9, 4e9, 1.25), CodedSave(1.2e9));
  EXPECT_DOUBLE_EQ(learned.disk, 0.96e9);
  EXPECT_DOUBLE_EQ(learned.encode, 4e9);
}

TEST(LearnTest, ACodedSaveThatTheDiskDidNotHoldUpTellsTheEncodersRate) {
  const CodecRates learned = Learn(Rates(4e9, 0, 1), CodedSave(3e9));
  EXPECT_DOUBLE_EQ(learned.disk, 4e9);
  EXPECT_DOUBLE_EQ(learned.encode, 3e9);
  EXPECT_DOUBLE_EQ(learned.ratio, 1.25);
}

// It was asked for, not settled on: which of the two held it up?
TEST(LearnTest, ACodedSaveOnAnUnknownDiskTeachesNothing) {
  const CodecRates learned = Learn({}, CodedSave(3e9));
  EXPECT_EQ(learned.disk, 0);
  EXPECT_EQ(learned.encode, 0);
}

// A disk that slows down is taken for a slow encoder at first. The raw save
// that follows from this finds out, and coding gets its chance again.
TEST(LearnTest, ADiskThatSlowedDownIsFoundOut) {
  CodecRates rates = Rates(2e9, 4e9, 1.25);
  ASSERT_TRUE(CodingPays(rates));
  rates = Learn(rates, CodedSave(0.5e9));
  ASSERT_FALSE(CodingPays(rates));
  rates = Learn(rates, RawSave(0.4e9));
  EXPECT_DOUBLE_EQ(rates.disk, 0.4e9);
  EXPECT_EQ(rates.encode, 0);
}

// Disks have bad moments, and the encoder is no faster for them.
TEST(LearnTest, AnEncoderThatNoDiskHeldUpStaysKnown) {
  EXPECT_EQ(Learn(Rates(4e9, 1e9, 1.25), RawSave(2e9)).encode, 1e9);
}

TEST(LearnTest, SmallSavesTeachNothing) {
  FinishedSave save = RawSave(1e9);
  save.raw_bytes = save.file_bytes = kAutoProbeFrom - 1;
  EXPECT_EQ(Learn({}, save).disk, 0);
}

TEST(RateMemoryTest, KeepsDisksApart) {
  RateMemory memory;
  memory.Put(1, Rates(1, 2, 3));
  memory.Learn(2, RawSave(2e9));
  EXPECT_EQ(memory.Find(1).disk, 1);
  EXPECT_DOUBLE_EQ(memory.Find(2).disk, 2e9);
  EXPECT_EQ(memory.Find(3).disk, 0);
}

// Two that do not say which they are may be two.
TEST(RateMemoryTest, RemembersNothingOfADiskWithoutNumber) {
  RateMemory memory;
  memory.Put(0, Rates(1, 2, 3));
  memory.Learn(0, RawSave(2e9));
  EXPECT_EQ(memory.Find(0).disk, 0);
}

// For TSan, too.
TEST(RateMemoryTest, TakesSavesFromManyThreads) {
  RateMemory memory;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      memory.Learn(1, RawSave(2e9));
      EXPECT_DOUBLE_EQ(memory.Find(1).disk, 2e9);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A storage of any size, whose middle alone is looked at: floats that shrink.
class HugeSource : public MemorySource {
 public:
  absl::Status Sample(const Storage&, int64_t,
                      absl::Span<uint8_t> out) override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = i % 4 == 3 ? 0x3f : i * i;
    return absl::OkStatus();
  }
};

class SettleCodecTest : public ::testing::Test {
 protected:
  absl::StatusOr<CodecChoice> Settle(FileSystem& files, int64_t size_bytes,
                                     const CodecRates& known = {}) {
    const auto file = files.Create("/d/file", {});
    if (!file.ok()) return file.status();
    HugeSource source;
    const std::vector<std::shared_ptr<const Storage>> storages = {
        Storage::InFile(size_bytes, 0)};
    const std::vector<DType> dtypes = {DType::kFloat32};
    return SettleCodec(**file, known, storages, dtypes, source, 2);
  }

  MemoryFileSystem files_;
};

TEST_F(SettleCodecTest, SmallCheckpointsAreNotProbed) {
  const auto choice = Settle(files_, kAutoProbeFrom - 1);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_FALSE(choice->coded);
  EXPECT_EQ(choice->probed_bytes, 0);
  EXPECT_THAT(choice->reason, HasSubstr("too small"));
  EXPECT_EQ(files_.Get("/d/file")->size(), 0);
}

TEST_F(SettleCodecTest, TheDiskIsProbedInTheFileItself) {
  const auto choice = Settle(files_, kAutoProbeFrom);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_GE(choice->probed_bytes, 16 << 20);
  EXPECT_LE(choice->probed_bytes, 64 << 20);
  EXPECT_EQ(files_.Get("/d/file")->size(), choice->probed_bytes);
  EXPECT_EQ(files_.Names(), std::vector<std::string>{"/d/file"});
  EXPECT_THAT(choice->reason, HasSubstr("MiB probed"));
  EXPECT_GT(choice->rates.disk, 0);
  EXPECT_GT(choice->rates.encode, 0);
  EXPECT_GT(choice->rates.ratio, 1.1);
  EXPECT_EQ(choice->coded, CodingPays(choice->rates));
}

TEST_F(SettleCodecTest, ADiskThatIsKnownIsNotProbed) {
  const auto slow = Settle(files_, kAutoProbeFrom, Rates(1, 0, 1));
  ASSERT_TRUE(slow.ok()) << slow.status();
  EXPECT_TRUE(slow->coded);
  EXPECT_EQ(slow->probed_bytes, 0);
  EXPECT_THAT(slow->reason, HasSubstr("zstd: disk 0.00 GB/s (last save)"));
  EXPECT_EQ(files_.Get("/d/file")->size(), 0);
  MemoryFileSystem others;
  const auto fast = Settle(others, kAutoProbeFrom, Rates(1e15, 0, 1));
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_FALSE(fast->coded);
}

TEST_F(SettleCodecTest, AnEncoderThatIsKnownCountsForDataThatShrinksAlike) {
  const auto sampled = Settle(files_, kAutoProbeFrom, Rates(1, 0, 1));
  ASSERT_TRUE(sampled.ok()) << sampled.status();
  const double ratio = sampled->rates.ratio;
  MemoryFileSystem second;
  const auto alike =
      Settle(second, kAutoProbeFrom, Rates(1e3, 1e3, ratio * 1.05));
  ASSERT_TRUE(alike.ok()) << alike.status();
  EXPECT_FALSE(alike->coded);
  EXPECT_THAT(alike->reason, HasSubstr("encoder 0.00 GB/s (last save)"));
  MemoryFileSystem third;
  const auto other =
      Settle(third, kAutoProbeFrom, Rates(1e3, 1e3, ratio * 1.5));
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_TRUE(other->coded);
  EXPECT_THAT(other->reason, HasSubstr("(sampled)"));
}

TEST_F(SettleCodecTest, AFullDiskSaysSo) {
  MemoryFileSystem::Options options;
  options.capacity_bytes = 8 << 20;
  MemoryFileSystem files(options);
  EXPECT_EQ(Settle(files, kAutoProbeFrom).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// Each operation of the probe in turn; writes go out of several threads.
TEST_F(SettleCodecTest, AFailingDisksErrorComesThrough) {
  for (const char* operation : {"allocate", "write", "sync"}) {
    for (const int turn : {1, 2, 4}) {
      if (std::string(operation) == "allocate" && turn > 1) continue;
      if (std::string(operation) == "sync" && turn > 1) continue;
      MemoryFileSystem base;
      FaultFileSystem files(base);
      Fault fault;
      fault.at_operation = turn;
      fault.only = operation;
      fault.repeat = Fault::Repeat::kSticky;
      fault.status = absl::UnavailableError("gone");
      files.Inject(fault);
      EXPECT_EQ(Settle(files, kAutoProbeFrom).status(), fault.status)
          << operation << " " << turn;
    }
  }
}

}  // namespace
}  // namespace penstock
