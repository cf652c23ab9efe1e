// The .pstk files that must load for ever, the hex dump in docs/FORMAT.md, and
// the zstd program, which accepts every .pstk.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "codec/native_layout.h"
#include "codec/native_test_file.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/tensor.h"
#include "core/value_compare.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Lines "0040: 51 2a ...  what it is"; others do not count.
std::string BytesOfDump(const std::string& text) {
  std::string bytes;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t colon = line.find(": ");
    if (colon != 4) continue;
    absl::string_view hex = line.substr(colon + 2);
    hex = hex.substr(0, hex.find("  "));
    bytes += absl::HexStringToBytes(
        absl::StrJoin(absl::StrSplit(hex, ' ', absl::SkipEmpty()), ""));
  }
  return bytes;
}

std::string DumpOf(const std::string& bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    absl::StrAppend(&text, absl::Hex(at, absl::kZeroPad4), ":");
    for (const char byte : bytes.substr(at, 16)) {
      absl::StrAppend(&text, " ", absl::BytesToHexString(std::string(1, byte)));
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

// {"w": [[1, 2], [3, 4]] in bfloat16 on cuda:0, "epoch": 3}
Value DocumentedCheckpoint() {
  const auto storage = *Storage::Allocate(8);
  storage->set_location("cuda:0");
  const std::vector<uint8_t> bytes = {0x80, 0x3F, 0x00, 0x40,
                                      0x40, 0x40, 0x80, 0x40};
  std::copy(bytes.begin(), bytes.end(), storage->mutable_bytes().begin());
  GraphBuilder b;
  const NodeId root = b.Dict();
  const NodeId w = b.Tensor(*Tensor::Make(storage, DType::kBFloat16, {2, 2}));
  EXPECT_TRUE(b.SetItem(root, b.Str("w"), w).ok());
  EXPECT_TRUE(b.SetItem(root, b.Str("epoch"), b.Int(3)).ok());
  return *std::move(b).Finish(root);
}

// Every kind of node, raw and coded chunks, shared ones and such of their own.
Value GoldenCheckpoint() {
  const auto coded = *Storage::Allocate(65540);  // int64 counter, uneven end
  for (size_t i = 0; i < coded->mutable_bytes().size(); ++i) {
    coded->mutable_bytes()[i] = static_cast<uint8_t>(i % 8 == 0 ? i / 8 : 0);
  }
  const auto raw = *Storage::Allocate(24);
  for (size_t i = 0; i < 24; ++i) {
    raw->mutable_bytes()[i] = static_cast<uint8_t>(i * 97 + 13);
  }
  raw->set_location("cuda:1");
  const auto weights = *Storage::Allocate(512);  // bfloat16, both signs
  for (size_t i = 0; i < 512; ++i) {
    weights->mutable_bytes()[i] =
        static_cast<uint8_t>(i % 2 == 0 ? i * 37 : 0x3F | (i % 3 << 7));
  }
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  const auto set = [&](absl::string_view key, NodeId value) {
    EXPECT_TRUE(b.SetItem(root, b.Str(key), value).ok());
  };
  set("counter", b.Tensor(*Tensor::Make(coded, DType::kInt64, {8192})));
  set("weights", b.Tensor(*Tensor::Make(weights, DType::kBFloat16, {16, 16})));
  set("raw", b.Tensor(*Tensor::Make(raw, DType::kFloat32, {3, 2}),
                      TensorFlags::kRequiresGrad));
  set("view", b.Tensor(*Tensor::Make(raw, DType::kFloat32, {2}, {2}, 1)));
  set("scalars", b.List({b.None(), b.Bool(true), b.Int(-1),
                         b.BigInt(std::string(8, '\0') + "\1"), b.Float(0.5),
                         b.Complex(1, -1), b.Bytes("\xFF"), b.ByteArray("a"),
                         b.Py2Str("p")}));
  set("sets", b.Tuple({b.Set({b.Int(1)}), b.FrozenSet({})}));
  set("storage", b.Storage(raw, DType::kFloat32));
  const NodeId object =
      b.Object(Construction::kNewObj, b.Global("m", "C"), b.Tuple({}));
  EXPECT_TRUE(b.SetState(object, root).ok());  // a cycle
  set("object", object);
  return *std::move(b).Finish(root);
}

void ExpectLoads(const std::string& bytes, const Value& expected) {
  Slot slot;
  EXPECT_TRUE(VerifyNative(bytes, slot).ok()) << VerifyNative(bytes, slot);
  const auto loaded = LoadNative(bytes, 2);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(CompareValues(*loaded, expected).ok())
      << CompareValues(*loaded, expected);
}

// Never regenerated: it stands for all files that were written since.
TEST(NativeGoldenTest, TheFirstFileLoads) {
  const std::string bytes =
      BytesOfDump(ReadFile("tests/golden/first.pstk.hex"));
  ASSERT_FALSE(bytes.empty())
      << DumpOf(SaveNativeOrDie(GoldenCheckpoint(), NativeCodec::kZstd));
  ExpectLoads(bytes, GoldenCheckpoint());
}

TEST(NativeGoldenTest, TheDocumentedBytesAreTheOnesThatAreWritten) {
  const std::string written =
      SaveNativeOrDie(DocumentedCheckpoint(), NativeCodec::kNone);
  const std::string documented = BytesOfDump(ReadFile("docs/FORMAT.md"));
  EXPECT_TRUE(documented == written) << DumpOf(written);
  ExpectLoads(documented, DocumentedCheckpoint());
}

// Whether the shell command succeeds, with its output where not.
testing::AssertionResult Runs(const std::string& command) {
  const std::string log = testing::TempDir() + "/zstd.log";
  const int status = std::system(
      absl::StrCat("timeout 60 ", command, " > ", log, " 2>&1").c_str());
  if (status == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << command << ": " << ReadFile(log);
}

void ExpectZstdAccepts(const std::string& bytes) {
  const std::string path = testing::TempDir() + "/test.pstk";
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_TRUE(Runs("zstd -t " + path));
  EXPECT_TRUE(Runs("zstd -l " + path));
  std::remove(path.c_str());
}

TEST(ZstdProgramTest, AcceptsEveryFile) {
  for (const TestFile& file : SmallTestFiles()) {
    SCOPED_TRACE(file.name);
    ExpectZstdAccepts(file.bytes);
  }
  const Value large = TestCheckpoint(
      {{DType::kFloat32, TestStorage(5 << 20, 1, Fill::kNoise)},
       {DType::kBFloat16, TestStorage(3 << 20, 2, Fill::kWeights)},
       {DType::kUInt8, TestStorage(3 << 20, 3, Fill::kNoise)}});
  ExpectZstdAccepts(SaveNativeOrDie(large, NativeCodec::kNone));
  ExpectZstdAccepts(SaveNativeOrDie(large, NativeCodec::kZstd));
}

TEST(ZstdProgramTest, RefusesWhatIsNone) {
  const std::string path = testing::TempDir() + "/none.pstk";
  std::ofstream(path, std::ios::binary) << "no zstd frame, this";
  EXPECT_FALSE(Runs("zstd -t " + path));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace penstock
