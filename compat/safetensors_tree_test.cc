#include "compat/safetensors_tree.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value_compare.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kBytes = 8;

Tensor NewTensor() {
  return *Tensor::Make(Storage::InFile(kBytes, 0), DType::kFloat32, {2});
}

Value Finished(GraphBuilder& b, NodeId root) {
  return *std::move(b).Finish(root);
}

absl::StatusOr<bool> AllSame(const Tensor&, const Tensor&) { return true; }

TreeText TextOf(const Value& root, const Ties& ties = {}) {
  return WriteTree(root, *StateDict::FromValue(root), ties);
}

// As a file would hold them: each on a storage of its own.
std::vector<NamedTensor> InFile(const Value& root) {
  std::vector<NamedTensor> tensors;
  const StateDict names = *StateDict::FromValue(root);
  for (const NamedTensor& entry : names.entries()) {
    tensors.push_back({entry.name, NewTensor()});
  }
  return tensors;
}

// The tree comes back over the same tensors, with nothing to warn of.
void ExpectBack(const Value& root, const Ties& ties = {}) {
  const TreeText text = TextOf(root, ties);
  EXPECT_TRUE(text.warnings.empty()) << absl::StrJoin(text.warnings, "\n");
  EXPECT_TRUE(text.refused.empty()) << absl::StrJoin(text.refused, "\n");
  const auto read = ReadTree(text.json, InFile(root), AllSame);
  ASSERT_TRUE(read.ok()) << read.status() << "\n" << text.json;
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
  const absl::Status same = CompareValues(root, read->root);
  EXPECT_TRUE(same.ok()) << same << "\n" << text.json;
}

TEST(SafetensorsTreeTest, EveryPlainValueComesBack) {
  GraphBuilder b;
  double odd_nan;
  const uint64_t bits = 0xfff8000000000001;
  std::memcpy(&odd_nan, &bits, sizeof(odd_nan));
  const NodeId list = b.List();
  for (const NodeId id :
       {b.None(),
        b.Bool(true),
        b.Bool(false),
        b.Int(0),
        b.Int(-7),
        b.Int((int64_t{1} << 53) - 1),
        b.Int(int64_t{1} << 53),
        b.Int(-(int64_t{1} << 53)),
        b.Int(INT64_MAX),
        b.Int(INT64_MIN),
        b.BigInt(std::string("\0\0\0\0\0\0\0\x80\0", 9)),
        b.BigInt(std::string("\1\2\3\4\5\6\7\x08\x09\x8a", 10)),
        b.BigInt(std::string("\0\0\0\0\0\0\0\0\xff", 9)),
        b.BigInt(std::string("\0\0\0\0\0\0\0\0\0\x80", 10)),
        b.Float(0.0),
        b.Float(-0.0),
        b.Float(0.1),
        b.Float(-1e308),
        b.Float(5e-324),
        b.Float(2.5e-310),
        b.Float(INFINITY),
        b.Float(-INFINITY),
        b.Float(std::numeric_limits<double>::quiet_NaN()),
        b.Float(odd_nan),
        b.Complex(1.5, -0.0),
        b.Complex(NAN, INFINITY),
        b.Str(""),
        b.Str("a\n\"\xc3\xa9"),
        b.Str("\xed\xa0\x80"),
        b.Str(std::string("\0", 1)),
        b.Bytes(std::string("\0\xff", 2)),
        b.ByteArray("x"),
        b.ByteArray(""),
        b.Py2Str("\xff"),
        b.Tuple(),
        b.Tuple({b.Int(1), b.Tuple({b.Str("x")})}),
        b.List(),
        b.Dict(),
        b.OrderedDict(),
        b.Set({b.Int(1), b.Str("1")}),
        b.Set(),
        b.FrozenSet({b.Tuple({b.Int(1)})}),
        b.Global("torch", "bfloat16"),
        b.Object(Construction::kReduce, b.Global("torch", "Size"),
                 b.Tuple({b.Tuple({b.Int(2), b.Int(0)})})),
        b.Object(Construction::kReduce, b.Global("torch", "device"),
                 b.Tuple({b.Str("cuda"), b.Int(1)})),
        b.Object(Construction::kReduce, b.Global("torch", "device"),
                 b.Tuple({b.Str("cpu")}))}) {
    ASSERT_TRUE(b.Append(list, id).ok());
  }
  ExpectBack(Finished(b, list));
}

