#include "compat/script_tree.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "compat/golden_checkpoints.h"
#include "compat/pickle_writer.h"
#include "compat/pt_file.h"
#include "compat/script_classes.h"
#include "compat/skeleton_testing.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "core/state_dict.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kCode[] = R"(class Net(Module):
  __parameters__ = ["scale", ]
  __buffers__ = ["count", "maybe", ]
  scale : Tensor
  count : Tensor
  maybe : Optional[Tensor]
  training : bool
  sub : __torch__.layers.Linear
  def forward(self: __torch__.Net,
    x: Tensor) -> Tensor:
    __parameters__ = ["never", ]
    return x
class Helper:
  __parameters__ = ["never", ]
  __buffers__ = []
)";
constexpr char kLayers[] = R"(class Linear(Module):
  __parameters__ = ["weight", "bias", ]
  __buffers__ = []
)";

absl::StatusOr<std::string> Source(absl::string_view module) {
  if (module == "__torch__") return std::string(kCode);
  if (module == "__torch__.layers") return std::string(kLayers);
  return std::string();
}

TEST(ScriptClassesTest, KnowsTheNamesOfModulesAlone) {
  ScriptClasses classes(Source);
  const ScriptClass* net = classes.Find("__torch__", "Net").value();
  ASSERT_NE(net, nullptr);
  EXPECT_THAT(net->parameters, UnorderedElementsAre("scale"));
  EXPECT_THAT(net->buffers, UnorderedElementsAre("count"));
  EXPECT_EQ(classes.Find("__torch__", "Helper").value(), nullptr);
  EXPECT_EQ(classes.Find("__torch__", "Nobody").value(), nullptr);
  EXPECT_EQ(classes.Find("torch.nn", "Linear").value(), nullptr);
  EXPECT_THAT(classes.Find("__torch__.layers", "Linear").value()->parameters,
              UnorderedElementsAre("weight", "bias"));
}

TEST(ScriptClassesTest, SurvivesAnyLine) {
  for (const char* source :
       {"class A(Module):\n  __parameters__ = [", "class (Module):", "class ",
        "class A(Module):\n  __buffers__ = [\"", "  __buffers__ = [\"a\", ]",
        "class A(Module):\n  __parameters__ = [\"a\"\"b\"]"}) {
    ScriptClasses classes(
        [&](absl::string_view) { return std::string(source); });
    EXPECT_TRUE(classes.Find("__torch__", "A").ok()) << source;
  }
}

// Module objects in the making.
class Maker {
 public:
  NodeId Module(const char* module, const char* name) {
    const NodeId object =
        b_.Object(Construction::kNewObj, b_.Global(module, name), b_.Tuple());
    const NodeId state = b_.Dict();
    EXPECT_TRUE(b_.SetState(object, state).ok());
    return object;
  }
  void Set(NodeId object, const char* key, NodeId value) {
    EXPECT_TRUE(b_.SetItem(b_.object_child(object, ObjectChild::kState),
                           b_.Str(key), value)
                    .ok());
  }
  // A float32 tensor with one element.
  NodeId Number(float value, uint8_t flags = 0) {
    return b_.Tensor(
        Tensor::Make(StorageOf<float>({value}), DType::kFloat32, {1}).value(),
        flags);
  }
  NodeId Linear(float value) {
    const NodeId linear = Module("__torch__.layers", "Linear");
    Set(linear, "weight", Number(value, TensorFlags::kRequiresGrad));
    Set(linear, "bias", Number(value + 0.5f));
    return linear;
  }
  GraphBuilder& b() { return b_; }
  Value Finish(NodeId root) { return std::move(b_).Finish(root).value(); }

 private:
  GraphBuilder b_;
};

std::vector<std::string> NamesOf(const Value& root) {
  std::vector<std::string> names;
  const StateDict state_dict = StateDict::FromValue(root).value();
  for (const NamedTensor& entry : state_dict.entries()) {
    names.push_back(entry.name);
    if (entry.tensor.storage()->in_file()) continue;
    const auto bytes = entry.tensor.storage()->bytes();
    float value;
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(&value));
    names.back() += absl::StrCat("=", value);
    EXPECT_EQ(entry.flags & TensorFlags::kRequiresGrad, 0);
  }
  return names;
}

