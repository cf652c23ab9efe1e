#include "compat/global_judge.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::absl::string_view;

struct Case {
  string_view module;
  string_view name;
  ScanLevel named;
  ScanLevel called;
};

constexpr ScanLevel kAllow = ScanLevel::kAllow;
constexpr ScanLevel kUnknown = ScanLevel::kUnknown;
constexpr ScanLevel kDangerous = ScanLevel::kDangerous;

// One of each rule of docs/SCAN.md.
constexpr Case kCases[] = {
    {"torch._utils", "_rebuild_tensor_v2", kAllow, kAllow},
    {"torch.nn.modules.linear", "Linear", kAllow, kAllow},
    {"torch.nn.modules", "_LossThing", kAllow, kAllow},
    {"torch.optim.adam", "Adam", kAllow, kAllow},
    {"torch.distributed.tensor", "DTensor", kAllow, kAllow},
    {"torch.nnx", "Linear", kUnknown, kUnknown},
    {"__torch__.torch.nn", "anything", kAllow, kAllow},
    {"__torch__x", "anything", kUnknown, kUnknown},
    {"torch.nn.functional", "relu", kAllow, kDangerous},
    {"torch.nn.init", "normal_", kAllow, kDangerous},
    {"torch.nn.functional", "torch.hub", kDangerous, kDangerous},
    {"torch.nn.modules.module", "Popen", kDangerous, kDangerous},
    {"torch.distributed.checkpoint._async_process_executor",
     "_AsyncCheckpointProcess", kAllow, kDangerous},
    {"torch.hub", "load", kUnknown, kDangerous},
    {"torch.fx", "Graph", kUnknown, kUnknown},
    {"torch.fx", "GraphModule", kUnknown, kDangerous},
    {"torch.serialization", "os.system", kDangerous, kDangerous},
    {"torch.serialization", "pickle.loads", kDangerous, kDangerous},
    {"torch", "_C._jit_set_texpr_fuser_enabled", kDangerous, kDangerous},
    {"torch._C", "_VariableFunctionsClass.relu", kAllow, kDangerous},
    {"torch.optim.lr_scheduler", "CyclicLR._scale", kUnknown, kDangerous},
    {"torch", "UntypedStorage.from_file", kDangerous, kDangerous},
    {"torch.nn", "Linear.__init__.__globals__", kDangerous, kDangerous},
    {"numpy", "load", kUnknown, kDangerous},
    {"numpy", "ndarray.tofile", kDangerous, kDangerous},
    {"numpy.random.bit_generator", "__pyx_unpickle_SeedSequence", kAllow,
     kAllow},
    {"pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked", kUnknown, kUnknown},
    {"numpy", "__pyx_unpickle_X", kUnknown, kUnknown},
    {"numpy", "__pyx_unpickle_X.system", kDangerous, kDangerous},
    {"os", "system", kDangerous, kDangerous},
    {"os.path", "join", kDangerous, kDangerous},
    {"posixpath", "join", kDangerous, kDangerous},
    {"_pyrepl.pager", "pipe_pager", kDangerous, kDangerous},
    {"builtins", "eval", kDangerous, kDangerous},
    {"builtins", "max", kUnknown, kDangerous},
    {"builtins", "ValueError", kUnknown, kUnknown},
    {"builtins", "list", kAllow, kAllow},
    {"_operator", "or_", kUnknown, kUnknown},
    {"operator", "attrgetter", kDangerous, kDangerous},
    {"pathlib", "PosixPath", kAllow, kAllow},
    {"pathlib", "Path.unlink", kDangerous, kDangerous},
    {"pip", "main", kUnknown, kDangerous},
    {"pip._internal", "Thing", kUnknown, kDangerous},
    {"joblib.numpy_pickle", "NumpyArrayWrapper", kUnknown, kUnknown},
    {"pandas", "read_csv", kDangerous, kDangerous},
    {"pandas.core.frame", "DataFrame", kUnknown, kUnknown},
    {"sklearn.svm._classes", "SVC", kUnknown, kUnknown},
    {"models.yolo", "Model", kUnknown, kUnknown},
    {"models", "Net.Inner", kUnknown, kUnknown},
    {"models", "os.system", kDangerous, kDangerous},
    {"models", "Net.run.__globals__", kDangerous, kDangerous},
    {"models", "eval", kDangerous, kDangerous},
    {"models", "os", kDangerous, kDangerous},
    {"transformers.models.bert.modeling_bert", "BertModel", kUnknown, kUnknown},
    {"", "x", kDangerous, kDangerous},
    {"os ", "system", kDangerous, kDangerous},
    {"models\r", "x", kDangerous, kDangerous},
    {"models", ".x", kDangerous, kDangerous},
    {"models", "a..b", kDangerous, kDangerous},
    {"models", "\xff", kDangerous, kDangerous},
    // Python does not normalise what it imports: another module.
    {"\xef\xbd\x8f\xef\xbd\x93", "system", kDangerous, kDangerous},
    {"\xd0\xbe"
     "s",
     "run", kUnknown, kUnknown},
};

TEST(GlobalJudgeTest, EveryRuleHasItsLevel) {
  for (const Case& one : kCases) {
    SCOPED_TRACE(absl::StrCat(one.module, " ", one.name));
    EXPECT_EQ(NameOf(JudgeGlobal(one.module, one.name, false).level),
              NameOf(one.named));
    EXPECT_EQ(NameOf(JudgeGlobal(one.module, one.name, true).level),
              NameOf(one.called));
  }
}

TEST(GlobalJudgeTest, WhatIsNotAllowedHasAReason) {
  for (const Case& one : kCases) {
    for (const bool called : {false, true}) {
      const Judgement judged = JudgeGlobal(one.module, one.name, called);
      EXPECT_EQ(judged.level == kAllow, judged.reason.empty()) << one.name;
    }
  }
}

TEST(GlobalJudgeTest, ANameOfAThousandBytesIsStillOne) {
  const std::string longest(1024, 'a');
  EXPECT_EQ(JudgeGlobal("models", longest, false).level, kUnknown);
  EXPECT_EQ(JudgeGlobal("models", longest + "a", false).level, kDangerous);
}

TEST(GlobalJudgeTest, AttributesOfAllowedClassesAreJudgedByModuleAndName) {
  EXPECT_EQ(JudgeAttribute("torch._C", "relu").level, kAllow);
  EXPECT_EQ(JudgeAttribute("torch.nn", "_private").level, kUnknown);
  EXPECT_EQ(JudgeAttribute("torch", "from_file").level, kDangerous);
  EXPECT_EQ(JudgeAttribute("torch.nn", "__globals__").level, kDangerous);
  EXPECT_EQ(JudgeAttribute("torch.nn", "os").level, kDangerous);
  EXPECT_EQ(JudgeAttribute("numpy", "mean").level, kUnknown);
  EXPECT_EQ(JudgeAttribute("pathlib", "unlink").level, kDangerous);
}

}  // namespace
}  // namespace penstock
