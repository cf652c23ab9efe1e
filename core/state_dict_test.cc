#include "core/state_dict.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/graph_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Tensor NewTensor(std::vector<int64_t> shape = {1}) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return *Tensor::Make(Storage::InFile(4 * count, 0), DType::kFloat32,
                       std::move(shape));
}

// Makes graphs with less noise.
class Maker {
 public:
  NodeId T() { return b.Tensor(NewTensor()); }
  NodeId Dict(const std::vector<std::pair<std::string, NodeId>>& pairs) {
    return Fill(b.Dict(), pairs);
  }
  NodeId Ordered(const std::vector<std::pair<std::string, NodeId>>& pairs) {
    return Fill(b.OrderedDict(), pairs);
  }
  NodeId Fill(NodeId mapping,
              const std::vector<std::pair<std::string, NodeId>>& pairs) {
    for (const auto& [key, value] : pairs) Set(mapping, b.Str(key), value);
    return mapping;
  }
  void Set(NodeId mapping, NodeId key, NodeId value) {
    EXPECT_TRUE(b.SetItem(mapping, key, value).ok());
  }
  NodeId Call(absl::string_view module, absl::string_view name,
              std::vector<NodeId> args, NodeId state = kNoNode) {
    const NodeId object =
        b.Object(Construction::kReduce, b.Global(module, name), b.Tuple(args));
    if (state != kNoNode) {
      EXPECT_TRUE(b.SetState(object, state).ok());
    }
    return object;
  }
  NodeId Parameter(NodeId tensor) {
    return Call("torch._utils", "_rebuild_parameter",
                {tensor, b.Bool(true), b.OrderedDict()});
  }
  NodeId Module(const std::vector<std::pair<std::string, NodeId>>& parameters,
                const std::vector<std::pair<std::string, NodeId>>& buffers,
                const std::vector<std::pair<std::string, NodeId>>& modules,
                const std::vector<NodeId>& not_persistent = {}) {
    const NodeId state =
        Dict({{"training", b.Bool(true)},
              {"_parameters", Ordered(parameters)},
              {"_buffers", Dict(buffers)},
              {"_non_persistent_buffers_set", b.Set(not_persistent)},
              {"_modules", Ordered(modules)},
              {"extra", T()}});
    const NodeId object =
        b.Object(Construction::kNewObj, b.Global("models", "Net"), b.Tuple());
    EXPECT_TRUE(b.SetState(object, state).ok());
    return object;
  }
  StateDict Names(NodeId root) {
    auto value = std::move(b).Finish(root);
    EXPECT_TRUE(value.ok()) << value.status();
    auto state_dict = StateDict::FromValue(*value);
    EXPECT_TRUE(state_dict.ok()) << state_dict.status();
    return state_dict.ok() ? *state_dict : StateDict();
  }

  GraphBuilder b;
};

std::vector<std::string> NamesOf(const StateDict& state_dict) {
  std::vector<std::string> names;
  for (const NamedTensor& entry : state_dict.entries()) {
    names.push_back(entry.name);
    EXPECT_EQ(state_dict.Find(entry.name), &entry);
  }
  return names;
}

TEST(FromValueTest, ARootTensorIsTensor) {
  Maker m;
  const StateDict names = m.Names(m.T());
  EXPECT_THAT(NamesOf(names), ElementsAre("tensor"));
  EXPECT_EQ(names.entries()[0].number, 0);
  EXPECT_EQ(names.Find("other"), nullptr);
}

TEST(FromValueTest, AnEmptyCheckpointHasNoNames) {
  Maker m;
  EXPECT_THAT(NamesOf(m.Names(m.b.None())), IsEmpty());
}

TEST(FromValueTest, StateDictNamesAreItsKeysAndMetadataIsSilent) {
  Maker m;
  const NodeId root = m.Ordered({{"layer.weight", m.T()}, {"bias", m.T()}});
  const NodeId metadata = m.Ordered({{"", m.Dict({{"version", m.b.Int(1)}})}});
  ASSERT_TRUE(m.b.SetState(root, m.Dict({{"_metadata", metadata}})).ok());
  EXPECT_THAT(NamesOf(m.Names(root)), ElementsAre("layer.weight", "bias"));
}

