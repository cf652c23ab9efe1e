#include "api/edits.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/apply_edits.h"
#include "codec/derived_source.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/graph_tables.h"
#include "core/state_dict.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "core/value_compare.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using Names = std::vector<std::string>;

std::shared_ptr<const Storage> StorageOf(int64_t size_bytes = 64) {
  return Storage::InFile(size_bytes, 7);
}

Tensor View(std::shared_ptr<const Storage> storage, DType dtype,
            std::vector<int64_t> shape, std::vector<int64_t> strides = {},
            int64_t offset = 0) {
  auto tensor = Tensor::Make(std::move(storage), dtype, std::move(shape),
                             std::move(strides), offset);
  PENSTOCK_CHECK(tensor.ok());
  return *std::move(tensor);
}

Tensor Floats() { return View(StorageOf(), DType::kFloat32, {4, 4}); }

// A builder that puts text keys into dicts and OrderedDicts.
class Tree : public GraphBuilder {
 public:
  NodeId Filled(NodeId mapping,
                const std::vector<std::pair<std::string, NodeId>>& pairs) {
    for (const auto& [key, value] : pairs) {
      PENSTOCK_CHECK(SetItem(mapping, Str(key), value).ok());
    }
    return mapping;
  }
  NodeId DictOf(const std::vector<std::pair<std::string, NodeId>>& pairs) {
    return Filled(Dict(), pairs);
  }
  NodeId Made(NodeId object, NodeId state) {
    PENSTOCK_CHECK(SetState(object, state).ok());
    return object;
  }
  NodeId Call(absl::string_view module, absl::string_view name,
              std::vector<NodeId> args) {
    return Object(Construction::kReduce, Global(module, name), Tuple(args));
  }
  // An instance of a class that nobody knows.
  NodeId Module(const std::vector<std::pair<std::string, NodeId>>& parameters,
                const std::vector<std::pair<std::string, NodeId>>& modules) {
    const NodeId object =
        Object(Construction::kNewObj, Global("my.models", "Net"), Tuple());
    return Made(object, DictOf({{"training", Bool(true)},
                                {"_parameters", DictOf(parameters)},
                                {"_buffers", Dict()},
                                {"_modules", DictOf(modules)}}));
  }
  Value Done(NodeId root) {
    auto value = std::move(*this).Finish(root);
    PENSTOCK_CHECK(value.ok());
    return *std::move(value);
  }
};

Names NamesOf(const Value& root) {
  const auto state_dict = StateDict::FromValue(root);
  PENSTOCK_CHECK(state_dict.ok());
  Names names;
  for (const NamedTensor& entry : state_dict->entries()) {
    names.push_back(entry.name);
  }
  return names;
}

Tensor TensorAt(const Value& root, absl::string_view name) {
  const auto state_dict = StateDict::FromValue(root);
  PENSTOCK_CHECK(state_dict.ok() && state_dict->Find(name) != nullptr);
  return state_dict->Find(name)->tensor;
}

EditedCheckpoint Edited(const Value& root, const Edits& edits) {
  auto edited = ApplyEdits(root, edits);
  EXPECT_TRUE(edited.ok()) << edited.status();
  PENSTOCK_CHECK(edited.ok());
  return *std::move(edited);
}

void ExpectFails(const Value& root, const Edits& edits,
                 const std::vector<std::string>& words) {
  const absl::Status status = ApplyEdits(root, edits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& word : words) {
    EXPECT_TRUE(absl::StrContains(status.message(), word)) << status;
  }
}

Value StateDictOf(const Names& names) {
  Tree b;
  const NodeId root = b.OrderedDict();
  for (const std::string& name : names) {
    b.Filled(root, {{name, b.Tensor(Floats())}});
  }
  return b.Done(root);
}

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

// -------------------------------------------------------------------- dtype

