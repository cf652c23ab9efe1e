#include "compat/pickle_writer.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Tensor View(const std::shared_ptr<const Storage>& storage, DType dtype,
            std::vector<int64_t> shape, std::vector<int64_t> strides = {},
            int64_t offset = 0) {
  auto tensor = Tensor::Make(storage, dtype, std::move(shape),
                             std::move(strides), offset);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return *tensor;
}

// A tensor alone on a new storage.
Tensor NewTensor(DType dtype, std::vector<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return View(Storage::InFile(*BytesFor(dtype, count), 0), dtype,
              std::move(shape));
}

Value FinishOrDie(GraphBuilder&& b, NodeId root) {
  auto value = std::move(b).Finish(root);
  EXPECT_TRUE(value.ok()) << value.status();
  return *value;
}

std::string WriteHex(GraphBuilder&& b, NodeId root) {
  auto written = WritePickle(FinishOrDie(std::move(b), root));
  EXPECT_TRUE(written.ok()) << written.status();
  return written.ok() ? absl::BytesToHexString(written->pickle) : "";
}

// The pickle without PROTO and STOP.
std::string BodyHex(GraphBuilder&& b, NodeId root) {
  const std::string hex = WriteHex(std::move(b), root);
  return hex.size() < 6 ? "" : hex.substr(4, hex.size() - 6);
}

TEST(PickleWriterTest, WritesG1) {
  GraphBuilder b;
  const NodeId root = b.Tensor(NewTensor(DType::kFloat32, {3}));
  EXPECT_EQ(WriteHex(std::move(b), root), kG1.hex);
}

TEST(PickleWriterTest, WritesG5AndNamesTheSharedStorageOnce) {
  GraphBuilder b;
  const auto storage = Storage::InFile(80, 0);
  const NodeId root = b.Dict();
  ASSERT_TRUE(
      b.SetItem(root, b.Str("n"), b.Tensor(View(storage, DType::kInt64, {10})))
          .ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("e"),
                        b.Tensor(View(storage, DType::kInt64, {5}, {2}, 1)))
                  .ok());
  const auto written = WritePickle(FinishOrDie(std::move(b), root));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(absl::BytesToHexString(written->pickle), kG5.hex);
  EXPECT_THAT(written->storage_order, ElementsAre(0));
}

TEST(PickleWriterTest, WritesG6OverAnUntypedStorage) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, b.Str("w"),
                        b.Tensor(NewTensor(DType::kFloat8E4M3FN, {2, 2})))
                  .ok());
  EXPECT_EQ(WriteHex(std::move(b), root), kG6.hex);
}

TEST(PickleWriterTest, WritesG7AParameter) {
  GraphBuilder b;
  const NodeId tensor =
      b.Tensor(View(Storage::InFile(24, 0), DType::kFloat32, {3, 2}, {1, 3}));
  const NodeId root = b.Object(
      Construction::kReduce, b.Global("torch._utils", "_rebuild_parameter"),
      b.Tuple({tensor, b.Bool(true), b.OrderedDict()}));
  EXPECT_EQ(WriteHex(std::move(b), root), kG7.hex);
}

// It is in no memo, so being the same object shows nowhere.
TEST(PickleWriterTest, OneEmptyTupleMayBeInManyPlaces) {
  GraphBuilder b;
  const NodeId empty = b.Tuple();
  const NodeId root = b.Tuple({empty, empty});
  EXPECT_EQ(BodyHex(std::move(b), root), "2929867100");
}

