#include "compat/pickle_names.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::string Text(GlobalName global) {
  return absl::StrCat(global.module, " ", global.name);
}

TEST(PickleNamesTest, RenamesBothWays) {
  const char* const kPairs[][4] = {
      {"__builtin__", "set", "builtins", "set"},
      {"__builtin__", "xrange", "builtins", "range"},
      {"__builtin__", "long", "builtins", "int"},
      {"copy_reg", "_reconstructor", "copyreg", "_reconstructor"},
      {"exceptions", "KeyError", "builtins", "KeyError"},
      {"__builtin__", "reduce", "functools", "reduce"},
      {"dbm", "open", "dbm.ndbm", "open"},
  };
  for (const auto& [module2, name2, module3, name3] : kPairs) {
    EXPECT_EQ(Text(ToPython3({module2, name2})),
              absl::StrCat(module3, " ", name3));
    EXPECT_EQ(Text(ToPython2({module3, name3})),
              absl::StrCat(module2, " ", name2));
  }
}

TEST(PickleNamesTest, SomeNamesHaveOneWayOnly) {
  EXPECT_EQ(Text(ToPython3({"cPickle", "loads"})), "pickle loads");
  EXPECT_EQ(Text(ToPython2({"pickle", "loads"})), "pickle loads");
  EXPECT_EQ(Text(ToPython2({"builtins", "TimeoutError"})),
            "exceptions OSError");
}

TEST(PickleNamesTest, LeavesTorchAlone) {
  EXPECT_EQ(Text(ToPython3({"torch._utils", "_rebuild_tensor_v2"})),
            "torch._utils _rebuild_tensor_v2");
  EXPECT_EQ(Text(ToPython2({"torch", "FloatStorage"})), "torch FloatStorage");
}

TEST(PickleNamesTest, EveryStorageClassLeadsBackToItsDtype) {
  int num_classes = 0;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    EXPECT_EQ(DTypeOfStorageClass(StorageClassName(dtype)), dtype);
    EXPECT_EQ(DTypeFromTorchName(InfoOf(dtype).name), dtype);
    if (HasStorageClass(dtype)) ++num_classes;
  }
  EXPECT_EQ(num_classes, 17);
  EXPECT_EQ(StorageClassName(DType::kFloat32), "FloatStorage");
  EXPECT_EQ(DTypeOfStorageClass("FakeStorage"), std::nullopt);
}

TEST(PickleNamesTest, KnowsTorchsAliases) {
  EXPECT_EQ(DTypeFromTorchName("half"), DType::kFloat16);
  EXPECT_EQ(DTypeFromTorchName("chalf"), DType::kComplex32);
  EXPECT_EQ(DTypeFromTorchName("Half"), std::nullopt);
}

}  // namespace
}  // namespace penstock