TEST(DTypeTest, CastsWholeStoragesAndKeepsTies) {
  const auto storage = StorageOf(66);  // half a number is left over
  Tree b;
  const Value root = b.Done(b.DictOf(
      {{"w", b.Tensor(View(storage, DType::kFloat32, {4, 4}))},
       {"t", b.Tensor(View(storage, DType::kFloat32, {4, 3}, {1, 4}, 2),
                      TensorFlags::kRequiresGrad)},
       {"bare", b.Storage(storage, DType::kFloat32)}}));
  Edits edits;
  edits.dtype = DType::kBFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  ASSERT_EQ(edited.derivations.size(), 1u);
  const Derivation& derivation = edited.derivations[0];
  EXPECT_EQ(derivation.storage->size_bytes(), 32);
  EXPECT_EQ(derivation.from.storage(), storage);
  EXPECT_EQ(derivation.from.num_elements(), 16);
  EXPECT_EQ(derivation.to, DType::kBFloat16);
  ASSERT_EQ(edited.root.graph()->storages().size(), 1u);
  EXPECT_EQ(edited.root.graph()->storages()[0], derivation.storage);
  const Tensor t = TensorAt(edited.root, "t");
  EXPECT_EQ(t.dtype(), DType::kBFloat16);
  EXPECT_EQ(t.strides()[1], 4);
  EXPECT_EQ(t.offset(), 2);
  EXPECT_EQ(edited.root.Find("t").tensor_flags(), TensorFlags::kRequiresGrad);
  EXPECT_EQ(edited.root.Find("bare").storage_dtype(), DType::kBFloat16);
}

TEST(DTypeTest, LeavesOthersAndCountsThem) {
  Tree b;
  const Value root = b.Done(b.DictOf(
      {{"f64", b.Tensor(View(StorageOf(), DType::kFloat64, {8}))},
       {"f32", b.Tensor(View(StorageOf(), DType::kFloat32, {16}))},
       {"f16", b.Tensor(View(StorageOf(), DType::kFloat16, {8}))},
       {"bf16", b.Tensor(View(StorageOf(), DType::kBFloat16, {8}))},
       {"step", b.Tensor(View(StorageOf(), DType::kFloat32, {}))},
       {"i64", b.Tensor(View(StorageOf(), DType::kInt64, {8}))},
       {"c64", b.Tensor(View(StorageOf(), DType::kComplex64, {8}))},
       {"f8", b.Tensor(View(StorageOf(), DType::kFloat8E5M2, {8}))},
       {"empty", b.Tensor(View(StorageOf(0), DType::kFloat32, {0, 3}))}}));
  Edits edits;
  edits.dtype = DType::kFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(edited.derivations.size(), 3u);
  for (const char* name : {"f64", "f32", "f16", "bf16", "empty"}) {
    EXPECT_EQ(TensorAt(edited.root, name).dtype(), DType::kFloat16) << name;
  }
  for (const char* name : {"step", "i64", "c64", "f8"}) {
    EXPECT_EQ(TensorAt(edited.root, name).dtype(),
              TensorAt(root, name).dtype());
    EXPECT_EQ(TensorAt(edited.root, name).storage(),
              TensorAt(root, name).storage());
  }
  EXPECT_EQ(edited.notes,
            Names{"--dtype float16: 4 tensors cast, 1 were so, 1 left because "
                  "they have no dimensions, 3 left because of their dtype"});
  edits.dtype = DType::kInt8;
  ExpectFails(root, edits, {"int8"});
}

// Adam's step among the moments of a flat buffer: 257 must not become 256.
TEST(DTypeTest, GivesScalarsOfACastStorageTheirOwn) {
  const auto storage = StorageOf();
  Tree b;
  const NodeId step = b.Tensor(View(storage, DType::kFloat32, {}, {}, 5));
  const Value root = b.Done(b.DictOf(
      {{"w", b.Tensor(View(storage, DType::kFloat32, {4}))},
       {"step", step},
       {"again", b.Tensor(View(storage, DType::kFloat32, {}, {}, 5))}}));
  Edits edits;
  edits.dtype = DType::kBFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(edited.derivations.size(), 2u);
  const Tensor scalar = TensorAt(edited.root, "step");
  EXPECT_EQ(scalar.dtype(), DType::kFloat32);
  EXPECT_EQ(scalar.storage()->size_bytes(), 4);
  EXPECT_EQ(scalar.storage(), TensorAt(edited.root, "again").storage());
}