TEST(PickleWriterTest, WritesG8EveryKindOfNumberAndContainer) {
  GraphBuilder b;
  const auto ints = [&](int count) {
    std::vector<NodeId> items;
    for (int i = 1; i <= count; ++i) items.push_back(b.Int(i));
    return items;
  };
  std::vector<NodeId> items = {b.None(), b.Bool(true), b.Bool(false)};
  for (int64_t value :
       {int64_t{0}, int64_t{255}, int64_t{256}, int64_t{65535}, int64_t{65536},
        int64_t{-1}, int64_t{INT32_MAX}, int64_t{1} << 31, int64_t{INT32_MIN},
        int64_t{INT32_MIN} - 1}) {
    items.push_back(b.Int(value));
  }
  items.push_back(b.BigInt(absl::HexStringToBytes("000000000000008000")));
  items.push_back(b.Int(INT64_MIN));
  items.push_back(b.BigInt(absl::HexStringToBytes("000000000000000040")));
  items.push_back(b.Float(1.5));
  for (const char* text : {"", "a", "\xE2\x82\xAC"})
    items.push_back(b.Str(text));
  for (int count = 0; count <= 4; ++count)
    items.push_back(b.Tuple(ints(count)));
  items.push_back(b.List());
  items.push_back(b.Dict());
  const NodeId one = b.Dict();
  const NodeId two = b.Dict();
  ASSERT_TRUE(b.SetItem(one, b.Int(1), b.Int(2)).ok());
  ASSERT_TRUE(b.SetItem(two, b.Int(1), b.Int(2)).ok());
  ASSERT_TRUE(b.SetItem(two, b.Int(3), b.Int(4)).ok());
  items.push_back(one);
  items.push_back(two);
  items.push_back(b.Bytes(absl::string_view("\0\xFF", 2)));
  const NodeId root = b.List(items);
  EXPECT_EQ(WriteHex(std::move(b), root), kG8.hex);
}

TEST(PickleWriterTest, WritesG9WithKeysInOrderOfMention) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(b.SetItem(root, b.Str(absl::StrCat("t", i)),
                          b.Tensor(NewTensor(DType::kFloat32, {})))
                    .ok());
  }
  EXPECT_EQ(WriteHex(std::move(b), root), kG9.hex);
}

TEST(PickleWriterTest, WritesG10ATensorWithoutElements) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, b.Str("z"),
                        b.Tensor(View(Storage::InFile(0, 0), DType::kFloat32,
                                      {0, 3}, {3, 1})))
                  .ok());
  EXPECT_EQ(WriteHex(std::move(b), root), kG10.hex);
}

TEST(PickleWriterTest, WritesTheStateDictOfAModuleWithItsMetadata) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  const std::pair<const char*, std::vector<int64_t>> kTensors[] = {
      {"weight_ih_l0", {12, 3}},
      {"weight_hh_l0", {12, 3}},
      {"bias_ih_l0", {12}},
      {"bias_hh_l0", {12}}};
  for (const auto& [name, shape] : kTensors) {
    ASSERT_TRUE(b.SetItem(root, b.Str(name),
                          b.Tensor(NewTensor(DType::kFloat32, shape)))
                    .ok());
  }
  const NodeId module = b.Dict();
  ASSERT_TRUE(b.SetItem(module, b.Str("version"), b.Int(1)).ok());
  const NodeId metadata = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(metadata, b.Str(""), module).ok());
  const NodeId state = b.Dict();
  ASSERT_TRUE(b.SetItem(state, b.Str("_metadata"), metadata).ok());
  ASSERT_TRUE(b.SetState(root, state).ok());
  EXPECT_EQ(WriteHex(std::move(b), root), kLstm.hex);
}

TEST(PickleWriterTest, WhatWasReadComesBackByteForByte) {
  for (const GoldenPickle& golden : kGoldenPickles) {
    SCOPED_TRACE(golden.name);
    const auto read = ReadText(golden.bytes());
    ASSERT_TRUE(read.ok()) << read.status();
    const auto written = WritePickle(read->root);
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(absl::BytesToHexString(written->pickle), golden.hex);
  }
}

TEST(PickleWriterTest, BothBitsOfATensorAreNegThenConj) {
  GraphBuilder b;
  const NodeId root =
      b.Tensor(NewTensor(DType::kComplex64, {3}),
               TensorFlags::kConjugated | TensorFlags::kNegated);
  EXPECT_EQ(WriteHex(std::move(b), root), kConjugatedNegated.hex);
}

