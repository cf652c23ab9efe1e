#include "core/graph_builder.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::shared_ptr<Storage> NewStorage(int64_t size_bytes) {
  return Storage::InFile(size_bytes, 0);
}

Value FinishOrDie(GraphBuilder&& b, NodeId root) {
  auto value = std::move(b).Finish(root);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *value : Value();
}

TEST(GraphBuilderTest, KeepsEveryScalarKind) {
  GraphBuilder b;
  const NodeId root =
      b.List({b.None(), b.Bool(true), b.Bool(false), b.Int(-7), b.Float(-0.0),
              b.Complex(1.5, -2), b.Str("\xE2\x82\xAC"),
              b.Bytes(std::string("\0\xFF", 2)), b.ByteArray("ba"),
              b.Py2Str("\xFF"), b.Str("")});
  const Value list = FinishOrDie(std::move(b), root);
  ASSERT_EQ(list.size(), 11);
  EXPECT_EQ(list.item(0).kind(), NodeKind::kNone);
  EXPECT_TRUE(list.item(1).AsBool());
  EXPECT_FALSE(list.item(2).AsBool());
  EXPECT_EQ(list.item(3).AsInt(), -7);
  EXPECT_TRUE(std::signbit(list.item(4).AsFloat()));
  EXPECT_EQ(list.item(5).real(), 1.5);
  EXPECT_EQ(list.item(5).imag(), -2);
  EXPECT_EQ(list.item(6).AsBytes(), "\xE2\x82\xAC");
  EXPECT_EQ(list.item(7).AsBytes(), absl::string_view("\0\xFF", 2));
  EXPECT_EQ(list.item(8).kind(), NodeKind::kByteArray);
  EXPECT_EQ(list.item(9).kind(), NodeKind::kPy2Str);
  EXPECT_EQ(list.item(9).AsBytes(), "\xFF");
  EXPECT_EQ(list.item(10).AsBytes(), "");
}

TEST(GraphBuilderTest, BigIntsBecomeIntsWhereTheyFit) {
  GraphBuilder b;
  const std::string min = std::string(7, '\0') + "\x80";
  const NodeId root = b.Tuple({b.BigInt(""), b.BigInt("\xFF"), b.BigInt("\x7F"),
                               b.BigInt(std::string("\x80\0", 2)),
                               b.BigInt(min), b.BigInt(min + "\xFF\xFF"),
                               b.BigInt(min + std::string(3, '\0'))});
  const Value ints = FinishOrDie(std::move(b), root);
  const int64_t kMin = std::numeric_limits<int64_t>::min();
  const std::vector<int64_t> expected = {0, -1, 127, 128, kMin, kMin};
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(ints.item(i).kind(), NodeKind::kInt) << i;
    EXPECT_EQ(ints.item(i).AsInt(), expected[i]);
  }
  ASSERT_EQ(ints.item(6).kind(), NodeKind::kBigInt);
  EXPECT_EQ(ints.item(6).AsBytes(), min + std::string(1, '\0'));
}

TEST(GraphBuilderTest, KeepsContainersGlobalsAndObjects) {
  GraphBuilder b;
  const NodeId dict = b.Dict();
  ASSERT_TRUE(b.SetItem(dict, b.Str("k"), b.Int(1)).ok());
  const NodeId set = b.Set({b.Int(1)});
  ASSERT_TRUE(b.Append(set, b.Int(2)).ok());
  const NodeId kwargs = b.Dict();
  ASSERT_TRUE(b.SetItem(kwargs, b.Str("kw"), b.Int(2)).ok());
  const NodeId object =
      b.Object(Construction::kNewObjEx, b.Global("models", "Net.Inner"),
               b.Tuple({b.Int(3)}), kwargs);
  ASSERT_TRUE(b.Append(object, b.Int(4)).ok());
  ASSERT_TRUE(b.SetItem(object, b.Str("p"), b.Int(5)).ok());
  ASSERT_TRUE(b.SetState(object, b.Int(6)).ok());
  EXPECT_EQ(b.SetState(object, object).code(),
            absl::StatusCode::kInvalidArgument);
  const NodeId root =
      b.List({dict, set, b.FrozenSet({b.Int(9)}), object, b.OrderedDict()});
  const Value list = FinishOrDie(std::move(b), root);
  EXPECT_EQ(list.item(0).key(0).AsBytes(), "k");
  EXPECT_EQ(list.item(0).value(0).AsInt(), 1);
  EXPECT_EQ(list.item(0).Find("k").AsInt(), 1);
  EXPECT_FALSE(list.item(0).Find("other"));
  EXPECT_EQ(list.item(1).size(), 2);
  EXPECT_EQ(list.item(2).item(0).AsInt(), 9);
  const Value o = list.item(3);
  EXPECT_EQ(o.construction(), Construction::kNewObjEx);
  EXPECT_TRUE(o.IsObjectOf("models", "Net.Inner"));
  EXPECT_FALSE(o.IsObjectOf("models", "Net"));
  EXPECT_EQ(o.child(ObjectChild::kArgs).item(0).AsInt(), 3);
  EXPECT_EQ(o.child(ObjectChild::kKwargs).Find("kw").AsInt(), 2);
  EXPECT_EQ(o.child(ObjectChild::kItems).item(0).AsInt(), 4);
  EXPECT_EQ(o.Find("p").AsInt(), 5);
  EXPECT_EQ(o.child(ObjectChild::kState).AsInt(), 6);
  const Value ordered = list.item(4);
  EXPECT_TRUE(ordered.IsObjectOf("collections", "OrderedDict"));
  EXPECT_FALSE(ordered.child(ObjectChild::kItems));
  EXPECT_FALSE(ordered.Find("p"));
}

