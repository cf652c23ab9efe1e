// Zip files of every shape that holds a checkpoint: each gives the same
// tensors, and skeleton + extents == file for each.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codec/pipeline.h"
#include "codec/sink.h"
#include "compat/golden_checkpoints.h"
#include "compat/pickle_writer.h"
#include "compat/pt_file.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

// Four storages: large, empty, small, viewed twice.
Value MakeCheckpoint() {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto set = [&](const char* key, NodeId value) {
    b.SetItem(root, b.Str(key), value).IgnoreError();
  };
  const auto tied = StorageOfRange<int16_t>(6);
  set("large",
      AddTensor(b, StorageOfRange<int32_t>(300'000), DType::kInt32, {300'000}));
  set("empty", AddTensor(b, StorageOf<float>({}), DType::kFloat32, {0}));
  set("small", AddTensor(b, StorageOf<float>({1, 2, 3}), DType::kFloat32, {3}));
  set("tied", AddTensor(b, tied, DType::kInt16, {6}));
  set("view", AddTensor(b, tied, DType::kInt16, {3}, {2}, 1));
  return std::move(b).Finish(root).value();
}

std::vector<TestRecord> RecordsOf(const Value& root) {
  std::vector<TestRecord> records = {{"a/data.pkl", WritePickle(root)->pickle}};
  for (const auto& storage : root.graph()->storages()) {
    records.push_back(
        {absl::StrCat("a/data/", records.size() - 1),
         std::string(storage->bytes().begin(), storage->bytes().end())});
  }
  records.push_back({"a/version", "3\n"});
  return records;
}

class PtLayoutsTest : public testing::Test {
 protected:
  absl::StatusOr<ForeignFile> Open(const std::string& bytes) {
    PtLimits limits;
    limits.inflate.files = &spool_;
    limits.inflate.directory = "/tmp";
    return OpenPt(FileFromString(bytes, "a.pt"), limits);
  }

  // Reads everything with three threads and compares it with root_.
  absl::Status ReadAll(const ForeignFile& pt, int64_t& unverified_bytes) {
    const auto storages = pt.root.graph()->storages();
    const auto expected = root_.graph()->storages();
    std::vector<MemorySink::Window> windows;
    for (const auto& storage : storages) {
      windows.push_back({Storage::Allocate(storage->size_bytes()).value(), 0});
    }
    const auto source = pt.new_source();
    MemorySink sink(windows);
    PumpOptions options;
    options.threads = 3;
    PENSTOCK_RETURN_IF_ERROR(
        Pump(PlanInOrder(storages), *source, sink, options).status());
    unverified_bytes = source->unverified_bytes();
    EXPECT_EQ(windows.size(), expected.size());
    for (size_t i = 0; i < windows.size(); ++i) {
      EXPECT_TRUE(windows[i].storage->bytes() == expected[i]->bytes()) << i;
    }
    return absl::OkStatus();
  }

  // The file holds the checkpoint, `num_extents` storages of it as they are.
  void ExpectGood(const std::string& bytes, int64_t num_extents,
                  int64_t expected_unverified = 0) {
    const auto pt = Open(bytes);
    ASSERT_TRUE(pt.ok()) << pt.status();
    EXPECT_EQ(static_cast<int64_t>(pt->extents.size()), num_extents);
    ExpectExtentsHold(*pt);
    int64_t unverified_bytes = -1;
    const absl::Status read = ReadAll(*pt, unverified_bytes);
    EXPECT_TRUE(read.ok()) << read;
    EXPECT_EQ(unverified_bytes, expected_unverified);
  }

  const Value root_ = MakeCheckpoint();
  std::vector<TestRecord> records_ = RecordsOf(root_);
  MemoryFileSystem spool_;
};

TEST_F(PtLayoutsTest, AsTorchWritesThemAtAnyAlignment) {
  for (const int64_t alignment : {1, 3, 64, 4096, 65536}) {
    PtSinkOptions options;
    options.alignment = alignment;
    ExpectGood(WritePt(root_, "a", options).value(), 3);
  }
}

