#include "codec/auto_codec.h"

#include <memory>
#include <string>
#include <vector>

#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(AutoCodecTest, SlowDisksWantCodingAndFastOnesDoNot) {
  CodecRates rates;
  rates.encode = 4e9;
  rates.ratio = 1.5;
  rates.disk = 1e9;
  EXPECT_TRUE(ChooseCodec(rates, 10'000'000'000).coded);
  rates.disk = 10e9;
  EXPECT_FALSE(ChooseCodec(rates, 10'000'000'000).coded);
}

TEST(AutoCodecTest, DataThatDoesNotShrinkStaysRaw) {
  CodecRates rates;
  rates.encode = 4e9;
  rates.ratio = 1.01;
  rates.disk = 0.1e9;
  EXPECT_FALSE(ChooseCodec(rates, 10'000'000'000).coded);
}

TEST(AutoCodecTest, SaysWhatItMeasured) {
  CodecRates rates;
  rates.encode = 4e9;
  rates.ratio = 1.5;
  rates.disk = 1e9;
  const std::string reason = ChooseCodec(rates, 3'000'000'000).reason;
  EXPECT_THAT(reason, HasSubstr("zstd"));
  EXPECT_THAT(reason, HasSubstr("disk 1.00 GB/s"));
  EXPECT_THAT(reason, HasSubstr("3.0 s raw against 2.0 s coded"));
}

TEST(AutoCodecTest, SmallCheckpointsAreNotProbed) {
  MemoryFileSystem files;
  MemorySource source;
  std::vector<std::shared_ptr<const Storage>> storages = {
      *Storage::Allocate(1 << 20)};
  const std::vector<DType> dtypes = {DType::kFloat32};
  const auto choice = SettleCodec(files, "/d", storages, dtypes, source, 2);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_FALSE(choice->coded);
  EXPECT_THAT(files.Log(), IsEmpty());
}

// A storage far over the limit, whose middle alone is looked at.
class HugeSource : public MemorySource {
 public:
  absl::Status Sample(const Storage&, int64_t,
                      absl::Span<uint8_t> out) override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = i % 4 == 3 ? 0x3f : i * i;
    return absl::OkStatus();
  }
};

TEST(AutoCodecTest, LargeOnesAreProbedAndTheProbeIsRemoved) {
  MemoryFileSystem files;
  HugeSource source;
  std::vector<std::shared_ptr<const Storage>> storages = {
      Storage::InFile(kAutoProbeFrom, 0)};
  const std::vector<DType> dtypes = {DType::kFloat32};
  const auto choice = SettleCodec(files, "/d", storages, dtypes, source, 2);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->reason, HasSubstr("disk"));
  EXPECT_THAT(files.Names(), IsEmpty());
  EXPECT_FALSE(files.Log().empty());
}

}  // namespace
}  // namespace penstock
