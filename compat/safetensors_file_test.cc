#include "compat/safetensors_file.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compat/file_kind.h"
#include "compat/open_foreign.h"
#include "compat/safetensors_header.h"
#include "compat/skeleton_testing.h"
#include "core/memory_file_system.h"
#include "core/state_dict.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::string FileOf(std::vector<SafetensorsEntry> entries,
                   absl::string_view data, const StringPairs& metadata = {}) {
  return absl::StrCat(*FormatSafetensorsHeader(entries, metadata), data);
}

std::string TwoTensors() {
  return FileOf({{"b", DType::kFloat32, {1, 2}, 0, 8},
                 {"e", DType::kInt64, {0, 3}, 8, 8},
                 {"a", DType::kUInt8, {}, 8, 9}},
                "12345678x", {{"format", "pt"}, {"k", "v"}});
}

absl::StatusOr<ForeignFile> Open(const std::string& bytes) {
  return OpenSafetensors(FileFromString(bytes, "m.safetensors"));
}

std::vector<std::string> NamesOf(const Value& root) {
  std::vector<std::string> names;
  const StateDict tensors = *StateDict::FromValue(root);
  for (const NamedTensor& entry : tensors.entries()) {
    names.push_back(entry.name);
  }
  return names;
}

TEST(SafetensorsFileTest, GivesTensorsInTheOrderOfTheFile) {
  const auto file = Open(TwoTensors());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->format, ForeignFormat::kSafetensors);
  EXPECT_EQ(NamesOf(file->root), (std::vector<std::string>{"b", "e", "a"}));
  EXPECT_EQ(file->metadata, (StringPairs{{"format", "pt"}, {"k", "v"}}));
  EXPECT_TRUE(file->warnings.empty());
  const Tensor b = file->root.Find("b").AsTensor();
  EXPECT_EQ(b.dtype(), DType::kFloat32);
  EXPECT_EQ(b.shape(), (std::vector<int64_t>{1, 2}));
  std::string bytes(8, '\0');
  ASSERT_TRUE(
      file->new_source()
          ->Sample(*b.storage(), 0,
                   absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), 8))
          .ok());
  EXPECT_EQ(bytes, "12345678");
}

TEST(SafetensorsFileTest, SkeletonAndExtentsAreTheFile) {
  const auto file = Open(TwoTensors());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->extents.size(), 2u);
  ExpectExtentsHold(*file);
}

TEST(SafetensorsFileTest, EveryDTypeComesWithItsName) {
  std::vector<SafetensorsEntry> entries;
  int64_t end = 0;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    if (SafetensorsName(dtype).empty()) continue;
    const int64_t bytes = *BytesFor(dtype, 6);
    entries.push_back({absl::StrCat(code), dtype, {3, 2}, end, end + bytes});
    end += bytes;
  }
  EXPECT_EQ(entries.size(), 20u);
  const auto file = Open(FileOf(entries, std::string(end, 'x')));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const SafetensorsEntry& entry : entries) {
    EXPECT_EQ(file->root.Find(entry.name).AsTensor().dtype(), entry.dtype);
  }
  ExpectExtentsHold(*file);
}

TEST(SafetensorsFileTest, ErrorsNameTheFile) {
  const auto file = Open("abc");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StartsWith(file.status().message(), "m.safetensors: "));
}

// A flip may change a name, a dtype of the same width, metadata or the bytes of
// a tensor, none of which has a checksum; what opens is a file nevertheless.
TEST(SafetensorsFileTest, EveryFlipAndCutIsSeenOrLeavesAFile) {
  const std::string bytes = TwoTensors();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Open(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(Open(bytes + "x").ok());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const auto file = Open(damaged);
    if (!file.ok()) continue;
    SCOPED_TRACE(bit);
    ExpectExtentsHold(*file);
    EXPECT_EQ(file->root.graph()->num_tensors(), 3);
  }
}

constexpr absl::string_view kTiedTree =
    "{\"ties\":[[\"a\",\"b\"]],\"tree\":[\"OrderedDict\",1,[\"tensor\",\"a\"],"
    "2,[\"tuple\",[\"tensor\",\"b\"],null]]}";

std::string TiedFile(absl::string_view data, absl::string_view tree) {
  return FileOf(
      {{"a", DType::kUInt8, {2}, 0, 2}, {"b", DType::kUInt8, {2}, 2, 4}}, data,
      {{"format", "pt"}, {"penstock.tree/1", std::string(tree)}});
}

TEST(SafetensorsFileTest, RestoresTheTreeAndTiesOfEqualBytes) {
  const auto tied = Open(TiedFile("xyxy", kTiedTree));
  ASSERT_TRUE(tied.ok()) << tied.status();
  EXPECT_TRUE(tied->warnings.empty());
  EXPECT_EQ(tied->metadata, (StringPairs{{"format", "pt"}}));
  ASSERT_EQ(tied->root.kind(), NodeKind::kObject);
  EXPECT_EQ(NamesOf(tied->root), (std::vector<std::string>{"1", "2.0"}));
  EXPECT_EQ(tied->root.graph()->storages().size(), 1u);
  ExpectExtentsHold(*tied);
  const auto changed = Open(TiedFile("xyxz", kTiedTree));
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->root.graph()->storages().size(), 2u);
  EXPECT_EQ(changed->warnings.size(), 1u);
  ExpectExtentsHold(*changed);
}

