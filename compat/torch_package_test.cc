#include "compat/torch_package.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/legacy_testing.h"
#include "compat/parts_testing.h"
#include "compat/pt_file.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Three float32 over the record `.data/KEY.storage`; keys are ints there.
std::string TensorOver(int key, int64_t offset, int64_t size) {
  const std::string storage =
      absl::StrCat("(", PickledStr("storage"), "ctorch\nFloatStorage\n",
                   PickledInt(key), PickledStr("cpu"), PickledInt(3), "tQ");
  return PickledTensor(storage, offset, size);
}

std::vector<TestRecord> Records() {
  return {
      {"p/.data/0.storage", "abcdefghijkl"},
      {"p/model/a.pkl",
       Pickle(absl::StrCat("}", PickledStr("w"), TensorOver(0, 0, 3), "s"))},
      {"p/other/sub/net", Pickle(TensorOver(0, 1, 2))},
      {"p/txt/a.txt", "hello"},
      {"p/mymod.py", "x = 1"},
      {"p/.data/extern_modules", "torch"},
      {"p/.data/version", "6\n"},
      {"p/byteorder", "little"},
  };
}

absl::StatusOr<ForeignFile> Open(const std::vector<TestRecord>& records) {
  return OpenPt(FileFromString(TestZip(records).bytes(), "p.pt"));
}

void ExpectRefused(const std::vector<TestRecord>& records,
                   absl::string_view words) {
  const absl::Status status = Open(records).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
  EXPECT_TRUE(absl::StartsWith(status.message(), "p.pt: "));
}

TEST(TorchPackageTest, HasAnEntryForEachPickleAndOneStorageForAll) {
  const auto package = Open(Records());
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_EQ(package->format, ForeignFormat::kTorchPackage);
  ASSERT_EQ(package->root.size(), 2);
  EXPECT_EQ(package->root.key(0).AsBytes(), "model/a.pkl");
  EXPECT_EQ(package->root.key(1).AsBytes(), "other/sub/net");
  const Value w = package->root.value(0).Find("w");
  EXPECT_EQ(BytesOfTensor(*package, w), "abcdefghijkl");
  EXPECT_EQ(package->root.value(1).AsTensor().offset(), 1);
  EXPECT_EQ(package->root.value(1).AsTensor().storage(),
            w.AsTensor().storage());
  EXPECT_EQ(package->extents.size(), 1u);
  ExpectExtentsHold(*package);
  EXPECT_TRUE(package->warnings.empty());
}

TEST(TorchPackageTest, ReadsDeflatedRecords) {
  std::vector<TestRecord> records = Records();
  records[0].payload = std::string(12, 'a');
  records[0].deflate = true;
  records[1].deflate = true;
  MemoryFileSystem spool;
  PtLimits limits;
  limits.inflate.files = &spool;
  const auto package =
      OpenPt(FileFromString(TestZip(records).bytes(), "p.pt"), limits);
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_EQ(BytesOfTensor(*package, package->root.value(0).Find("w")),
            std::string(12, 'a'));
}

TEST(TorchPackageTest, TurnsBigEndianNumbers) {
  std::vector<TestRecord> records = Records();
  records.back().payload = "big";
  const auto package = Open(records);
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_EQ(BytesOfTensor(*package, package->root.value(0).Find("w")),
            "dcbahgfelkji");
}

TEST(TorchPackageTest, WhatItsOwnCodeMakesStaysInert) {
  std::vector<TestRecord> records = Records();
  records[2].payload =
      Pickle(absl::StrCat("(", PickledStr("reduce_package"), PickledInt(0),
                          "ctorch.jit._script\nunpackage_script_module\n(",
                          PickledStr("0"), "ttQ"));
  records.push_back({"p/.data/ts_code/0/data.pkl", "x"});
  const auto package = Open(records);
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_TRUE(package->root.value(1).IsObjectOf("torch.jit._script",
                                                "unpackage_script_module"));
  ASSERT_EQ(package->warnings.size(), 2u);
  EXPECT_TRUE(absl::StrContains(package->warnings[0], "stay inert"));
  EXPECT_TRUE(absl::StrContains(package->warnings[1], "ts_code"));
}

TEST(TorchPackageTest, RefusesStoragesThatLie) {
  std::vector<TestRecord> records = Records();
  records[0].name = "p/.data/1.storage";
  ExpectRefused(records, "storage_missing");
  records = Records();
  records[0].payload += "x";
  ExpectRefused(records, "storage_size");
  records = Records();
  records[2].payload = Pickle(TensorOver(0, 2, 2));
  ExpectRefused(records, "tensor_bounds");
  records = Records();
  records[1].payload.resize(20);
  ExpectRefused(records, "\"model/a.pkl\": pickle_truncated");
  records = Records();
  records[2].payload = Pickle(
      absl::StrCat("(", PickledStr("reduce_package"), PickledStr("x"), "tQ"));
  ExpectRefused(records, "persid_bad");
}

TEST(TorchPackageTest, ChecksTheCrcOfStorages) {
  std::string bytes = TestZip(Records()).bytes();
  bytes[bytes.find("abcdefghijkl") + 4] ^= 1;
  const auto package = OpenPt(FileFromString(bytes, "p.pt"));
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_TRUE(absl::StrContains(ReadAllStorages(*package).status().message(),
                                "zip_crc_mismatch"));
}

TEST(TorchPackageTest, EveryTruncationIsRefused) {
  const std::string whole = TestZip(Records()).bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(OpenPt(FileFromString(whole.substr(0, size), "p.pt")).ok());
  }
}

}  // namespace
}  // namespace penstock