TEST(SafetensorsTreeTest, KeysKeepTheirTypes) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (const NodeId key :
       {b.Int(1), b.Str("1"), b.Float(2.5), b.None(), b.Bool(false),
        b.Tuple({b.Int(1), b.Str("x")}), b.Bytes("1"), b.Py2Str("p")}) {
    const NodeId inner = b.OrderedDict();
    ASSERT_TRUE(b.SetItem(inner, b.Str("w"), b.Tensor(NewTensor())).ok());
    ASSERT_TRUE(b.SetItem(root, key, inner).ok());
  }
  const Value value = Finished(b, root);
  // Two are named "1.w", of which one gives way.
  TreeText text = TextOf(value);
  ASSERT_EQ(text.warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(text.warnings[0], "1.w~2"));
  const auto read = ReadTree(text.json, InFile(value), AllSame);
  ASSERT_TRUE(read.ok()) << read.status();
  const absl::Status same = CompareValues(value, read->root);
  EXPECT_TRUE(same.ok()) << same;
}

TEST(SafetensorsTreeTest, AStateDictsMetadataComesBack) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(root, b.Str("w"), b.Tensor(NewTensor())).ok());
  const NodeId version = b.Dict();
  ASSERT_TRUE(b.SetItem(version, b.Str("version"), b.Int(1)).ok());
  const NodeId metadata = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(metadata, b.Str(""), version).ok());
  const NodeId state = b.Dict();
  ASSERT_TRUE(b.SetItem(state, b.Str("_metadata"), metadata).ok());
  ASSERT_TRUE(b.SetState(root, state).ok());
  const Value value = Finished(b, root);
  EXPECT_FALSE(IsFlat(value));
  ExpectBack(value);
}

TEST(SafetensorsTreeTest, SharedAndCyclicContainersComeBack) {
  GraphBuilder b;
  const NodeId root = b.List();
  const NodeId shared = b.Dict();
  ASSERT_TRUE(b.SetItem(shared, b.Str("up"), root).ok());
  const NodeId tuple = b.Tuple({shared, b.Int(1)});
  for (const NodeId id : {shared, tuple, shared, tuple, root}) {
    ASSERT_TRUE(b.Append(root, id).ok());
  }
  ExpectBack(Finished(b, root));
}

// The names of its second place are in the file and not in the text.
TEST(SafetensorsTreeTest, ASharedContainerBringsNoTensorTwice) {
  GraphBuilder b;
  const NodeId shared = b.Tuple({b.Tensor(NewTensor())});
  const NodeId dict = b.Dict();
  ASSERT_TRUE(b.SetItem(dict, b.Str("z"), shared).ok());
  ASSERT_TRUE(b.SetItem(dict, b.Str("a"), shared).ok());
  ExpectBack(Finished(b, dict), {{"a.0", "z.0"}});
  GraphBuilder c;
  const NodeId twice = c.Tuple({c.Tensor(NewTensor())});
  ExpectBack(Finished(c, c.List({twice, twice})), {{"0.0", "1.0"}});
}

// 2^200 paths, and a hundred thousand levels.
TEST(SafetensorsTreeTest, NeitherSharingNorDepthMultiplies) {
  GraphBuilder b;
  NodeId id = b.List();
  for (int i = 0; i < 200; ++i) id = b.List({id, id});
  for (int i = 0; i < 100'000; ++i) id = b.List({id});
  const Value value = Finished(b, id);
  const TreeText text = WriteTree(value, StateDict(), {});
  EXPECT_LT(text.json.size(), 2'000'000u);
  const auto read = ReadTree(text.json, {}, AllSame);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->root.graph()->num_nodes(), value.graph()->num_nodes());
}

TEST(SafetensorsTreeTest, ATupleWithinItselfIsNamedAndLeftOut) {
  GraphBuilder b;
  const NodeId list = b.List();
  const NodeId tuple = b.Tuple({list});
  ASSERT_TRUE(b.Append(list, tuple).ok());
  const Value value = Finished(b, tuple);
  const TreeText text = TextOf(value);
  ASSERT_EQ(text.warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(text.warnings[0], "contain themselves"));
  EXPECT_TRUE(ReadTree(text.json, {}, AllSame).ok());
}

