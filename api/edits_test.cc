#include "api/edits.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/edits_testing.h"
#include "codec/derived_source.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "core/value_compare.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// ------------------------------------------------------------------- select

Value Nested() {
  Tree b;
  const NodeId tied = b.Tensor(Floats());
  const NodeId model = b.DictOf(
      {{"a.weight", tied}, {"layers", b.List({tied, b.Tensor(Floats())})}});
  const NodeId root = b.DictOf({{"epoch", b.Int(3)}, {"model", model}});
  PENSTOCK_CHECK(b.SetItem(model, b.Str("up"), root).ok());  // a cycle
  return b.Done(root);
}

TEST(SelectTest, TakesWhatIsAtAPath) {
  Edits edits;
  edits.select = "model";
  EditedCheckpoint edited = Edited(Nested(), edits);
  EXPECT_EQ(edited.root.kind(), NodeKind::kDict);
  EXPECT_EQ(NamesOf(edited.root), (Names{"a.weight", "layers.0", "layers.1"}));
  // The way back up is still there.
  EXPECT_EQ(edited.root.Find("up").Find("model").id(), edited.root.id());
  EXPECT_EQ(TensorAt(edited.root, "a.weight").storage(),
            TensorAt(edited.root, "layers.0").storage());

  edits.select = "model.layers";
  edited = Edited(Nested(), edits);
  EXPECT_EQ(edited.root.kind(), NodeKind::kList);
  EXPECT_EQ(NamesOf(edited.root), (Names{"0", "1"}));

  edits.select = "model.a.weight";
  EXPECT_EQ(Edited(Nested(), edits).root.kind(), NodeKind::kTensor);
  edits.select = ".";
  EXPECT_TRUE(CompareValues(Edited(Nested(), edits).root, Nested()).ok());
}

TEST(SelectTest, NamesWhatIsNotThere) {
  Edits edits;
  edits.select = "model.optimizer";
  const absl::Status status = ApplyEdits(Nested(), edits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(status.message(), "model.optimizer"));
}

TEST(SelectTest, MakesAModuleItsStateDict) {
  Tree b;
  const Tensor floats = Floats();
  const NodeId shared = b.Tensor(floats, TensorFlags::kRequiresGrad);
  const NodeId parameter =
      b.Call("torch._utils", "_rebuild_parameter",
             {b.Tensor(Floats()), b.Bool(true), b.OrderedDict()});
  const NodeId conv = b.Module({{"weight", shared}, {"bias", b.None()}}, {});
  const NodeId net =
      b.Module({{"scale", parameter}, {"head", shared}}, {{"conv", conv}});
  const Value root = b.Done(b.DictOf({{"epoch", b.Int(1)}, {"model", net}}));
  Edits edits;
  edits.select = "model";
  const Value dict = Edited(root, edits).root;
  EXPECT_TRUE(dict.IsObjectOf("collections", "OrderedDict"));
  EXPECT_EQ(NamesOf(dict), (Names{"scale", "head", "conv.weight"}));
  const Value pairs = dict.child(ObjectChild::kPairs);
  EXPECT_EQ(pairs.value(0).kind(), NodeKind::kTensor);
  EXPECT_EQ(pairs.value(0).tensor_flags(), 0);
  EXPECT_EQ(pairs.value(1).id(), pairs.value(2).id());  // tied
  edits.select = "model.conv";
  EXPECT_EQ(NamesOf(Edited(root, edits).root), Names{"weight"});
  edits.keep = {"nothing"};
  EXPECT_EQ(NamesOf(Edited(root, edits).root), Names{});
}

// ------------------------------------------------------------ keep and drop

TEST(KeepDropTest, KeepsThenDropsByWholeNames) {
  const Value root = StateDictOf({"a.w", "a.b", "b.w", "b.b"});
  Edits edits;
  edits.keep = {"a.*", "b.w"};
  edits.drop = {"*.b"};
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(NamesOf(edited.root), (Names{"a.w", "b.w"}));
  EXPECT_EQ(edited.notes, Names{"kept 2 of 4 tensors"});
  EXPECT_TRUE(edited.derivations.empty());
}