TEST(FromValueTest, OptimizerKeysAreDecimal) {
  Maker m;
  const NodeId states = m.b.Dict();
  for (int i : {0, 1, 10}) {
    m.Set(states, m.b.Int(i),
          m.Dict({{"step", m.T()}, {"exp_avg", m.T()}, {"none", m.b.None()}}));
  }
  const NodeId group = m.Dict({{"lr", m.T()}, {"eps", m.b.Float(1e-8)}});
  const NodeId root = m.Dict(
      {{"epoch", m.b.Int(3)},
       {"optimizer",
        m.Dict({{"state", states}, {"param_groups", m.b.List({group})}})}});
  EXPECT_THAT(
      NamesOf(m.Names(root)),
      ElementsAre("optimizer.state.0.step", "optimizer.state.0.exp_avg",
                  "optimizer.state.1.step", "optimizer.state.1.exp_avg",
                  "optimizer.state.10.step", "optimizer.state.10.exp_avg",
                  "optimizer.param_groups.0.lr"));
}

TEST(FromValueTest, OtherKeysShowAsPythonPrintsThem) {
  Maker m;
  const NodeId root = m.b.Dict();
  const auto big = std::string(8, '\0') + "\x01";
  for (const NodeId key :
       {m.b.None(), m.b.Bool(true), m.b.Float(0.5), m.b.Bytes("b"),
        m.b.BigInt(big), m.b.Tuple({m.b.Int(1), m.b.Str("a")}), m.b.Str(""),
        m.b.Py2Str("py2"), m.b.Global("torch", "float32")}) {
    m.Set(root, key, m.T());
  }
  m.Set(root, m.Call("x", "Key", {m.T()}), m.b.List({m.T()}));
  EXPECT_THAT(NamesOf(m.Names(root)),
              ElementsAre("None", "True", "0.5", "b'b'", "18446744073709551616",
                          "(1, 'a')", "", "py2", "torch.float32", "<key 9>.0",
                          "<key 9>.0~2"));
}

TEST(FromValueTest, AnEmptyKeyIsAPathToo) {
  Maker m;
  const NodeId root = m.Dict({{"", m.Dict({{"", m.T()}, {"a", m.T()}})}});
  EXPECT_THAT(NamesOf(m.Names(root)), ElementsAre(".", ".a"));
}

TEST(FromValueTest, TakenNamesAreNumbered) {
  Maker m;
  const NodeId root = m.Dict({{"a.b", m.T()},
                              {"a", m.Dict({{"b", m.T()}})},
                              {"a.b~2", m.T()},
                              {"1", m.T()}});
  m.Set(root, m.b.Int(1), m.T());
  EXPECT_THAT(NamesOf(m.Names(root)),
              ElementsAre("a.b", "a.b~2", "a.b~2~2", "1", "1~2"));
}

TEST(FromValueTest, ATensorReachedTwiceHasTwoNames) {
  Maker m;
  const NodeId tensor = m.T();
  const StateDict names =
      m.Names(m.b.List({tensor, m.b.Tuple({tensor, tensor})}));
  EXPECT_THAT(NamesOf(names), ElementsAre("0", "1.0", "1.1"));
  EXPECT_EQ(names.entries()[2].number, 0);
}