TEST(DTypeTest, RefusesAStorageOfTwoDTypesNamingBoth) {
  const auto storage = StorageOf();
  Edits edits;
  edits.dtype = DType::kBFloat16;
  Tree b;
  const Value two =
      b.Done(b.DictOf({{"x", b.Tensor(View(storage, DType::kFloat32, {4}))},
                       {"y", b.Tensor(View(storage, DType::kInt32, {4}))}}));
  ExpectFails(two, edits, {"x views as float32", "y as int32"});
  Tree c;
  const Value untyped =
      c.Done(c.DictOf({{"x", c.Tensor(View(storage, DType::kFloat32, {4}))},
                       {"bytes", c.Storage(storage, std::nullopt)}}));
  ExpectFails(untyped, edits, {"x", "without a dtype"});
  // Nothing to be cast, nothing to be refused.
  Tree d;
  const Value ints =
      d.Done(d.DictOf({{"x", d.Tensor(View(storage, DType::kInt8, {4}))},
                       {"y", d.Tensor(View(storage, DType::kInt32, {4}))}}));
  EXPECT_TRUE(Edited(ints, edits).derivations.empty());
}

// ------------------------------------------------------------- map_location

TEST(MapLocationTest, MovesEveryStorage) {
  const std::shared_ptr<Storage> there = Storage::InFile(64, 3);
  there->set_location("cuda:1");
  auto memory = Storage::Allocate(64);
  ASSERT_TRUE(memory.ok());
  (*memory)->set_location("cuda:0");
  std::memset((*memory)->mutable_bytes().data(), 7, 64);
  Tree b;
  Value root =
      b.Done(b.DictOf({{"x", b.Tensor(View(there, DType::kFloat32, {4}))},
                       {"y", b.Tensor(View(there, DType::kFloat32, {4}))},
                       {"z", b.Tensor(View(*memory, DType::kInt8, {4}))}}));
  Edits edits;
  edits.map_location = "cpu";
  EditedCheckpoint edited = Edited(root, edits);
  memory->reset();
  root = Value();
  const auto storages = edited.root.graph()->storages();
  ASSERT_EQ(storages.size(), 2u);
  EXPECT_EQ(storages[0]->location(), "cpu");
  EXPECT_EQ(storages[0]->file_number(), 3);
  EXPECT_EQ(storages[1]->location(), "cpu");
  EXPECT_EQ(storages[1]->bytes()[5], 7);
  edits.dtype = DType::kFloat16;
  EXPECT_EQ(Edited(edited.root, edits).derivations[0].storage->location(),
            "cpu");
}

TEST(EditsTest, DoesAllInOneGo) {
  Tree b;
  const NodeId net = b.Module(
      {{"weight", b.Tensor(Floats())}, {"bias", b.Tensor(Floats())}}, {});
  const Value root =
      b.Done(b.DictOf({{"model", b.Module({}, {{"module", net}})},
                       {"opt", b.Tensor(Floats())}}));
  Edits edits;
  EXPECT_FALSE(edits.any());
  edits.select = "model";
  edits.drop = {"module.bias"};
  edits.strip_prefixes = {"module."};
  edits.dtype = DType::kBFloat16;
  edits.map_location = "cpu";
  EXPECT_TRUE(edits.any());
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(NamesOf(edited.root), Names{"weight"});
  EXPECT_EQ(edited.derivations.size(), 1u);
  EXPECT_EQ(edited.notes.size(), 3u);
}

}  // namespace
}  // namespace penstock