TEST(KeepDropTest, LeavesWhatIsNoTensor) {
  Tree b;
  const Value root =
      b.Done(b.DictOf({{"epoch", b.Int(3)},
                       {"w", b.Tensor(Floats())},
                       {"empty", b.List()},
                       {"deep", b.DictOf({{"v", b.Tensor(Floats())}})}}));
  Edits edits;
  edits.drop = {"*"};
  const Value left = Edited(root, edits).root;
  EXPECT_EQ(left.size(), 3);
  EXPECT_EQ(left.Find("epoch").AsInt(), 3);
  EXPECT_EQ(left.Find("deep").size(), 0);
  EXPECT_TRUE(left.graph()->storages().empty());
}

TEST(KeepDropTest, KeepsTheStorageOfATie) {
  Tree b;
  const NodeId tied = b.Tensor(Floats());
  const Value root = b.Done(b.DictOf({{"head", tied}, {"embed", tied}}));
  Edits edits;
  edits.drop = {"head"};
  const Value left = Edited(root, edits).root;
  EXPECT_EQ(NamesOf(left), Names{"embed"});
  EXPECT_EQ(left.graph()->storages()[0], root.graph()->storages()[0]);
}

TEST(KeepDropTest, PutsNoneIntoLists) {
  Tree b;
  const NodeId list = b.List({b.Tensor(Floats()), b.Tensor(Floats())});
  const NodeId tuple = b.Tuple({b.Tensor(Floats()), b.Tensor(Floats())});
  const Value root = b.Done(b.DictOf({{"l", list}, {"t", tuple}}));
  Edits edits;
  edits.drop = {"l.0", "t.1"};
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(NamesOf(edited.root), (Names{"l.1", "t.0"}));
  EXPECT_EQ(edited.root.Find("l").item(0).kind(), NodeKind::kNone);
  EXPECT_EQ(edited.root.Find("t").item(1).kind(), NodeKind::kNone);
  EXPECT_TRUE(absl::StrContains(edited.notes.back(), "None"));
}

TEST(KeepDropTest, TakesWrappedTensorsAsAWhole) {
  Tree b;
  const auto parameter = [&] {
    return b.Call("torch._utils", "_rebuild_parameter",
                  {b.Tensor(Floats()), b.Bool(true), b.OrderedDict()});
  };
  const NodeId sparse =
      b.Call("torch._utils", "_rebuild_sparse_tensor",
             {b.Int(0), b.Tuple({b.Tensor(Floats()), b.Tensor(Floats())})});
  const Value root = b.Done(b.DictOf({{"p", parameter()},
                                      {"q", parameter()},
                                      {"l", b.List({parameter()})},
                                      {"s", sparse}}));
  ASSERT_EQ(NamesOf(root), (Names{"p", "q", "l.0", "s.1.0", "s.1.1"}));
  Edits edits;
  edits.keep = {"p"};
  const Value left = Edited(root, edits).root;
  EXPECT_EQ(left.size(), 2);
  EXPECT_EQ(NamesOf(left), Names{"p"});
  EXPECT_EQ(left.Find("l").item(0).kind(), NodeKind::kNone);
  edits.keep = {};
  edits.drop = {"s.1.0"};
  ExpectFails(root, edits, {"s.1.0", "s.1.1"});
}

TEST(KeepDropTest, RefusesToTearASharedDict) {
  Tree b;
  const NodeId shared = b.DictOf({{"w", b.Tensor(Floats())}});
  const Value root = b.Done(b.DictOf({{"a", shared}, {"b", shared}}));
  Edits edits;
  edits.drop = {"a.*"};
  ExpectFails(root, edits, {"a.w", "b.w"});
  edits.drop = {"*.w"};
  EXPECT_EQ(NamesOf(Edited(root, edits).root), Names{});
}

TEST(KeepDropTest, DropsPairsThatPython2Listed) {
  Tree b;
  const NodeId pairs = b.List({b.List({b.Str("a.w"), b.Tensor(Floats())}),
                               b.List({b.Str("a.b"), b.Tensor(Floats())})});
  const Value root = b.Done(b.Call("collections", "OrderedDict", {pairs}));
  Edits edits;
  edits.drop = {"a.w"};
  edits.strip_prefixes = {"a."};
  const Value left = Edited(root, edits).root;
  EXPECT_EQ(NamesOf(left), Names{"b"});
  EXPECT_EQ(left.child(ObjectChild::kArgs).item(0).size(), 1);
}

