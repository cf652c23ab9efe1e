#include "compat/pickle_reader.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/pickle_testing.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PickleResult ReadOrDie(absl::string_view pickle) {
  auto read = ReadText(pickle);
  EXPECT_TRUE(read.ok()) << read.status();
  return read.ok() ? *std::move(read) : PickleResult();
}

// The root of a pickle without its STOP.
Value Root(absl::string_view body) {
  return ReadOrDie(absl::StrCat(body, ".")).root;
}

Value RootOfHex(absl::string_view body) {
  return Root(absl::HexStringToBytes(body));
}

std::string Name(const Value& global) {
  return absl::StrCat(global.module(), " ", global.name());
}

TEST(PickleReaderTest, ReadsG1) {
  const PickleResult result = ReadOrDie(kG1.bytes());
  ASSERT_EQ(result.root.kind(), NodeKind::kTensor);
  const Tensor tensor = result.root.AsTensor();
  EXPECT_EQ(tensor.dtype(), DType::kFloat32);
  EXPECT_THAT(tensor.shape(), ElementsAre(3));
  EXPECT_THAT(tensor.strides(), ElementsAre(1));
  EXPECT_EQ(tensor.storage()->size_bytes(), 12);
  EXPECT_EQ(tensor.storage()->location(), "cpu");
  EXPECT_EQ(result.root.tensor_flags(), 0);
  EXPECT_EQ(result.consumed_bytes, 150);
  EXPECT_THAT(result.globals,
              ElementsAre("torch._utils _rebuild_tensor_v2",
                          "torch FloatStorage", "collections OrderedDict"));
  EXPECT_THAT(result.warnings, IsEmpty());
}

TEST(PickleReaderTest, AsksForAStorageOnce) {
  std::vector<StorageReference> asked;
  const std::string pickle = kG5.bytes();
  const auto read = ReadPickle(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(pickle.data()),
                          pickle.size()),
      [&](const StorageReference& reference)
          -> absl::StatusOr<std::shared_ptr<const Storage>> {
        asked.push_back(reference);
        return std::shared_ptr<const Storage>(
            Storage::InFile(reference.size_bytes, 0));
      });
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(asked.size(), 1);
  EXPECT_EQ(asked[0].key, "0");
  EXPECT_EQ(asked[0].dtype, DType::kInt64);
  EXPECT_EQ(asked[0].location, "cpu");
  EXPECT_EQ(asked[0].num_elements, 10);
  EXPECT_EQ(asked[0].size_bytes, 80);
  const Tensor view = read->root.Find("e").AsTensor();
  EXPECT_THAT(view.shape(), ElementsAre(5));
  EXPECT_THAT(view.strides(), ElementsAre(2));
  EXPECT_EQ(view.offset(), 1);
  EXPECT_EQ(view.storage(), read->root.Find("n").AsTensor().storage());
}

TEST(PickleReaderTest, PassesOnTheResolversError) {
  const std::string pickle = kG1.bytes();
  const auto read = ReadPickle(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(pickle.data()),
                          pickle.size()),
      [](const StorageReference&)
          -> absl::StatusOr<std::shared_ptr<const Storage>> {
        return absl::NotFoundError("storage_missing: data/0");
      });
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(read.status().message()),
              testing::StartsWith("storage_missing: data/0 (BINPERSID at"));
}

TEST(PickleReaderTest, ReadsVersion3TensorsOverUntypedStorages) {
  const Tensor tensor = ReadOrDie(kG6.bytes()).root.Find("w").AsTensor();
  EXPECT_EQ(tensor.dtype(), DType::kFloat8E4M3FN);
  EXPECT_THAT(tensor.shape(), ElementsAre(2, 2));
}

TEST(PickleReaderTest, ParametersStayObjectsAroundTheirTensor) {
  const Value parameter = ReadOrDie(kG7.bytes()).root;
  ASSERT_TRUE(parameter.IsObjectOf("torch._utils", "_rebuild_parameter"));
  const Value args = parameter.child(ObjectChild::kArgs);
  EXPECT_THAT(args.item(0).AsTensor().strides(), ElementsAre(1, 3));
  EXPECT_TRUE(args.item(1).AsBool());
}

TEST(PickleReaderTest, ReadsG8) {
  const Value list = ReadOrDie(kG8.bytes()).root;
  ASSERT_EQ(list.size(), 30);
  EXPECT_EQ(list.item(12).AsInt(), -2147483649);
  EXPECT_EQ(list.item(13).kind(), NodeKind::kBigInt);
  EXPECT_EQ(list.item(14).AsInt(), INT64_MIN);
  EXPECT_EQ(list.item(16).AsFloat(), 1.5);
  EXPECT_EQ(list.item(19).AsBytes(), "\xE2\x82\xAC");
  EXPECT_EQ(list.item(28).value(1).AsInt(), 4);
  EXPECT_EQ(list.item(29).kind(), NodeKind::kBytes);
  EXPECT_EQ(list.item(29).AsBytes(), absl::string_view("\0\xFF", 2));
}