TEST(PickleWriterTest, EqualStringsShareWhereCPythonSharesThem) {
  GraphBuilder b;
  const NodeId root = b.Tuple({b.Str("name_1"), b.Str("name_1"), b.Str("a.b"),
                               b.Str("a.b"), b.Str("."), b.Str(".")});
  EXPECT_EQ(BodyHex(std::move(b), root),
            "28"
            "58060000006e616d655f317100"
            "6800"
            "5803000000612e627101"
            "5803000000612e627102"
            "58010000002e7103"
            "6803"
            "747104");
}

TEST(PickleWriterTest, OneStringNodeIsWrittenOnceWhateverItSays) {
  GraphBuilder b;
  const NodeId text = b.Str("a.b");
  const NodeId root = b.Tuple({text, text});
  EXPECT_EQ(BodyHex(std::move(b), root), "5803000000612e6271006800867101");
}

TEST(PickleWriterTest, StringsOfAReadGraphShareOnlyByIdentity) {
  GraphBuilder b;
  b.set_strings_by_identity(true);
  const NodeId root = b.Tuple({b.Str("ab"), b.Str("ab")});
  EXPECT_EQ(BodyHex(std::move(b), root),
            "580200000061627100"
            "580200000061627101"
            "867102");
}

// Measured: torch.save of [torch.device('cpu'), tensor, torch.device('cpu')]
// holds the text three times.
TEST(PickleWriterTest, TheTypeOfADeviceIsAStringOfItsOwn) {
  for (const bool by_identity : {false, true}) {
    GraphBuilder b;
    b.set_strings_by_identity(by_identity);
    const auto device = [&b] {
      return b.Object(Construction::kReduce, b.Global("torch", "device"),
                      b.Tuple({b.Str("cpu")}));
    };
    const NodeId first = device();
    const NodeId tensor = b.Tensor(NewTensor(DType::kFloat32, {2}));
    const NodeId root = b.List({first, tensor, device()});
    const std::string hex = WriteHex(std::move(b), root);
    size_t count = 0;
    const std::string cpu = absl::BytesToHexString("cpu");
    for (size_t at = hex.find(cpu); at != std::string::npos;
         at = hex.find(cpu, at + 1)) {
      ++count;
    }
    EXPECT_EQ(count, 3) << hex;
  }
}

TEST(PickleWriterTest, KeysOfMetadataAreStringsOfTheirOwn) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(root, b.Str("conv"), b.Int(0)).ok());
  const NodeId metadata = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(metadata, b.Str("conv"), b.Str("conv")).ok());
  const NodeId state = b.Dict();
  ASSERT_TRUE(b.SetItem(state, b.Str("_metadata"), metadata).ok());
  ASSERT_TRUE(b.SetState(root, state).ok());
  const std::string hex = WriteHex(std::move(b), root);
  // Twice in full: the first key, and the key inside the metadata. The value
  // there shares with the first.
  const std::string conv = absl::BytesToHexString("conv");
  EXPECT_THAT(hex, HasSubstr("58040000006"
                             "36f6e767102"));
  size_t count = 0;
  for (size_t at = hex.find(conv); at != std::string::npos;
       at = hex.find(conv, at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 2);
}

TEST(PickleWriterTest, EmptyBytesGoThroughTheCodecToo) {
  GraphBuilder b;
  const NodeId root = b.Bytes("");
  EXPECT_EQ(BodyHex(std::move(b), root),
            "635f636f646563730a656e636f64650a7100"
            "58000000007101"
            "58060000006c6174696e317102"
            "867103"
            "527104");
}

TEST(PickleWriterTest, Python2StringsStayPython2Strings) {
  GraphBuilder b;
  const NodeId root =
      b.List({b.Py2Str("\xFF"), b.Py2Str(std::string(256, 'x'))});
  const std::string hex = BodyHex(std::move(b), root);
  EXPECT_THAT(hex, HasSubstr("5501ff7101"));
  EXPECT_THAT(hex, HasSubstr("540001000078"));
}

TEST(PickleWriterTest, IntegersOf256BytesTakeLong4) {
  for (const int size : {255, 256}) {
    GraphBuilder b;
    const NodeId root = b.BigInt(std::string(size, '\x01'));
    EXPECT_THAT(BodyHex(std::move(b), root),
                testing::StartsWith(size == 255 ? "8aff01" : "8b0001000001"));
  }
}