TEST(KeepDropTest, RefusesTheRootItself) {
  Tree b;
  const Value root = b.Done(b.Tensor(Floats()));
  Edits edits;
  edits.drop = {"tensor"};
  ExpectFails(root, edits, {"tensor"});
  edits.drop = {"other"};
  EXPECT_EQ(NamesOf(Edited(root, edits).root), Names{"tensor"});
}

TEST(KeepDropTest, RefusesToDropWhatHoldsOthers) {
  Tree b;
  const NodeId parameter =
      b.Call("torch._utils", "_rebuild_parameter_with_state",
             {b.Tensor(Floats()), b.Bool(true), b.OrderedDict(),
              b.DictOf({{"main_grad", b.Tensor(Floats())}})});
  const Value root = b.Done(b.DictOf({{"w", parameter}}));
  ASSERT_EQ(NamesOf(root), (Names{"w", "w.main_grad"}));
  Edits edits;
  edits.drop = {"w.main_grad"};
  EXPECT_EQ(NamesOf(Edited(root, edits).root), Names{"w"});
  edits.drop = {"w"};
  ExpectFails(root, edits, {"attributes"});
}

// --------------------------------------------------------- strip and rename

TEST(RenameTest, StripsPrefixesOnceEachInOrder) {
  const Value root = StateDictOf(
      {"module.module.a", "module._orig_mod.b", "_orig_mod.c", "d"});
  Edits edits;
  edits.strip_prefixes = {"module.", "_orig_mod."};
  EXPECT_EQ(NamesOf(Edited(root, edits).root),
            (Names{"module.a", "b", "c", "d"}));
}

TEST(RenameTest, ReplacesTheLeftmostMatchOnceInOrder) {
  const Value root = StateDictOf({"layer1.conv1.w", "layer2.conv1.w"});
  Edits edits;
  edits.renames = {{"layer(\\d)", "stage_\\1"}, {"_", "."}, {"1", "one"}};
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(NamesOf(edited.root),
            (Names{"stage.one.conv1.w", "stage.2.convone.w"}));
  EXPECT_EQ(edited.notes, Names{"renamed 2 keys"});
}

TEST(RenameTest, ChangesOnlyTheLastTextKey) {
  Tree b;
  const NodeId slots = b.Dict();
  PENSTOCK_CHECK(
      b.SetItem(slots, b.Int(0), b.DictOf({{"model", b.Tensor(Floats())}}))
          .ok());
  const Value root = b.Done(
      b.DictOf({{"model", b.DictOf({{"model.w", b.Tensor(Floats())},
                                    {"model", b.List({b.Tensor(Floats())})}})},
                {"state", slots}}));
  ASSERT_EQ(NamesOf(root),
            (Names{"model.model.w", "model.model.0", "state.0.model"}));
  Edits edits;
  edits.renames = {{"^model", "m"}};
  EXPECT_EQ(NamesOf(Edited(root, edits).root),
            (Names{"model.m.w", "model.m.0", "state.0.m"}));
}

TEST(RenameTest, TakesKeysWithoutTensorsAlong) {
  Tree b;
  const Value root = b.Done(
      b.DictOf({{"module.w", b.Tensor(Floats())},
                {"module._extra_state", b.Bytes("x")},
                {"module.deep", b.DictOf({{"module.v", b.Tensor(Floats())}})},
                {"other", b.DictOf({{"module.number", b.Int(1)}})}}));
  Edits edits;
  edits.strip_prefixes = {"module."};
  const Value result = Edited(root, edits).root;
  EXPECT_TRUE(result.Find("w"));
  EXPECT_TRUE(result.Find("_extra_state"));
  EXPECT_EQ(NamesOf(result), (Names{"w", "module.deep.v"}));
  EXPECT_TRUE(result.Find("other").Find("module.number"));
}