TEST(SafetensorsTreeTest, OfUnknownObjectsTheTensorsStayAndTheClassIsNamed) {
  GraphBuilder b;
  const NodeId state = b.Dict();
  ASSERT_TRUE(b.SetItem(state, b.Str("w"), b.Tensor(NewTensor())).ok());
  ASSERT_TRUE(b.SetItem(state, b.Str("lr"), b.Float(0.1)).ok());
  const NodeId object =
      b.Object(Construction::kNewObj, b.Global("my.mod", "Trainer"), b.Tuple());
  ASSERT_TRUE(b.SetState(object, state).ok());
  const NodeId plain =
      b.Object(Construction::kNewObj, b.Global("os", "system"), b.Tuple());
  const NodeId counts = b.Object(Construction::kReduce,
                                 b.Global("collections", "Counter"), b.Tuple());
  ASSERT_TRUE(b.SetItem(counts, b.Str("n"), b.Int(2)).ok());
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, b.Str("trainer"), object).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("other"), plain).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("counts"), counts).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("hook"), b.Global("os", "system")).ok());
  const Value value = Finished(b, root);
  const TreeText text = TextOf(value);
  const std::string warnings = absl::StrJoin(text.warnings, "\n");
  for (const absl::string_view name :
       {"my.mod.Trainer", "os.system", "collections.Counter"}) {
    EXPECT_TRUE(absl::StrContains(warnings, name)) << warnings;
  }
  const auto read = ReadTree(text.json, InFile(value), AllSame);
  ASSERT_TRUE(read.ok()) << read.status();
  const Value trainer = read->root.Find("trainer");
  ASSERT_EQ(trainer.kind(), NodeKind::kDict);
  EXPECT_EQ(trainer.Find("w").kind(), NodeKind::kTensor);
  EXPECT_EQ(read->root.Find("other").kind(), NodeKind::kNone);
  EXPECT_EQ(read->root.Find("hook").kind(), NodeKind::kNone);
  EXPECT_EQ(read->root.Find("counts").Find("n").AsInt(), 2);
  EXPECT_FALSE(read->warnings.empty());
}

TEST(SafetensorsTreeTest, NamesEveryTensorThatIsNoStridedOne) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const NodeId sparse = b.Object(
      Construction::kReduce, b.Global("torch._utils", "_rebuild_sparse_tensor"),
      b.Tuple({b.None(), b.Tuple({b.Tensor(NewTensor())})}));
  const NodeId quantised = b.Object(
      Construction::kReduce, b.Global("torch._utils", "_rebuild_qtensor"),
      b.Tuple({b.Storage(Storage::InFile(8, 0), DType::kQInt8)}));
  ASSERT_TRUE(b.SetItem(root, b.Str("s"), sparse).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("q"), b.List({quantised})).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("bare"),
                        b.Storage(Storage::InFile(8, 0), DType::kFloat32))
                  .ok());
  const TreeText text = TextOf(Finished(b, root));
  EXPECT_EQ(
      absl::StrJoin(text.refused, "; "),
      "s: a sparse tensor; q.0: a quantised tensor; bare: a bare storage");
}

TEST(SafetensorsTreeTest, KnowsWhatIsFlat) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(root, b.Str("w"), b.Tensor(NewTensor())).ok());
  const NodeId parameter = b.Object(
      Construction::kReduce, b.Global("torch._utils", "_rebuild_parameter"),
      b.Tuple({b.Tensor(NewTensor()), b.Bool(true), b.OrderedDict()}));
  ASSERT_TRUE(b.SetItem(root, b.Str("p"), parameter).ok());
  EXPECT_TRUE(IsFlat(Finished(b, root)));
  for (int which = 0; which < 3; ++which) {
    GraphBuilder c;
    const NodeId dict = c.Dict();
    const NodeId key = which == 0 ? c.Int(1) : c.Str("k");
    const NodeId value = which == 1 ? c.Int(1) : c.Tensor(NewTensor());
    ASSERT_TRUE(c.SetItem(dict, key, value).ok());
    EXPECT_FALSE(IsFlat(Finished(c, which == 2 ? c.List({dict}) : dict)));
  }
}

// {"a": tensor, "b": tensor}, which are tied.
constexpr absl::string_view kTied =
    "{\"ties\":[[\"a\",\"b\"]],\"tree\":[\"dict\",\"a\",[\"tensor\",\"a\"],"
    "\"b\",[\"tensor\",\"b\"]]}";