TEST(FromValueTest, WrappersOfOneTensorAreTransparent) {
  Maker m;
  auto& b = m.b;
  const NodeId with_state = m.Call(
      "torch._utils", "_rebuild_parameter_with_state",
      {m.T(), b.Bool(true), b.OrderedDict(), m.Dict({{"scale", m.T()}})});
  const NodeId retyped_parameter = m.Call(
      "torch._tensor", "_rebuild_from_type_v2",
      {b.Global("torch._utils", "_rebuild_parameter"), b.Global("m", "P"),
       b.Tuple({m.T(), b.Bool(true), b.OrderedDict()}), b.None()});
  const NodeId rebuild =
      b.Tuple({b.Storage(Storage::InFile(24, 3), DType::kFloat32), b.Int(1),
               b.Tuple({b.Int(2)}), b.Tuple({b.Int(3)}), b.Bool(true),
               b.OrderedDict()});
  const NodeId buffer =
      m.Call("torch._tensor", "_rebuild_from_type_v2",
             {b.Global("torch._utils", "_rebuild_tensor_v2"),
              b.Global("torch", "Tensor"), rebuild,
              m.Dict({{"persistent", b.Bool(true)}, {"inner", m.T()}})});
  const NodeId root = m.Dict(
      {{"p", m.Parameter(m.T())},
       {"pp", m.Parameter(m.Parameter(m.T()))},
       {"s", with_state},
       {"r", retyped_parameter},
       {"buffer", buffer},
       {"old", m.Call("torch.nn.parameter", "Parameter", {m.T()})},
       {"v", m.Call("torch.autograd.variable", "Variable", {m.T()})},
       {"d", m.Call("torch._utils", "_rebuild_device_tensor_from_cpu_tensor",
                    {m.T(), b.Global("torch", "float32"), b.Str("xla:0"),
                     b.Bool(true)})}});
  const StateDict names = m.Names(root);
  EXPECT_THAT(NamesOf(names),
              ElementsAre("p", "pp", "s", "s.scale", "r", "buffer",
                          "buffer.inner", "old", "v", "d"));
  EXPECT_EQ(names.Find("p")->flags, TensorFlags::kRequiresGrad);
  EXPECT_EQ(names.Find("r")->flags, TensorFlags::kRequiresGrad);
  EXPECT_EQ(names.Find("d")->flags, TensorFlags::kRequiresGrad);
  EXPECT_EQ(names.Find("s.scale")->flags, 0);
  EXPECT_EQ(names.Find("old")->flags, 0);
  const NamedTensor& rebuilt = *names.Find("buffer");
  EXPECT_EQ(rebuilt.number, -1);
  EXPECT_EQ(rebuilt.tensor.offset(), 1);
  EXPECT_THAT(rebuilt.tensor.strides(), ElementsAre(3));
  EXPECT_EQ(rebuilt.flags, TensorFlags::kRequiresGrad);
}

// As torch: a Storage that is too short cannot be viewed.
TEST(FromValueTest, WhatCannotBeRebuiltIsNotNamed) {
  Maker m;
  auto& b = m.b;
  const NodeId args =
      b.Tuple({b.Storage(Storage::InFile(4, 3), DType::kFloat32), b.Int(1),
               b.Tuple({b.Int(2)}), b.Tuple({b.Int(3)})});
  const NodeId root = m.Call("torch._tensor", "_rebuild_from_type_v2",
                             {b.Global("torch._utils", "_rebuild_tensor_v2"),
                              b.Global("torch", "Tensor"), args, b.None()});
  EXPECT_THAT(NamesOf(m.Names(root)), IsEmpty());
}

TEST(FromValueTest, AModuleShowsItsStateDict) {
  Maker m;
  const NodeId shared = m.Module({{"weight", m.Parameter(m.T())}}, {}, {});
  const NodeId norm = m.Module(
      {{"weight", m.Parameter(m.T())}, {"bias", m.b.None()}},
      {{"running_mean", m.T()}, {"cache", m.T()}, {"nothing", m.b.None()}},
      {{"inner", shared}}, {m.b.Str("cache")});
  const NodeId model =
      m.Module({{"scale", m.Parameter(m.T())}}, {{"offset", m.T()}},
               {{"norm", norm}, {"none", m.b.None()}, {"tied", shared}});
  const NodeId root = m.Dict({{"model", model}});
  EXPECT_THAT(NamesOf(m.Names(root)),
              ElementsAre("model.scale", "model.offset", "model.norm.weight",
                          "model.norm.running_mean", "model.norm.inner.weight",
                          "model.tied.weight"));
}