TEST(RenameTest, RefusesEqualResultsNamingBoth) {
  Edits edits;
  edits.strip_prefixes = {"module."};
  ExpectFails(StateDictOf({"w", "module.w"}), edits, {"module.w", "w and"});
  // In different dicts, and a key without a tensor.
  Tree b;
  const Value apart =
      b.Done(b.DictOf({{"a", b.DictOf({{"module.x", b.Tensor(Floats())}})},
                       {"module.a.x", b.Tensor(Floats())}}));
  ExpectFails(apart, edits, {"a.module.x", "module.a.x"});
  Tree c;
  const Value beside = c.Done(
      c.DictOf({{"epoch", c.Int(1)}, {"module.epoch", c.Tensor(Floats())}}));
  ExpectFails(beside, edits, {"epoch", "module.epoch"});
  edits.drop = {"w"};
  EXPECT_EQ(NamesOf(Edited(StateDictOf({"w", "module.w"}), edits).root),
            Names{"w"});
}

TEST(RenameTest, RefusesPatternsThatAreNone) {
  Edits edits;
  edits.renames = {{"a(", "b"}};
  ExpectFails(StateDictOf({"a"}), edits, {"--rename", "a("});
  edits.renames = {{"a", "\\7"}};
  ExpectFails(StateDictOf({"a"}), edits, {"--rename"});
}

// RE2 takes linear time for what backtracks elsewhere.
TEST(RenameTest, DoesNotHangOnHostileNames) {
  const Value root = StateDictOf({std::string(200'000, 'a') + "!"});
  Edits edits;
  edits.renames = {{"^(a+)+$", "x"}};
  EXPECT_EQ(NamesOf(Edited(root, edits).root), NamesOf(root));
}

// _metadata as consume_prefix_in_state_dict_if_present leaves it.
TEST(RenameTest, LetsMetadataFollow) {
  Tree b;
  const NodeId dict = b.OrderedDict();
  b.Filled(dict, {{"module.conv.w", b.Tensor(Floats())}});
  const NodeId metadata = b.OrderedDict();
  b.Filled(metadata, {{"", b.Int(0)},
                      {"module", b.Int(1)},
                      {"module.conv", b.Int(2)},
                      {"module.conv.inner", b.Int(3)},
                      {"other", b.Int(4)}});
  b.Made(dict, b.DictOf({{"_metadata", metadata}}));
  const Value root = b.Done(dict);
  const auto keys_of = [](const Value& value) {
    const Value pairs = value.child(ObjectChild::kState)
                            .Find("_metadata")
                            .child(ObjectChild::kPairs);
    std::string keys;
    for (int64_t i = 0; i < pairs.size(); ++i) {
      absl::StrAppend(&keys, pairs.key(i).AsBytes(), "=",
                      pairs.value(i).AsInt(), " ");
    }
    return keys;
  };
  Edits edits;
  edits.strip_prefixes = {"module."};
  EXPECT_EQ(keys_of(Edited(root, edits).root),
            "=1 conv=2 conv.inner=3 other=4 ");
  edits.renames = {{"^conv\\.", "c."}};
  EXPECT_EQ(keys_of(Edited(root, edits).root), "=1 c=2 c.inner=3 other=4 ");
  edits.strip_prefixes = {};
  edits.renames = {{"^module\\.", ""}};
  EXPECT_EQ(keys_of(Edited(root, edits).root),
            "=1 conv=2 conv.inner=3 other=4 ");
}

TEST(RenameTest, KeepsTiesSharingAndCycles) {
  Edits edits;
  edits.renames = {{"^a", "b"}, {"layers", "blocks"}};
  const Value result = Edited(Nested(), edits).root;
  EXPECT_EQ(NamesOf(result),
            (Names{"model.b.weight", "model.blocks.0", "model.blocks.1"}));
  const Value model = result.Find("model");
  EXPECT_EQ(model.Find("up").id(), result.id());
  EXPECT_EQ(model.Find("b.weight").id(), model.Find("blocks").item(0).id());
}

// A list in a list in a list...
TEST(RenameTest, DoesNotRecurse) {
  Tree b;
  NodeId inner = b.DictOf({{"module.w", b.Tensor(Floats())}});
  for (int i = 0; i < 100'000; ++i) inner = b.List({inner});
  const Value root = b.Done(inner);
  Edits edits;
  edits.strip_prefixes = {"module."};
  edits.map_location = "cpu";
  edits.dtype = DType::kBFloat16;
  EXPECT_TRUE(absl::EndsWith(NamesOf(Edited(root, edits).root)[0], ".w"));
}

}  // namespace
}  // namespace penstock