TEST(PickleReaderTest, ReadsTheBitsOfTensors) {
  EXPECT_EQ(ReadOrDie(kConjugated.bytes()).root.tensor_flags(),
            TensorFlags::kConjugated);
  EXPECT_EQ(ReadOrDie(kConjugatedNegated.bytes()).root.tensor_flags(),
            TensorFlags::kConjugated | TensorFlags::kNegated);
}

TEST(PickleReaderTest, OrderedDictsKeepPairsAndState) {
  const Value dict = ReadOrDie(kLstm.bytes()).root;
  ASSERT_TRUE(dict.IsObjectOf("collections", "OrderedDict"));
  EXPECT_EQ(dict.child(ObjectChild::kPairs).size(), 4);
  EXPECT_THAT(dict.Find("bias_hh_l0").AsTensor().shape(), ElementsAre(12));
  const Value metadata = dict.child(ObjectChild::kState).Find("_metadata");
  EXPECT_EQ(metadata.Find("").Find("version").AsInt(), 1);
}

TEST(PickleReaderTest, UnknownTensorsStayObjectsWithTheirStorage) {
  const Value quantized = ReadOrDie(kQuantized.bytes()).root;
  ASSERT_TRUE(quantized.IsObjectOf("torch._utils", "_rebuild_qtensor"));
  const Value storage = quantized.child(ObjectChild::kArgs).item(0);
  ASSERT_EQ(storage.kind(), NodeKind::kStorage);
  EXPECT_EQ(storage.storage_dtype(), DType::kQInt8);
}

TEST(PickleReaderTest, BuiltinValuesHaveKindsOfTheirOwn) {
  const Value list = ReadOrDie(kMiscellany.bytes()).root;
  EXPECT_EQ(list.item(0).kind(), NodeKind::kSet);
  EXPECT_EQ(list.item(1).kind(), NodeKind::kFrozenSet);
  EXPECT_EQ(list.item(2).imag(), 2);
  EXPECT_EQ(list.item(3).kind(), NodeKind::kByteArray);
  EXPECT_EQ(list.item(4).AsBytes(), "abc");
  EXPECT_TRUE(list.item(7).IsObjectOf("collections", "Counter"));
  EXPECT_EQ(Name(list.item(10)), "torch float16");
  EXPECT_TRUE(list.item(11).IsObjectOf("torch", "Size"));
}

TEST(PickleReaderTest, ReadsTheTextOpcodesOfProtocol0) {
  EXPECT_EQ(Root("I-5\n").AsInt(), -5);
  EXPECT_TRUE(Root("I01\n").AsBool());
  EXPECT_FALSE(Root("I00\n").AsBool());
  EXPECT_EQ(Root("L4294967296L\n").AsInt(), 4294967296);
  EXPECT_EQ(Root("L12\n").AsInt(), 12);
  EXPECT_EQ(Root("F1.5\n").AsFloat(), 1.5);
  EXPECT_TRUE(std::isnan(Root("Fnan\n").AsFloat()));
  EXPECT_EQ(Root("F-inf\n").AsFloat(), -INFINITY);
  EXPECT_EQ(Root("S'a\\x00'\n").AsBytes(), absl::string_view("a\0", 2));
  EXPECT_EQ(Root("V\\u20ac\n").AsBytes(), "\xE2\x82\xAC");
  EXPECT_EQ(Root("(I1\nI2\nl").size(), 2);
  EXPECT_EQ(Root("(I1\nI2\nd").value(0).AsInt(), 2);
  EXPECT_EQ(Root("(I1\nI2\nt").item(1).AsInt(), 2);
  EXPECT_EQ(Root("I1\np7\n0g7\n").AsInt(), 1);
}

TEST(PickleReaderTest, ReadsTheOpcodesOfProtocols4And5) {
  EXPECT_EQ(RootOfHex("8004"
                      "95"
                      "0300000000000000"
                      "8c0161")
                .AsBytes(),
            "a");
  EXPECT_EQ(RootOfHex("8d"
                      "0100000000000000"
                      "61")
                .AsBytes(),
            "a");
  EXPECT_EQ(RootOfHex("4301ff").AsBytes(), "\xFF");
  EXPECT_EQ(RootOfHex("4201000000ff").AsBytes(), "\xFF");
  EXPECT_EQ(RootOfHex("8e0100000000000000ff").AsBytes(), "\xFF");
  EXPECT_EQ(RootOfHex("960100000000000000ff98").kind(), NodeKind::kByteArray);
  EXPECT_EQ(RootOfHex("8f284b014b0290").size(), 2);
  EXPECT_EQ(RootOfHex("284b014b0291").kind(), NodeKind::kFrozenSet);
  EXPECT_EQ(Name(RootOfHex("80048c016d8c012e93")), "m .");
  EXPECT_EQ(RootOfHex("4b0594304b0694306800").AsInt(), 5);
  const Value object = RootOfHex("80048c016d8c016393297d92");
  EXPECT_EQ(object.construction(), Construction::kNewObjEx);
  EXPECT_EQ(object.child(ObjectChild::kKwargs).size(), 0);
}