TEST(GraphBuilderTest, KeepsTensorsAndTies) {
  GraphBuilder b;
  const auto first = NewStorage(64);
  const auto second = NewStorage(16);
  const auto view = Tensor::Make(first, DType::kFloat32, {2, 3}, {1, 2}, 4);
  const auto other = Tensor::Make(second, DType::kInt64, {2});
  ASSERT_TRUE(view.ok() && other.ok());
  const NodeId tied = b.Tensor(*view, TensorFlags::kRequiresGrad);
  const NodeId bare = b.Storage(second, std::nullopt);
  const NodeId typed = b.Storage(first, DType::kFloat32);
  EXPECT_EQ(b.AsStorage(typed), first);
  EXPECT_EQ(b.storage_dtype(typed), DType::kFloat32);
  EXPECT_EQ(b.storage_dtype(bare), std::nullopt);
  const NodeId root = b.List({bare, b.Tensor(*other), tied, tied, typed});
  const Value list = FinishOrDie(std::move(b), root);
  // `second` is met first.
  EXPECT_EQ(list.graph()->storages()[0], second);
  EXPECT_EQ(list.graph()->storages()[1], first);
  EXPECT_EQ(list.item(0).AsStorage(), second);
  EXPECT_EQ(list.item(0).storage_dtype(), std::nullopt);
  EXPECT_EQ(list.item(4).storage_dtype(), DType::kFloat32);
  EXPECT_EQ(list.item(2).id(), list.item(3).id());
  const Tensor tensor = list.item(2).AsTensor();
  EXPECT_EQ(tensor.storage(), first);
  EXPECT_EQ(tensor.shape(), view->shape());
  EXPECT_EQ(tensor.strides(), view->strides());
  EXPECT_EQ(tensor.offset(), 4);
  EXPECT_EQ(list.item(2).tensor_flags(), TensorFlags::kRequiresGrad);
  EXPECT_EQ(list.graph()->num_tensors(), 2);
  EXPECT_EQ(list.graph()->StorageDTypes(),
            (std::vector<DType>{DType::kInt64, DType::kFloat32}));
}

TEST(GraphBuilderTest, KeepsSharingAndCycles) {
  GraphBuilder b;
  const NodeId list = b.List();
  const NodeId tuple = b.Tuple({list, list});
  const NodeId object = b.OrderedDict();
  ASSERT_TRUE(b.Append(list, list).ok());   // a list in itself
  ASSERT_TRUE(b.Append(list, tuple).ok());  // a tuple in its own list
  ASSERT_TRUE(b.Append(list, object).ok());
  ASSERT_TRUE(b.SetState(object, object).ok());
  const Value value = FinishOrDie(std::move(b), tuple);
  const Value items = value.item(0);
  EXPECT_EQ(value.item(1).id(), items.id());
  EXPECT_EQ(items.item(0).id(), items.id());
  EXPECT_EQ(items.item(1).id(), value.id());
  EXPECT_EQ(items.item(2).child(ObjectChild::kState).id(), items.item(2).id());
}