TEST(FromValueTest, ARootModuleHasPlainNames) {
  Maker m;
  const NodeId root = m.Module({{"weight", m.T()}}, {}, {});
  EXPECT_THAT(NamesOf(m.Names(root)), ElementsAre("weight"));
}

// torch before 1.6 has no set of non-persistent buffers; Python 2 calls set.
TEST(FromValueTest, OldModulesKeepTheirBuffers) {
  Maker m;
  const auto module = [&](NodeId state) {
    return m.Call("models", "Net", {}, state);
  };
  const NodeId old = module(m.Dict({{"_parameters", m.Dict({})},
                                    {"_buffers", m.Dict({{"a", m.T()}})},
                                    {"_modules", m.Dict({})}}));
  const NodeId called =
      m.Call("__builtin__", "set", {m.b.List({m.b.Str("a")})});
  const NodeId newer =
      module(m.Dict({{"_parameters", m.Dict({})},
                     {"_buffers", m.Dict({{"a", m.T()}, {"b", m.T()}})},
                     {"_non_persistent_buffers_set", called},
                     {"_modules", m.Dict({})}}));
  EXPECT_THAT(NamesOf(m.Names(m.b.List({old, newer}))),
              ElementsAre("0.a", "1.b"));
}

TEST(FromValueTest, ObjectsShowArgsItemsPairsAndAttributes) {
  Maker m;
  auto& b = m.b;
  const NodeId kwargs = m.Dict({{"kw", m.T()}});
  const NodeId object = b.Object(Construction::kNewObjEx, b.Global("a", "B"),
                                 b.Tuple({b.Int(1), m.T()}), kwargs);
  ASSERT_TRUE(b.Append(object, m.T()).ok());
  m.Set(object, b.Str("key"), m.T());
  ASSERT_TRUE(b.SetState(object, b.Tuple({m.Dict({{"attribute", m.T()}}),
                                          m.Dict({{"slot", m.T()}})}))
                  .ok());
  EXPECT_THAT(NamesOf(m.Names(object)),
              ElementsAre("1", "kw", "0", "key", "attribute", "slot"));
}

TEST(FromValueTest, MappingsOfEveryMakeShowTheirKeys) {
  Maker m;
  auto& b = m.b;
  const NodeId python2 = m.Call("collections", "OrderedDict",
                                {b.List({b.List({b.Py2Str("k"), m.T()})})});
  const NodeId defaults =
      m.Call("collections", "defaultdict", {b.Global("builtins", "dict")});
  m.Set(defaults, b.Str("k"), m.T());
  const NodeId counter =
      m.Call("collections", "Counter", {m.Dict({{"k", m.T()}})});
  EXPECT_THAT(NamesOf(m.Names(b.List({python2, defaults, counter}))),
              ElementsAre("0.k", "1.k", "2.k"));
}

TEST(FromValueTest, CyclesEnd) {
  Maker m;
  auto& b = m.b;
  const NodeId list = b.List();
  ASSERT_TRUE(b.Append(list, list).ok());
  ASSERT_TRUE(b.Append(list, b.Tuple({list, m.T()})).ok());
  const NodeId module = m.Module({{"w", m.T()}}, {}, {});
  const NodeId parent = m.Module({}, {}, {{"child", module}});
  m.Set(b.object_child(module, ObjectChild::kState), b.Str("_modules"),
        m.Dict({{"parent", parent}}));
  ASSERT_TRUE(b.Append(list, parent).ok());
  const NodeId own_state = b.OrderedDict();
  ASSERT_TRUE(b.SetState(own_state, own_state).ok());
  ASSERT_TRUE(b.Append(list, own_state).ok());
  EXPECT_THAT(NamesOf(m.Names(list)), ElementsAre("1.1", "2.child.w"));
}

TEST(FromValueTest, TensorsBehindACycleKeepTheirOtherNames) {
  Maker m;
  auto& b = m.b;
  const NodeId first = b.List();
  const NodeId second = b.List({first});
  ASSERT_TRUE(b.Append(first, second).ok());
  ASSERT_TRUE(b.Append(first, m.T()).ok());
  EXPECT_THAT(NamesOf(m.Names(b.List({first, second}))),
              ElementsAre("0.1", "1.0.1"));
}