TEST_F(PtLayoutsTest, InAnyOrderOfRecords) {
  std::vector<int> order(records_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  do {
    std::vector<TestRecord> records;
    for (const int i : order) records.push_back(records_[i]);
    const auto pt = Open(TestZip(records).bytes());
    ASSERT_TRUE(pt.ok()) << pt.status();
    ExpectExtentsHold(*pt);
  } while (std::next_permutation(order.begin() + 3, order.end()));
  std::reverse(records_.begin(), records_.end());
  ExpectGood(TestZip(records_).bytes(), 3);
}

TEST_F(PtLayoutsTest, WithCommentsTrailingBytesAndDescriptors) {
  ExpectGood(TestZip(records_, "a comment").bytes(), 3);
  ExpectGood(TestZip(records_).bytes() + std::string(100, 'x'), 3);
  for (TestRecord& record : records_) record.descriptor_bytes = 16;
  ExpectGood(TestZip(records_).bytes(), 3);
}

// As torch writes with compute_crc32 off.
TEST_F(PtLayoutsTest, WithoutCrcTheBytesAreReadAndCountedAsUnverified) {
  const TestZip zip(records_);
  std::string bytes = zip.bytes();
  for (size_t i = 0; i < records_.size(); ++i) {
    bytes.replace(zip.local(i) + 14, 4, 4, '\0');
    bytes.replace(zip.central(i) + 16, 4, 4, '\0');
  }
  ExpectGood(bytes, 3, 300'000 * 4 + 12 + 12);
}

TEST_F(PtLayoutsTest, DeflatedStoragesAreReadAndAreNoExtents) {
  for (TestRecord& record : records_) record.deflate = true;
  ExpectGood(TestZip(records_).bytes(), 0);
  records_[3].deflate = false;
  ExpectGood(TestZip(records_).bytes(), 1);
}

TEST_F(PtLayoutsTest, OpeningInflatesNoTensor) {
  for (TestRecord& record : records_) record.deflate = true;
  ASSERT_TRUE(Open(TestZip(records_).bytes()).ok());
  EXPECT_TRUE(spool_.Log().empty());
}

TEST_F(PtLayoutsTest, DeflatedBigEndianNumbersAreTurned) {
  for (TestRecord& record : records_) {
    record.deflate = true;
    if (!absl::StrContains(record.name, "data/")) continue;
    const int width = record.name == "a/data/3" ? 2 : 4;
    for (size_t i = 0; i < record.payload.size(); i += width) {
      std::reverse(record.payload.begin() + i,
                   record.payload.begin() + i + width);
    }
  }
  records_.push_back({"a/byteorder", "big", true});
  ExpectGood(TestZip(records_).bytes(), 0);
}

TEST_F(PtLayoutsTest, DamagedDeflatedStoragesAreNamed) {
  records_[1].deflate = true;
  const TestZip zip(records_);
  std::string bytes = zip.bytes();
  bytes[zip.payload(1) + 1000] ^= 0x20;
  const auto pt = Open(bytes);
  ASSERT_TRUE(pt.ok()) << pt.status();
  int64_t unverified_bytes;
  const absl::Status read = ReadAll(*pt, unverified_bytes);
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(read.message()), HasSubstr("record \"a/data/0\""));
}

TEST_F(PtLayoutsTest, ABombIsRefusedAtOpening) {
  records_[1].payload.assign(records_[1].payload.size(), '\0');
  records_[1].deflate = true;
  PtLimits limits;
  limits.inflate.max_bytes = 1'000'000;
  const auto pt =
      OpenPt(FileFromString(TestZip(records_).bytes(), "a.pt"), limits);
  EXPECT_EQ(pt.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(pt.status().message()), HasSubstr("zip_bomb"));
}

}  // namespace
}  // namespace penstock