TEST(PickleReaderTest, ReadsObjectsInEveryForm) {
  for (const char* pickle :
       {"cm\nf\n(I1\ntR", "(I1\nim\nf\n", "(cm\nf\nI1\no"}) {
    SCOPED_TRACE(pickle);
    const Value object = Root(pickle);
    ASSERT_TRUE(object.IsObjectOf("m", "f"));
    EXPECT_EQ(object.construction(), Construction::kReduce);
    EXPECT_EQ(object.child(ObjectChild::kArgs).item(0).AsInt(), 1);
  }
  const Value built = Root("cm\nf\n)\x81}b");
  EXPECT_EQ(built.construction(), Construction::kNewObj);
  EXPECT_EQ(built.child(ObjectChild::kState).kind(), NodeKind::kDict);
  EXPECT_FALSE(built.child(ObjectChild::kItems));
  const Value list = Root(
      "cm\nf\n)\x81(K\x01K\x02"
      "eK\x03"
      "a");
  EXPECT_EQ(list.child(ObjectChild::kItems).size(), 3);
}

TEST(PickleReaderTest, GlobalsHavePython3Names) {
  EXPECT_EQ(Name(Root("c__builtin__\nxrange\n")), "builtins range");
  EXPECT_EQ(Name(Root("ccopy_reg\n_reconstructor\n")),
            "copyreg _reconstructor");
  // From protocol 3 on names are Python 3's already.
  EXPECT_EQ(Name(Root("\x80\x03"
                      "cdbm\nopen\n")),
            "dbm open");
  EXPECT_EQ(Name(Root("\x80\x02"
                      "cdbm\nopen\n")),
            "dbm.ndbm open");
}

TEST(PickleReaderTest, ListsGlobalsThatNothingRefersTo) {
  const PickleResult result =
      ReadOrDie("cos\nsystem\n0cos\nsystem\n0(cnt\nsystem\n1N.");
  EXPECT_THAT(result.globals, ElementsAre("os system", "nt system"));
  EXPECT_EQ(result.root.kind(), NodeKind::kNone);
}

TEST(PickleReaderTest, StringsAreNodesByOccurrence) {
  const std::string twice =
      absl::HexStringToBytes("58010000006171005801000000616800");
  const Value tuple = Root(absl::StrCat("(", twice, "t"));
  ASSERT_EQ(tuple.size(), 3);
  EXPECT_NE(tuple.item(0).id(), tuple.item(1).id());
  EXPECT_EQ(tuple.item(0).id(), tuple.item(2).id());
  EXPECT_TRUE(tuple.graph()->tables().strings_by_identity);
}

TEST(PickleReaderTest, KeepsCycles) {
  const Value list = RootOfHex("5d7100680061");
  EXPECT_EQ(list.item(0).id(), list.id());
  const Value dict = ReadOrDie(kSelfOrderedDict.bytes()).root;
  EXPECT_EQ(dict.Find("me").id(), dict.id());
  const Value tuple = ReadOrDie(kSelfTuple.bytes()).root;
  EXPECT_EQ(tuple.item(0).item(0).id(), tuple.id());
}

TEST(PickleReaderTest, SaysWhereThePickleEnds) {
  EXPECT_EQ(ReadOrDie("N.trailing").consumed_bytes, 2);
}

TEST(PickleReaderTest, ALaterKeyReplacesAnEqualOne) {
  const Value dict = Root(
      "(K\x01K\x02\x88K\x03"
      "d");
  ASSERT_EQ(dict.size(), 1);
  EXPECT_EQ(dict.key(0).AsInt(), 1);
  EXPECT_EQ(dict.value(0).AsInt(), 3);
}

TEST(PickleReaderTest, ByteAndUntypedStoragesMix) {
  const std::string mixed = absl::HexStringToBytes(
      "5d28"
      "28580700000073746f7261676563746f7263680a4279746553746f726167650a"
      "5801000000305803000000637075"
      "4b04"
      "7451"
      "28580700000073746f7261676563746f7263682e73746f726167650a"
      "556e747970656453746f726167650a5801000000305803000000637075"
      "4b04"
      "7451"
      "65");
  const Value list = Root(mixed);
  ASSERT_EQ(list.size(), 2);
  EXPECT_EQ(list.item(0).AsStorage(), list.item(1).AsStorage());
  EXPECT_EQ(list.item(0).storage_dtype(), DType::kUInt8);
  EXPECT_EQ(list.item(1).storage_dtype(), std::nullopt);
}

TEST(PickleReaderTest, WarnsOfWhatItLeavesOut) {
  std::string pickle = kG1.bytes();
  // OrderedDict() as hooks becomes {1: None}.
  const size_t hooks = pickle.find("ccollections");
  const size_t end = pickle.find("q\x09", hooks);
  ASSERT_NE(end, std::string::npos);
  pickle.replace(hooks, end - hooks, "}K\x01Ns");
  const PickleResult result = ReadOrDie(pickle);
  EXPECT_EQ(result.root.kind(), NodeKind::kTensor);
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("hooks")));
}

}  // namespace
}  // namespace penstock
