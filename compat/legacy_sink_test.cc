#include "compat/legacy_sink.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/pipeline.h"
#include "codec/source.h"
#include "compat/golden_checkpoints.h"
#include "compat/legacy_file.h"
#include "compat/skeleton_testing.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sha256.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<std::string> Write(const Value& root) {
  MemoryFileSystem files;
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file,
                            files.Create("out", {}));
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<ForeignSink> sink,
                            CreateLegacySink(*file, root));
  MemorySource source;
  PENSTOCK_RETURN_IF_ERROR(
      Pump(sink->plan(), source, *sink, PumpOptions()).status());
  PENSTOCK_RETURN_IF_ERROR(file->Close());
  PENSTOCK_ASSIGN_OR_RETURN(std::string bytes, files.Get("out"));
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), sink->FinalSize());
  return bytes;
}

// All of a file's storages in memory.
absl::StatusOr<Value> Load(const ForeignFile& file) {
  std::vector<std::shared_ptr<const Storage>> storages;
  const std::unique_ptr<ForeignSource> source = file.new_source();
  for (const auto& storage : file.root.graph()->storages()) {
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> memory,
                              Storage::Allocate(storage->size_bytes()));
    PENSTOCK_RETURN_IF_ERROR(
        source->Sample(*storage, 0, memory->mutable_bytes()));
    storages.push_back(std::move(memory));
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      std::shared_ptr<const Graph> graph,
      file.root.graph()->WithStorages(std::move(storages)));
  return Value(std::move(graph), file.root.id());
}

void ExpectRoundTrip(const Value& value) {
  const auto bytes = Write(value);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto file = OpenLegacy(FileFromString(*bytes, "x.pth"));
  ASSERT_TRUE(file.ok()) << file.status();
  ExpectExtentsHold(*file);
  const auto loaded = Load(*file);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const absl::Status same = CompareValues(value, *loaded);
  EXPECT_TRUE(same.ok()) << same;
}

// The digest of torch 2.13's own file, its address of a key replaced by 0.
TEST(LegacySinkTest, GoldenG3IsTorchsByteForByte) {
  const auto bytes = Write(GoldenG1());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->size(), 323u);
  EXPECT_EQ(Sha256Hex(*bytes),
            "2e63cb35200ca37f75e0d33090ff9281bf6963bc103bcca11cb31a3799d1850a");
}

TEST(LegacySinkTest, GoldenCheckpointsComeBack) {
  for (Value (*make)() :
       {GoldenG1, GoldenG5, GoldenG7, GoldenG8, GoldenG9, GoldenG10}) {
    ExpectRoundTrip(make());
  }
}

TEST(LegacySinkTest, EveryTypedDTypeAndOddShapeComesBack) {
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    if (!HasStorageClass(dtype)) continue;
    SCOPED_TRACE(std::string(InfoOf(dtype).name));
    const int size = InfoOf(dtype).size_bytes;
    GraphBuilder b;
    const auto storage = StorageOfRange<uint8_t>(24 * size);
    const std::vector<NodeId> items = {
        AddTensor(b, storage, dtype, {2, 3, 4}, {1, 2, 6}),
        AddTensor(b, storage, dtype, {4}, {2}, 3),
        AddTensor(b, storage, dtype, {5, 1}, {0, 7}),
        AddTensor(b, StorageOfRange<uint8_t>(size), dtype, {}),
        AddTensor(b, StorageOfRange<uint8_t>(0), dtype, {0, 3}),
        AddTensor(b, StorageOfRange<uint8_t>(size), dtype,
                  std::vector<int64_t>(kMaxRank, 1))};
    const NodeId root = b.List(items);
    const auto value = std::move(b).Finish(root);
    ASSERT_TRUE(value.ok()) << value.status();
    ExpectRoundTrip(*value);
  }
}

TEST(LegacySinkTest, StoragesFollowInTheOrderOfTheirKeysAsText) {
  const auto bytes = Write(GoldenG9());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto file = OpenLegacy(FileFromString(*bytes, "x.pth"));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<int64_t> order;
  for (const FileExtent& extent : file->extents) {
    order.push_back(extent.storage);
  }
  EXPECT_THAT(order,
              testing::ElementsAre(0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(LegacySinkTest, NamesEverythingThatTorchCouldNotLoad) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto add = [&](absl::string_view name, NodeId node) {
    EXPECT_TRUE(b.SetItem(root, b.Str(name), node).ok());
  };
  const auto shared = StorageOfRange<uint8_t>(8);
  add("eight",
      AddTensor(b, StorageOfRange<uint8_t>(4), DType::kFloat8E5M2, {4}));
  add("wide", AddTensor(b, StorageOfRange<uint8_t>(4), DType::kUInt16, {2}));
  add("good", AddTensor(b, StorageOfRange<uint8_t>(4), DType::kFloat32, {1}));
  add("ints", AddTensor(b, shared, DType::kInt32, {2}));
  add("floats", AddTensor(b, shared, DType::kFloat32, {2}));
  add("bare", b.Storage(StorageOfRange<uint8_t>(3), std::nullopt));
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok());
  const auto bytes = Write(*value);
  EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(bytes.status().message());
  for (const char* words :
       {"eight (float8_e5m2)", "wide (uint16)", "ints (int32", "floats (float3",
        "1 storages without", "--format pt", "--drop"}) {
    EXPECT_THAT(message, HasSubstr(words));
  }
  EXPECT_THAT(message, Not(HasSubstr("good")));
}

}  // namespace
}  // namespace penstock