TEST(PickleWriterTest, GlobalsHavePython2Names) {
  GraphBuilder b;
  const NodeId root =
      b.List({b.Global("builtins", "int"), b.Global("builtins", "ValueError"),
              b.Global("collections.abc", "Mapping")});
  const std::string body = absl::HexStringToBytes(BodyHex(std::move(b), root));
  EXPECT_THAT(body, HasSubstr("c__builtin__\nlong\n"));
  EXPECT_THAT(body, HasSubstr("cexceptions\nValueError\n"));
  EXPECT_THAT(body, HasSubstr("c_abcoll\nMapping\n"));
}

TEST(PickleWriterTest, RefusesGlobalsThatALineCannotHold) {
  GraphBuilder b;
  const NodeId root = b.Global("os\nsystem", "x");
  const auto written = WritePickle(FinishOrDie(std::move(b), root));
  EXPECT_EQ(written.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PickleWriterTest, WhatProtocol2CannotHoldIsWrittenAtProtocol4) {
  GraphBuilder b;
  const NodeId kwargs = b.Dict();
  ASSERT_TRUE(b.SetItem(kwargs, b.Str("k"), b.Int(1)).ok());
  const NodeId root = b.Object(Construction::kNewObjEx,
                               b.Global("builtins", "int"), b.Tuple(), kwargs);
  const Value value = FinishOrDie(std::move(b), root);
  const auto written = WritePickle(value);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->pickle, testing::StartsWith("\x80\x04"
                                                   "cbuiltins\nint\n"));
  EXPECT_THAT(written->warnings, ElementsAre(HasSubstr("protocol 4")));
  const auto read = ReadText(written->pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(CompareValues(value, read->root).ok())
      << CompareValues(value, read->root);
}

// At protocol 2 Python 3 would look for them in builtins and subprocess.
TEST(PickleWriterTest, AGlobalNamedLikeOneOfPython2KeepsItsName) {
  GraphBuilder b;
  const NodeId root =
      b.List({b.Global("__builtin__", "set"), b.Global("commands", "Command")});
  const Value value = FinishOrDie(std::move(b), root);
  const auto written = WritePickle(value);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->warnings, ElementsAre(HasSubstr("another name")));
  const auto read = ReadText(written->pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(CompareValues(value, read->root).ok())
      << CompareValues(value, read->root);
}

TEST(PickleWriterTest, AStorageSeenAsTwoTypesIsUntyped) {
  GraphBuilder b;
  const auto storage = Storage::InFile(16, 0);
  const NodeId root = b.List({b.Tensor(View(storage, DType::kFloat32, {4})),
                              b.Tensor(View(storage, DType::kInt32, {4}))});
  const Value value = FinishOrDie(std::move(b), root);
  const auto written = WritePickle(value);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_FALSE(absl::StrContains(written->pickle, "_rebuild_tensor_v2"));
  EXPECT_THAT(written->pickle, HasSubstr("ctorch.storage\nUntypedStorage\n"));
  EXPECT_THAT(written->pickle, HasSubstr("ctorch\nint32\n"));
  const auto read = ReadText(written->pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(CompareValues(value, read->root).ok())
      << CompareValues(value, read->root);
}

TEST(PickleWriterTest, Uint8SharesAStorageWithFloat8AndKeepsItsClass) {
  GraphBuilder b;
  const auto storage = Storage::InFile(4, 0);
  const NodeId root = b.List({b.Tensor(View(storage, DType::kUInt8, {4})),
                              b.Tensor(View(storage, DType::kFloat8E5M2, {4})),
                              b.Storage(storage, std::nullopt)});
  const auto written = WritePickle(FinishOrDie(std::move(b), root));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->pickle, HasSubstr("ctorch\nByteStorage\n"));
  EXPECT_TRUE(ReadText(written->pickle).ok());
  EXPECT_THAT(written->warnings, IsEmpty());
}

TEST(PickleWriterTest, AStorageThatIsNoMultipleOfItsTypeIsUntyped) {
  GraphBuilder b;
  const NodeId root =
      b.Tensor(View(Storage::InFile(10, 0), DType::kFloat32, {2}));
  const auto written = WritePickle(FinishOrDie(std::move(b), root));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->pickle, HasSubstr("UntypedStorage"));
}