TEST(SafetensorsTreeTest, TiesReturnWhereTheBytesAreEqual) {
  const std::vector<NamedTensor> both = {{"a", NewTensor()},
                                         {"b", NewTensor()}};
  const auto tied = ReadTree(kTied, both, AllSame);
  ASSERT_TRUE(tied.ok()) << tied.status();
  EXPECT_EQ(tied->root.graph()->storages().size(), 1u);
  const auto changed = ReadTree(
      kTied, both, [](const Tensor&, const Tensor&) -> absl::StatusOr<bool> {
        return false;
      });
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->root.graph()->storages().size(), 2u);
  EXPECT_EQ(changed->warnings.size(), 1u);
  const auto dropped = ReadTree(kTied, {both[0]}, AllSame);
  ASSERT_TRUE(dropped.ok());
  EXPECT_EQ(dropped->root.graph()->storages().size(), 1u);
  EXPECT_EQ(dropped->root.graph()->num_tensors(), 2);
  EXPECT_EQ(ReadTree(kTied, {both[1]}, AllSame).status().code(),
            absl::StatusCode::kDataLoss);
  const auto unread = ReadTree(
      kTied, both, [](const Tensor&, const Tensor&) -> absl::StatusOr<bool> {
        return absl::UnavailableError("disk");
      });
  EXPECT_EQ(unread.status().code(), absl::StatusCode::kUnavailable);
}

TEST(SafetensorsTreeTest, TensorsThatCameLaterAreAddedToTheRoot) {
  const auto read = ReadTree(
      "{\"ties\":[],\"tree\":[\"dict\",\"a\",[\"tensor\",\"a\"]]}",
      std::vector<NamedTensor>{{"a", NewTensor()}, {"new.w", NewTensor()}},
      AllSame);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.Find("new.w").kind(), NodeKind::kTensor);
  EXPECT_EQ(read->warnings.size(), 1u);
}

TEST(SafetensorsTreeTest, RefusesTextThatIsNoTreeOfTheseTensors) {
  for (const std::string& tree :
       std::vector<std::string>{"",
                                "1.5",
                                "{}",
                                "[]",
                                "['list'",
                                "['nothing']",
                                "[1]",
                                "['tensor','x']",
                                "['tensor']",
                                "['tensor','t','t']",
                                "['tensor',['list']]",
                                "['ref',0]",
                                "['ref',-1]",
                                "['ref']",
                                "['list',['ref',1]]",
                                "['tuple',['ref',0]]",
                                "['set',['list']]",
                                "['dict',1]",
                                "['dict',['list'],1]",
                                "['frozenset',['dict']]",
                                "['int','x']",
                                "['int','0x']",
                                "['int','0xg']",
                                "['int',5]",
                                "['float','x']",
                                "['float','1.0']",
                                "['float','nan:12']",
                                "['float','0x']",
                                "['complex','0x1p+0']",
                                "['bytes','*']",
                                "['surrogates','/w==']",
                                "['torch.dtype','system']",
                                "['torch.Size','a']",
                                "['torch.device']",
                                "['torch.device',1]",
                                "['torch.device','cuda',1,2]",
                                "['mapping']",
                                "['mapping',1]",
                                "['object']",
                                "['OrderedDict.state']",
                                "9007199254740992",
                                "['list',2.5]",
                                "[null]",
                                "['global','os','system']"}) {
    const std::string text = absl::StrReplaceAll(
        absl::StrCat("{'ties':[],'tree':", tree, "}"), {{"'", "\""}});
    EXPECT_EQ(
        ReadTree(text, std::vector<NamedTensor>{{"t", NewTensor()}}, AllSame)
            .status()
            .code(),
        absl::StatusCode::kDataLoss)
        << text;
  }
  for (const absl::string_view text :
       {"", "[]", "{}", "{\"ties\":[]}", "{\"tree\":1,\"tree\":1}",
        "{\"tree\":1,\"ties\":[]}", "{\"ties\":[[]],\"tree\":1}",
        "{\"ties\":[[\"a\"]],\"tree\":1}", "{\"ties\":1,\"tree\":1}",
        "{\"ties\":[[[\"a\"]]],\"tree\":1}", "{\"x\":1,\"tree\":1}",
        "{\"ties\":[\"a\"],\"tree\":1}"}) {
    EXPECT_EQ(ReadTree(text, {}, AllSame).status().code(),
              absl::StatusCode::kDataLoss)
        << text;
  }
}

}  // namespace
}  // namespace penstock