NodeId Laughs(GraphBuilder& b, NodeId leaf) {
  NodeId id = b.List({leaf});
  for (int i = 0; i < 100; ++i) id = b.List(std::vector<NodeId>(10, id));
  return id;
}

TEST(FromValueTest, BillionLaughsStopAtTheLimit) {
  GraphBuilder b;
  const NodeId root = Laughs(b, b.Tensor(NewTensor()));
  const auto value = std::move(b).Finish(root);
  EXPECT_EQ(StateDict::FromValue(*value, 1000).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(FromValueTest, BillionLaughsAboutNothingAreNoWork) {
  GraphBuilder b;
  const NodeId root = Laughs(b, b.Int(1));
  const auto value = std::move(b).Finish(root);
  const auto names = StateDict::FromValue(*value);
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_EQ(names->size(), 0);
}

// Every simple path through 40 lists that all hold each other.
TEST(FromValueTest, TangledCyclesStopAtTheLimit) {
  GraphBuilder b;
  std::vector<NodeId> lists;
  for (int i = 0; i < 40; ++i) lists.push_back(b.List());
  for (const NodeId list : lists) {
    for (const NodeId item : lists) ASSERT_TRUE(b.Append(list, item).ok());
  }
  const NodeId root = b.List({lists[0], b.Tensor(NewTensor())});
  ASSERT_TRUE(b.Append(lists[0], root).ok());
  const auto value = std::move(b).Finish(root);
  EXPECT_EQ(StateDict::FromValue(*value, 1000).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// A long list with one tensor, in many places.
TEST(FromValueTest, WideSharedListsStopAtTheLimit) {
  GraphBuilder b;
  std::vector<NodeId> items(100'000, b.Int(0));
  items.push_back(b.Tensor(NewTensor()));
  const NodeId wide = b.List(items);
  const NodeId root = b.List(std::vector<NodeId>(100'000, wide));
  const auto value = std::move(b).Finish(root);
  EXPECT_EQ(StateDict::FromValue(*value, 200'000).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// Deep enough to overflow a stack of 8 MB.
TEST(FromValueTest, DeepNestingNeedsNoStack) {
  GraphBuilder b;
  NodeId id = b.Tensor(NewTensor());
  for (int i = 0; i < 300'000; ++i) id = b.List({id});
  const auto value = std::move(b).Finish(id);
  ASSERT_TRUE(value.ok());
  const auto names = StateDict::FromValue(*value);
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_EQ(names->entries()[0].name.size(), 599'999);
}

StateDict Make(const std::vector<std::string>& names) {
  StateDict result;
  for (const std::string& name : names) {
    EXPECT_TRUE(result.Add({name, NewTensor()}).ok());
  }
  return result;
}

TEST(StateDictTest, RefusesANameTwice) {
  StateDict names = Make({"a"});
  EXPECT_EQ(names.Add({"a", NewTensor()}).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(names.size(), 1);
}

TEST(StateDictTest, RenamesAndKeepsTheOrder) {
  const StateDict names = Make({"b", "a"});
  const auto renamed = names.Renamed(
      [](absl::string_view name) { return absl::StrCat("x.", name); });
  ASSERT_TRUE(renamed.ok());
  EXPECT_THAT(NamesOf(*renamed), ElementsAre("x.b", "x.a"));
}

TEST(StateDictTest, TakesAPrefixOffTheNamesThatHaveIt) {
  const auto stripped =
      Make({"module.a", "b", "module.module.c"}).WithoutPrefix("module.");
  ASSERT_TRUE(stripped.ok());
  EXPECT_THAT(NamesOf(*stripped), ElementsAre("a", "b", "module.c"));
}

TEST(StateDictTest, RefusesTwoNamesThatBecomeOne) {
  const auto stripped = Make({"x", "module.a", "a"}).WithoutPrefix("module.");
  EXPECT_EQ(stripped.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(stripped.status().message()),
              HasSubstr("module.a and a "));
}

// A contiguous tensor of bytes.
NamedTensor Bytes(const std::string& name, const std::vector<uint8_t>& bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  const std::shared_ptr<Storage> storage = *Storage::Allocate(size);
  if (size > 0) {
    std::memcpy(storage->mutable_bytes().data(), bytes.data(), bytes.size());
  }
  return {name, *Tensor::Make(storage, DType::kUInt8, {size})};
}

StateDict BytesDict(const std::vector<NamedTensor>& entries) {
  StateDict result;
  for (const NamedTensor& entry : entries) {
    EXPECT_TRUE(result.Add(entry).ok());
  }
  return result;
}

std::vector<uint8_t> BytesOfEntry(const StateDict& dict,
                                  absl::string_view name) {
  const auto bytes = dict.Find(name)->tensor.storage()->bytes();
  return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

TEST(LoadIntoTest, CopiesByName) {
  const StateDict source = BytesDict({Bytes("a", {1, 2}), Bytes("b", {3})});
  StateDict target = BytesDict({Bytes("b", {0}), Bytes("a", {0, 0})});
  const auto report = source.LoadInto(target, Strictness::kStrict);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->num_loaded, 2);
  EXPECT_THAT(BytesOfEntry(target, "a"), ElementsAre(1, 2));
  EXPECT_THAT(BytesOfEntry(target, "b"), ElementsAre(3));
}

TEST(LoadIntoTest, StrictCopiesNothingUnlessAllFits) {
  const StateDict source =
      BytesDict({Bytes("a", {1}), Bytes("extra", {2}), Bytes("c", {1, 2})});
  StateDict target =
      BytesDict({Bytes("a", {0}), Bytes("gone", {0}), Bytes("c", {0})});
  const auto report = source.LoadInto(target, Strictness::kStrict);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(report.status().message());
  EXPECT_THAT(message, HasSubstr("missing: gone; unexpected: extra; "
                                 "mismatched: c: source uint8 [2], target "
                                 "uint8 [1]"));
  EXPECT_THAT(BytesOfEntry(target, "a"), ElementsAre(0));
}

TEST(LoadIntoTest, LenientCopiesWhatFitsAndReportsTheRest) {
  const StateDict source =
      BytesDict({Bytes("a", {1}), Bytes("extra", {2}), Bytes("c", {1, 2})});
  StateDict target =
      BytesDict({Bytes("a", {0}), Bytes("gone", {0}), Bytes("c", {0})});
  const auto report = source.LoadInto(target, Strictness::kLenient);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->num_loaded, 1);
  EXPECT_THAT(report->missing, ElementsAre("gone"));
  EXPECT_THAT(report->unexpected, ElementsAre("extra"));
  EXPECT_THAT(report->mismatched, ElementsAre(HasSubstr("c: source")));
  EXPECT_THAT(BytesOfEntry(target, "a"), ElementsAre(1));
}

TEST(LoadIntoTest, ConjugatedIntoPlainDoesNotFit) {
  NamedTensor conjugated = Bytes("a", {1});
  conjugated.flags = TensorFlags::kConjugated;
  const StateDict source = BytesDict({conjugated});
  StateDict target = BytesDict({Bytes("a", {0})});
  EXPECT_EQ(source.LoadInto(target, Strictness::kStrict).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LoadIntoTest, BytesInAFileAreRefusedBeforeAnyCopy) {
  const StateDict source = BytesDict({Bytes("a", {1}), {"f", NewTensor()}});
  StateDict target = BytesDict({Bytes("a", {0}), {"f", NewTensor()}});
  EXPECT_EQ(source.LoadInto(target, Strictness::kStrict).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(BytesOfEntry(target, "a"), ElementsAre(0));
}

TEST(LoadIntoTest, ALongListOfFaultsIsCut) {
  std::vector<std::string> names;
  for (int i = 0; i < 25; ++i) names.push_back(absl::StrCat("n", i));
  StateDict target = Make(names);
  const auto report = StateDict().LoadInto(target, Strictness::kStrict);
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("15 more"));
}

}  // namespace
}  // namespace penstock