// A module with everything: a tie, a list of tensors, a helper, constants.
Value MakeNet() {
  Maker m;
  const NodeId net = m.Module("__torch__", "Net");
  const NodeId sub = m.Linear(1);
  m.Set(net, "sub", sub);
  m.Set(net, "count", m.Number(2));
  m.Set(net, "scale", m.Number(3));
  m.Set(net, "maybe", m.Number(4));
  m.Set(net, "again", sub);
  const NodeId helper = m.Module("__torch__", "Helper");
  m.Set(helper, "never", m.Number(5));
  m.Set(net, "helper", helper);
  m.Set(net, "list",
        m.b().Object(Construction::kReduce,
                     m.b().Global("torch.jit._pickle", "build_tensorlist"),
                     m.b().Tuple({m.b().List({m.Number(6), m.Number(7)})})));
  const NodeId dict = m.b().Dict();
  EXPECT_TRUE(m.b().SetItem(dict, m.b().Int(8), m.Number(8)).ok());
  m.Set(net, "dict",
        m.b().Object(Construction::kReduce,
                     m.b().Global("torch.jit._pickle", "restore_type_tag"),
                     m.b().Tuple({dict, m.b().Str("Dict[int, Tensor]")})));
  return m.Finish(net);
}

Value MakeConstants() {
  Maker m;
  return m.Finish(m.b().Tuple({m.Number(20), m.b().Int(1), m.Number(21)}));
}