TEST(GraphBuilderTest, EqualCheckpointsHaveEqualTables) {
  const auto storage = NewStorage(4);
  const auto build = [&](bool shuffled) {
    GraphBuilder b;
    NodeId x = kNoNode;
    if (shuffled) {
      b.Str("garbage");
      x = b.Tensor(*Tensor::Make(storage, DType::kUInt8, {4}));
    }
    const NodeId root = b.Dict();
    const NodeId key = b.Str("x");
    if (!shuffled) x = b.Tensor(*Tensor::Make(storage, DType::kUInt8, {4}));
    EXPECT_TRUE(b.SetItem(root, key, x).ok());
    return FinishOrDie(std::move(b), root);
  };
  const Value a = build(false);
  const Value c = build(true);
  EXPECT_EQ(a.graph()->tables().children, c.graph()->tables().children);
  EXPECT_EQ(a.graph()->tables().bytes, "x");
  EXPECT_EQ(c.graph()->tables().bytes, "x");
  EXPECT_EQ(c.graph()->num_nodes(), 3);
}

// Each row: keys that Python calls equal, and no key of another row.
TEST(GraphBuilderTest, KeysAreEqualAsInPython) {
  GraphBuilder b;
  const double nan = std::nan("");
  const double two_to_70 = std::ldexp(1.0, 70);
  const NodeId one_nan = b.Float(nan);
  const std::string big = std::string(8, '\0') + "\x40";  // 2^70
  const std::string minus_big = std::string(8, '\0') + "\xC0";
  const NodeId list = b.List();
  const NodeId inner = b.Tuple({b.Int(1), list});
  const auto none = b.Tuple();
  const std::vector<std::vector<NodeId>> classes = {
      {b.Bool(true), b.Int(1), b.Float(1.0), b.Complex(1, 0),
       b.Complex(1, -0.0)},
      {b.Bool(false), b.Int(0), b.Float(-0.0), b.Complex(-0.0, 0)},
      {b.Str("1"), b.Str("1"), b.Py2Str("1")},
      {b.Bytes("1"), b.Bytes("1")},
      {b.Str("")},
      {b.Bytes("")},
      {b.None(), b.None()},
      {b.BigInt(big), b.Float(two_to_70), b.Complex(two_to_70, 0)},
      {b.BigInt(minus_big), b.Float(-two_to_70)},
      {b.Int(int64_t{1} << 53), b.Float(9007199254740992.0)},
      {b.Int((int64_t{1} << 53) + 1)},  // no double is this
      {b.Int(std::numeric_limits<int64_t>::max())},
      {b.Float(9223372036854775808.0),
       b.BigInt(std::string(7, '\0') + std::string("\x80\0", 2))},
      {b.Float(-9223372036854775808.0),
       b.Int(std::numeric_limits<int64_t>::min())},
      {b.Float(0.5), b.Complex(0.5, 0)},
      {b.Complex(0.5, 1), b.Complex(0.5, 1)},
      {b.Float(HUGE_VAL), b.Float(HUGE_VAL)},
      {one_nan, one_nan},
      {b.Float(nan)},
      {b.Complex(0, nan)},
      {none, b.Tuple()},
      {b.FrozenSet({}), b.FrozenSet({})},
      {b.Tuple({b.Int(1), b.Str("a")}), b.Tuple({b.Float(1), b.Str("a")})},
      {b.Tuple({b.Str("a"), b.Int(1)})},
      {b.Tuple({b.Tuple({b.Int(1)})}), b.Tuple({b.Tuple({b.Bool(true)})})},
      {b.FrozenSet({b.Int(2), b.Int(3)}), b.FrozenSet({b.Int(3), b.Int(2)})},
      {inner, inner},
      {b.Tuple({b.Int(1), b.List()})},
      {b.Global("a", "bc"), b.Global("a", "bc")},
      {b.Global("ab", "c")},
      {b.OrderedDict()},
      {b.OrderedDict()},
  };
  const NodeId root = b.Dict();
  int64_t row = 0;
  for (const std::vector<NodeId>& keys : classes) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const int64_t tag = 100 * row + static_cast<int64_t>(i);
      ASSERT_TRUE(b.SetItem(root, keys[i], b.Int(tag)).ok());
    }
    ++row;
  }
  const Value dict = FinishOrDie(std::move(b), root);
  ASSERT_EQ(dict.size(), static_cast<int64_t>(classes.size()));
  for (int64_t i = 0; i < dict.size(); ++i) {
    const int64_t last = static_cast<int64_t>(classes[i].size()) - 1;
    EXPECT_EQ(dict.value(i).AsInt(), 100 * i + last) << i;
  }
  EXPECT_EQ(dict.key(0).kind(), NodeKind::kBool);  // the first key stays
}

