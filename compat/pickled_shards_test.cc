#include "compat/pickled_shards.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/file_kind.h"
#include "compat/legacy_testing.h"
#include "compat/open_foreign.h"
#include "compat/parts_testing.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr char kIndex[] = "/m/pytorch_model.bin.index.json";
constexpr char kFirst[] = "/m/pytorch_model-00001-of-00002.bin";
constexpr char kSecond[] = "/m/pytorch_model-00002-of-00002.bin";

constexpr char kGood[] =
    "{\"metadata\":{\"total_size\":5,\"k\":\"v\"},\"weight_map\":{"
    "\"c\":\"pytorch_model-00002-of-00002.bin\","
    "\"a\":\"pytorch_model-00001-of-00002.bin\","
    "\"tied\":\"pytorch_model-00001-of-00002.bin\"}}";

// {"c": 12 bytes of float32} as torch 0.4 to 1.5 wrote it.
std::string LegacyShard() {
  LegacyStream stream;
  stream.object = Pickle(absl::StrCat(
      "}", PickledStr("c"), PickledTensor(PickledStorage({}), 0, 3), "s"));
  return stream.bytes();
}

class PickledShardsTest : public testing::Test {
 protected:
  PickledShardsTest() {
    const Tensor a = TensorOfBytes("abcdefgh", DType::kFloat32, {2});
    files_.Put(kFirst, PtOf({{"a", a}, {"tied", a}}));
    files_.Put(kSecond, LegacyShard());
  }

  absl::StatusOr<ForeignFile> Open(const std::string& json = kGood) {
    files_.Put(kIndex, json);
    return OpenForeign(FileKind::kJson, *files_.OpenRead(kIndex), {{&files_}});
  }

  void ExpectRefused(const std::string& json, absl::StatusCode code,
                     absl::string_view word) {
    const absl::Status status = Open(json).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), word)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), absl::StrCat(kIndex, ": ")))
        << status;
  }

  MemoryFileSystem files_;
};

TEST_F(PickledShardsTest, AreOneCheckpointWhateverTheFormatOfEach) {
  const auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->root.kind(), NodeKind::kDict);
  ASSERT_EQ(file->root.size(), 3);
  EXPECT_EQ(BytesOfTensor(*file, file->root.Find("a")), "abcdefgh");
  EXPECT_EQ(BytesOfTensor(*file, file->root.Find("c")), "abcdefghijkl");
  EXPECT_EQ(file->root.Find("a").AsTensor().storage(),
            file->root.Find("tied").AsTensor().storage());
  EXPECT_EQ(file->file, nullptr);
  EXPECT_TRUE(file->extents.empty());
  EXPECT_EQ(file->writer, "torch.save (container version 3), in 2 shards");
  ASSERT_EQ(file->metadata.size(), 1u);
  EXPECT_EQ(file->metadata[0].second, "v");
}

TEST_F(PickledShardsTest, ChecksTheCrcOfEveryShard) {
  std::string damaged = *files_.Get(kFirst);
  damaged[damaged.find("abcdefgh") + 3] ^= 1;
  files_.Put(kFirst, damaged);
  const auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status read = ReadAllStorages(*file).status();
  EXPECT_TRUE(absl::StrContains(read.message(), "zip_crc_mismatch")) << read;
  EXPECT_TRUE(absl::StrContains(read.message(), kFirst)) << read;
}

TEST_F(PickledShardsTest, MustBeWhatTheIndexSays) {
  using Code = absl::StatusCode;
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\",\"tied\":"
      "\"pytorch_model-00001-of-00002.bin\",\"c\":\"x.bin\"}}",
      Code::kNotFound, "/m/x.bin");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\",\"tied\":"
      "\"pytorch_model-00001-of-00002.bin\",\"c\":\"../x.bin\"}}",
      Code::kDataLoss, "beside the index");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\",\"c\":"
      "\"pytorch_model-00002-of-00002.bin\"}}",
      Code::kDataLoss, "has \"tied\", which the index does not name");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\",\"tied\":"
      "\"pytorch_model-00002-of-00002.bin\"}}",
      Code::kDataLoss, "has \"tied\", which the index expects elsewhere");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\",\"tied\":"
      "\"pytorch_model-00001-of-00002.bin\",\"z\":"
      "\"pytorch_model-00002-of-00002.bin\"}}",
      Code::kDataLoss, "does not have \"z\"");
  files_.Put(kSecond, LegacyStream().bytes());
  ExpectRefused(kGood, Code::kDataLoss, "is no dict");
  files_.Put(kSecond, kGood);
  ExpectRefused(kGood, Code::kInvalidArgument, kSecond);
  files_.Put(kSecond, "<html>");
  ExpectRefused(kGood, Code::kInvalidArgument, kSecond);
}

TEST_F(PickledShardsTest, EveryTruncationOfAShardIsRefused) {
  for (const char* shard : {kFirst, kSecond}) {
    const std::string whole = *files_.Get(shard);
    for (size_t size = 0; size < whole.size(); ++size) {
      files_.Put(shard, whole.substr(0, size));
      EXPECT_FALSE(Open().ok()) << shard << " of " << size;
    }
    files_.Put(shard, whole);
  }
}

}  // namespace
}  // namespace penstock