TEST(ScriptTreeTest, NamesAreThoseOfTorchThenTheRest) {
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  const auto root =
      ScriptStateDict(MakeNet(), MakeConstants(), classes, warnings);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_THAT(
      NamesOf(*root),
      ElementsAre("scale=3", "count=2", "sub.weight=1", "sub.bias=1.5",
                  "again.weight=1", "again.bias=1.5", "attributes.maybe=4",
                  "attributes.helper.never=5", "attributes.list.0=6",
                  "attributes.list.1=7", "attributes.dict.8=8",
                  "constants.0=20", "constants.2=21"));
  EXPECT_EQ(root->Find("sub.weight").id(), root->Find("again.weight").id());
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(ScriptTreeTest, NamesThatAreTakenGetASuffix) {
  Maker m;
  const NodeId net = m.Module("__torch__", "Net");
  const NodeId attributes = m.Linear(1);
  m.Set(net, "attributes", attributes);
  m.Set(net, "weight", m.Number(2));
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  const auto root =
      ScriptStateDict(m.Finish(net), MakeConstants(), classes, warnings);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_THAT(
      NamesOf(*root),
      ElementsAre("attributes.weight=1", "attributes.bias=1.5",
                  "attributes.weight~2=2", "constants.0=20", "constants.2=21"));
}

TEST(ScriptTreeTest, AModuleThatContainsItselfEnds) {
  Maker m;
  const NodeId net = m.Module("__torch__", "Net");
  m.Set(net, "scale", m.Number(1));
  m.Set(net, "sub", net);
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  const auto root =
      ScriptStateDict(m.Finish(net), MakeConstants(), classes, warnings);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_THAT(NamesOf(*root),
              ElementsAre("scale=1", "constants.0=20", "constants.2=21"));
}

// 2^60 paths lead to the last of sixty modules.
TEST(ScriptTreeTest, SharingThatMultipliesNamesIsAnError) {
  Maker m;
  NodeId inner = m.Linear(1);
  for (int i = 0; i < 60; ++i) {
    const NodeId outer = m.Module("__torch__", "Net");
    m.Set(outer, "a", inner);
    m.Set(outer, "b", inner);
    inner = outer;
  }
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  ScriptTreeLimits limits;
  limits.max_names = 10'000;
  const auto root = ScriptStateDict(m.Finish(inner), MakeConstants(), classes,
                                    warnings, limits);
  EXPECT_EQ(root.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(ScriptTreeTest, AHundredThousandModulesInEachOtherAreNoRecursion) {
  Maker m;
  NodeId inner = m.Linear(1);
  for (int i = 0; i < 100'000; ++i) {
    const NodeId outer = m.Module("__torch__", "Net");
    m.Set(outer, "a", inner);
    inner = outer;
  }
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  const auto root =
      ScriptStateDict(m.Finish(inner), MakeConstants(), classes, warnings);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->size(), 4);
}

TEST(ScriptTreeTest, SaysWhatIsNoPlainTensor) {
  Maker m;
  const NodeId net = m.Module("__torch__", "Net");
  m.Set(
      net, "scale",
      m.b().Object(
          Construction::kReduce,
          m.b().Global("torch._utils", "_rebuild_qtensor"),
          m.b().Tuple({m.b().Storage(StorageOf<int8_t>({1}), DType::kInt8)})));
  ScriptClasses classes(Source);
  std::vector<std::string> warnings;
  ASSERT_TRUE(
      ScriptStateDict(m.Finish(net), MakeConstants(), classes, warnings).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("1 tensors of this Torch")));
}

std::vector<TestRecord> ArchiveRecords() {
  std::vector<TestRecord> records;
  const auto add_storages = [&](const Value& root, const std::string& folder) {
    const PickledCheckpoint pickled = WritePickle(root).value();
    for (size_t i = 0; i < pickled.storage_order.size(); ++i) {
      const auto bytes =
          root.graph()->storages()[pickled.storage_order[i]]->bytes();
      records.push_back({absl::StrCat("net/", folder, "/", i),
                         std::string(bytes.begin(), bytes.end())});
    }
    records.push_back({absl::StrCat("net/", folder, ".pkl"), pickled.pickle});
  };
  add_storages(MakeNet(), "data");
  records.push_back({"net/code/__torch__.py", kCode, true});
  records.push_back({"net/code/__torch__.py.debug_pkl", "x"});
  records.push_back({"net/code/__torch__/layers.py", kLayers, true});
  add_storages(MakeConstants(), "constants");
  records.push_back({"net/version", "3\n"});
  return records;
}

TEST(ScriptFileTest, ATorchScriptArchiveIsReadAndHasExtents) {
  const auto pt =
      OpenPt(FileFromString(TestZip(ArchiveRecords()).bytes(), "net.jit"));
  ASSERT_TRUE(pt.ok()) << pt.status();
  EXPECT_EQ(pt->format, ForeignFormat::kPt);
  EXPECT_EQ(pt->writer, "torch.jit.save (container version 3)");
  EXPECT_THAT(pt->warnings, IsEmpty());
  EXPECT_THAT(
      NamesOf(pt->root),
      ElementsAre("scale", "count", "sub.weight", "sub.bias", "again.weight",
                  "again.bias", "attributes.maybe", "attributes.helper.never",
                  "attributes.list.0", "attributes.list.1", "attributes.dict.8",
                  "constants.0", "constants.2"));
  EXPECT_EQ(pt->extents.size(), 11u);
  ExpectExtentsHold(*pt);
}

TEST(ScriptFileTest, WithoutItsCodeAllTensorsAreAttributes) {
  std::vector<TestRecord> records;
  for (TestRecord& record : ArchiveRecords()) {
    if (record.name.find("code/") == std::string::npos) {
      records.push_back(std::move(record));
    }
  }
  const auto pt = OpenPt(FileFromString(TestZip(records).bytes(), "net.jit"));
  ASSERT_TRUE(pt.ok()) << pt.status();
  EXPECT_EQ(pt->root.size(), 11);
  EXPECT_TRUE(pt->root.Find("attributes.sub.weight"));
}

TEST(ScriptFileTest, WrongSizesInEitherPickleAreFound) {
  for (const char* name : {"net/data/3", "net/constants/1"}) {
    std::vector<TestRecord> records = ArchiveRecords();
    for (TestRecord& record : records) {
      if (record.name == name) record.payload += "x";
    }
    const auto pt = OpenPt(FileFromString(TestZip(records).bytes(), "net.jit"));
    EXPECT_EQ(pt.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(pt.status().message()), HasSubstr("storage_size"));
  }
}

}  // namespace
}  // namespace penstock