TEST(GraphBuilderTest, ObjectsPairsHaveUniqueKeysToo) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  ASSERT_TRUE(b.SetItem(root, b.Str("a"), b.Int(1)).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("b"), b.Int(2)).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("a"), b.Int(3)).ok());
  const Value pairs =
      FinishOrDie(std::move(b), root).child(ObjectChild::kPairs);
  ASSERT_EQ(pairs.size(), 2);
  EXPECT_EQ(pairs.key(0).AsBytes(), "a");
  EXPECT_EQ(pairs.value(0).AsInt(), 3);
}

TEST(GraphBuilderTest, RefusesWhatDoesNotGrowAndWhatIsNoKey) {
  GraphBuilder b;
  const NodeId dict = b.Dict();
  const NodeId one = b.Int(1);
  for (const NodeId id : {b.Tuple(), one, b.Dict(), b.FrozenSet({})}) {
    EXPECT_EQ(b.Append(id, one).code(), absl::StatusCode::kInvalidArgument);
  }
  for (const NodeId id : {b.Tuple(), one, b.List(), b.Set()}) {
    EXPECT_EQ(b.SetItem(id, one, one).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(b.SetState(id, one).code(), absl::StatusCode::kInvalidArgument);
  }
  for (const NodeId key : {b.List(), b.Dict(), b.Set(), b.ByteArray("x")}) {
    EXPECT_EQ(b.SetItem(dict, key, one).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(GraphBuilderTest, RefusesBadTextThatIsReached) {
  GraphBuilder b;
  const NodeId good = b.Str("good");
  const NodeId bad = b.Str("\xC0\x80");
  GraphBuilder copy = b;
  EXPECT_TRUE(std::move(copy).Finish(good).ok());
  const auto value = std::move(b).Finish(bad);
  EXPECT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(value.status().message()), HasSubstr("UTF-8"));
}

TEST(GraphBuilderTest, StopsAtItsLimitWithoutHarm) {
  GraphBuilder b(3);
  const NodeId list = b.List();
  const NodeId one = b.Int(1);
  EXPECT_TRUE(b.Append(list, b.Int(2)).ok());
  const NodeId none = b.Int(3);
  EXPECT_EQ(none, kNoNode);
  EXPECT_EQ(b.Tuple({none, one}), kNoNode);
  EXPECT_EQ(b.Global("a", "b"), kNoNode);
  EXPECT_EQ(b.OrderedDict(), kNoNode);
  EXPECT_EQ(b.Append(list, none).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::move(b).Finish(list).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(GraphBuilderTest, AMillionNestedListsAndTuplesNeedNoStack) {
  GraphBuilder b;
  NodeId id = b.List();
  for (int i = 0; i < 500'000; ++i) id = b.Tuple({b.List({id})});
  const Value value = FinishOrDie(std::move(b), id);
  EXPECT_EQ(value.graph()->num_nodes(), 1'000'001);
}

// Deep enough to overflow a stack of 8 MB.
TEST(GraphBuilderTest, DeeplyNestedTuplesMakeAKey) {
  GraphBuilder b;
  NodeId id = b.Tuple();
  for (int i = 0; i < 300'000; ++i) id = b.Tuple({id});
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, id, id).ok());
  EXPECT_EQ(FinishOrDie(std::move(b), root).size(), 1);
}

// 10^100 leaves, in a hundred nodes; as values and as keys.
TEST(GraphBuilderTest, BillionLaughsStaySmall) {
  GraphBuilder b;
  const auto laugh = [&] {
    NodeId id = b.Tuple({b.Int(0)});
    for (int i = 0; i < 100; ++i) id = b.Tuple(std::vector<NodeId>(10, id));
    return id;
  };
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, laugh(), b.Int(1)).ok());
  ASSERT_TRUE(b.SetItem(root, laugh(), b.Int(2)).ok());
  const Value dict = FinishOrDie(std::move(b), root);
  ASSERT_EQ(dict.size(), 1);
  EXPECT_EQ(dict.value(0).AsInt(), 2);
  EXPECT_LT(dict.graph()->num_nodes(), 200);
}

}  // namespace
}  // namespace penstock