TEST(SafetensorsFileTest, ATreeThatDoesNotFitIsLeftOutWithAWarning) {
  for (const absl::string_view tree :
       {"", "[]", "{\"ties\":[],\"tree\":[\"tensor\",\"c\"]}",
        "{\"ties\":[],\"tree\":[\"tensor\",\"a\"]}"}) {
    const auto file = Open(TiedFile("xyxy", tree));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(NamesOf(file->root), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(file->warnings.size(), 1u);
  }
}

// -------------------------------------------------------------------- Shards

class ShardsTest : public testing::Test {
 protected:
  ShardsTest() {
    files_.Put("/m/1.safetensors",
               FileOf({{"a", DType::kUInt8, {2}, 0, 2}}, "xy",
                      {{"format", "pt"}, {"one", "1"}}));
    files_.Put("/m/2.safetensors", FileOf({{"b", DType::kUInt8, {3}, 0, 3},
                                           {"c", DType::kUInt8, {0}, 3, 3}},
                                          "123", {{"format", "pt"}}));
  }

  absl::StatusOr<ForeignFile> OpenIndex(const std::string& json) {
    files_.Put("/m/x.index.json", json);
    return OpenForeign(FileKind::kJson, *files_.OpenRead("/m/x.index.json"),
                       {{&files_}});
  }

  void ExpectRefused(const std::string& json, absl::StatusCode code,
                     absl::string_view word) {
    const absl::Status status = OpenIndex(json).status();
    EXPECT_EQ(status.code(), code) << json << "\n" << status;
    EXPECT_TRUE(absl::StrContains(status.message(), word)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), "/m/x.index.json: "));
  }

  MemoryFileSystem files_;
};

constexpr char kGood[] =
    "{\"metadata\":{\"total_size\":5,\"k\":\"v\"},\"weight_map\":{"
    "\"c\":\"2.safetensors\",\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}";

TEST_F(ShardsTest, AreOneCheckpoint) {
  const auto file = OpenIndex(kGood);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(NamesOf(file->root), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(file->file, nullptr);
  EXPECT_TRUE(file->extents.empty());
  EXPECT_EQ(file->metadata,
            (StringPairs{{"k", "v"}, {"format", "pt"}, {"one", "1"}}));
  std::string bytes(3, '\0');
  ASSERT_TRUE(
      file->new_source()
          ->Sample(*file->root.Find("b").AsTensor().storage(), 0,
                   absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), 3))
          .ok());
  EXPECT_EQ(bytes, "123");
}

TEST_F(ShardsTest, TakeTheTreeOfTheIndex) {
  const auto file = OpenIndex(
      "{\"weight_map\":{\"c\":\"2.safetensors\",\"b\":\"2.safetensors\",\"a\":"
      "\"1.safetensors\"},\"metadata\":{\"penstock.tree/1\":\"{\\\"ties\\\":[],"
      "\\\"tree\\\":[\\\"list\\\",[\\\"tensor\\\",\\\"a\\\"],[\\\"tensor\\\","
      "\\\"c\\\"],[\\\"tensor\\\",\\\"b\\\"]]}\"}}");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->root.kind(), NodeKind::kList);
  EXPECT_TRUE(file->warnings.empty()) << absl::StrJoin(file->warnings, "\n");
}

TEST_F(ShardsTest, MustBeWhatTheIndexSays) {
  using Code = absl::StatusCode;
  ExpectRefused("{}", Code::kInvalidArgument, "no weight_map");
  ExpectRefused("[1]", Code::kInvalidArgument, "no index");
  ExpectRefused("{", Code::kInvalidArgument, "no index");
  ExpectRefused("{\"weight_map\":[]}", Code::kDataLoss, "no object");
  ExpectRefused("{\"weight_map\":{},\"weight_map\":{}}", Code::kDataLoss,
                "twice");
  ExpectRefused("{\"weight_map\":{\"a\":1}}", Code::kDataLoss, "no string");
  ExpectRefused("{\"weight_map\":{\"a\":{}}}", Code::kDataLoss, "no string");
  for (const char* name : {"", ".", "..", "../1.safetensors", "/etc/passwd",
                           "x/1.safetensors", "x\\\\y", "x\\u0000"}) {
    ExpectRefused(absl::StrCat("{\"weight_map\":{\"a\":\"", name, "\"}}"),
                  Code::kDataLoss, "beside the index");
  }
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"1.safetensors\",\"a\":\"2.safetensors\"}}",
      Code::kDataLoss, "\"a\" twice");
  ExpectRefused("{\"weight_map\":{\"a\":\"3.safetensors\"}}", Code::kNotFound,
                "3.safetensors");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"1.safetensors\",\"z\":\"1.safetensors\"}}",
      Code::kDataLoss, "does not have \"z\"");
  ExpectRefused(
      "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}",
      Code::kDataLoss, "has \"c\", which the index does not name");
  files_.Put("/m/2.safetensors", "abc");
  ExpectRefused(kGood, Code::kDataLoss, "/m/2.safetensors");
}

}  // namespace
}  // namespace penstock