TEST(PickleWriterTest, EveryDtypeComesBack) {
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    SCOPED_TRACE(std::string(InfoOf(dtype).name));
    GraphBuilder b;
    const NodeId root =
        b.List({b.Tensor(NewTensor(dtype, {2, 4}), TensorFlags::kRequiresGrad),
                b.Tensor(NewTensor(dtype, {}))});
    const Value value = FinishOrDie(std::move(b), root);
    const auto written = WritePickle(value);
    ASSERT_TRUE(written.ok()) << written.status();
    const auto read = ReadText(written->pickle);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(CompareValues(value, read->root).ok())
        << CompareValues(value, read->root);
  }
}

TEST(PickleWriterTest, LocationsAreKept) {
  GraphBuilder b;
  std::shared_ptr<Storage> storage = Storage::InFile(4, 0);
  storage->set_location("cuda:1");
  const NodeId root = b.Tensor(View(storage, DType::kFloat32, {1}));
  const auto written = WritePickle(FinishOrDie(std::move(b), root));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(written->pickle, HasSubstr("cuda:1"));
}

TEST(PickleWriterTest, BatchesEndAsCPythonEndsThem) {
  const std::string empty_batch = "\x28\x75";
  for (const int count : {999, 1000, 1001, 2000}) {
    SCOPED_TRACE(count);
    GraphBuilder exact;
    const NodeId dict = exact.Dict();
    GraphBuilder iterated;
    const NodeId ordered = iterated.OrderedDict();
    GraphBuilder listed;
    const NodeId list = listed.List();
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(exact.SetItem(dict, exact.Int(i), exact.None()).ok());
      ASSERT_TRUE(
          iterated.SetItem(ordered, iterated.Int(i), iterated.None()).ok());
      ASSERT_TRUE(listed.Append(list, listed.None()).ok());
    }
    const std::string dict_hex = BodyHex(std::move(exact), dict);
    const std::string ordered_hex = BodyHex(std::move(iterated), ordered);
    const std::string list_hex = BodyHex(std::move(listed), list);
    EXPECT_EQ(absl::EndsWith(dict_hex, "752875"), count % 1000 == 0);
    EXPECT_FALSE(absl::EndsWith(ordered_hex, "2875"));
    EXPECT_EQ(absl::EndsWith(ordered_hex, "4e73"), count == 1001);
    EXPECT_EQ(absl::EndsWith(list_hex, "65284e65"), count == 1001);
  }
}

TEST(PickleWriterTest, WritesAMillionNestedLists) {
  GraphBuilder b;
  NodeId inner = b.List();
  for (int i = 0; i < 1'000'000; ++i) inner = b.List({inner});
  const Value value = FinishOrDie(std::move(b), inner);
  const auto written = WritePickle(value);
  ASSERT_TRUE(written.ok()) << written.status();
  const auto read = ReadText(written->pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.graph()->num_nodes(), 1'000'001);
}

TEST(PickleWriterTest, ASetThatHoldsItselfDirectlyIsAnErrorNotALoop) {
  GraphBuilder b;
  const NodeId set = b.Set();
  ASSERT_TRUE(b.Append(set, b.Tuple({set})).ok());
  const auto written = WritePickle(FinishOrDie(std::move(b), set));
  EXPECT_EQ(written.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(written.status().message()),
              HasSubstr("contains itself"));
}

TEST(PickleWriterTest, StopsAtTheSizeLimit) {
  GraphBuilder b;
  const NodeId root = b.List({b.Str(std::string(1000, 'x')), b.List()});
  PickleWriteOptions options;
  options.max_bytes = 100;
  const auto written = WritePickle(FinishOrDie(std::move(b), root), options);
  EXPECT_EQ(written.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(PickleWriterTest, KnowsTwoProtocols) {
  GraphBuilder b;
  PickleWriteOptions options;
  options.protocol = 3;
  const NodeId root = b.None();
  EXPECT_EQ(
      WritePickle(FinishOrDie(std::move(b), root), options).status().code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
