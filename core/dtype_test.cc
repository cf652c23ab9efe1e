#include "core/dtype.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(DTypeTest, EveryCodeAndNameLeadsBackToItself) {
  std::set<std::string> names;
  for (int code = 0; code < kNumDTypes; ++code) {
    SCOPED_TRACE(code);
    const std::optional<DType> dtype = DTypeFromCode(code);
    ASSERT_TRUE(dtype.has_value());
    EXPECT_EQ(static_cast<int>(*dtype), code);
    EXPECT_EQ(DTypeFromName(InfoOf(*dtype).name), dtype);
    names.insert(std::string(InfoOf(*dtype).name));
  }
  EXPECT_EQ(names.size(), kNumDTypes);
}

// Spelled out: a row moved in the table would change what old files mean.
TEST(DTypeTest, NamesStandAtTheirFrozenCodes) {
  const auto name = [](int code) {
    return std::string(InfoOf(*DTypeFromCode(code)).name);
  };
  EXPECT_EQ(name(0), "bool");
  EXPECT_EQ(name(8), "int64");
  EXPECT_EQ(name(9), "float16");
  EXPECT_EQ(name(10), "bfloat16");
  EXPECT_EQ(name(11), "float32");
  EXPECT_EQ(name(15), "complex128");
  EXPECT_EQ(name(16), "float8_e4m3fn");
  EXPECT_EQ(name(20), "float8_e8m0fnu");
  EXPECT_EQ(name(21), "float4_e2m1fn_x2");
  EXPECT_EQ(name(25), "quint4x2");
  EXPECT_EQ(name(26), "quint2x4");
  EXPECT_EQ(name(31), "bits16");
  EXPECT_EQ(name(32), "int1");
  EXPECT_EQ(name(45), "uint7");
}

TEST(DTypeTest, UnknownNamesAndCodesAreNothing) {
  for (const char* name : {"", "float", "half", "Float32", "float32 ",
                           "torch.float32", "float128"}) {
    EXPECT_EQ(DTypeFromName(name), std::nullopt) << name;
  }
  for (const int64_t code :
       {int64_t{-1}, int64_t{kNumDTypes}, int64_t{256}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(DTypeFromCode(code), std::nullopt) << code;
  }
}

TEST(DTypeTest, ComplexNumbersAreTwoWords) {
  for (int code = 0; code < kNumDTypes; ++code) {
    const DTypeInfo& info = InfoOf(*DTypeFromCode(code));
    const bool is_complex = info.name.substr(0, 7) == "complex";
    EXPECT_EQ(info.size_bytes, info.word_bytes * (is_complex ? 2 : 1))
        << info.name;
  }
}

TEST(BytesForTest, RoundsPackedValuesUp) {
  EXPECT_EQ(BytesFor(DType::kFloat64, 3), 24);
  EXPECT_EQ(BytesFor(DType::kQUInt4x2, 0), 0);
  EXPECT_EQ(BytesFor(DType::kQUInt4x2, 1), 1);
  EXPECT_EQ(BytesFor(DType::kQUInt4x2, 5), 3);
  EXPECT_EQ(BytesFor(DType::kQUInt2x4, 4), 1);
  EXPECT_EQ(BytesFor(DType::kQUInt2x4, 5), 2);
  EXPECT_EQ(BytesFor(DType::kFloat4E2M1FNx2, 5), 5);
}

TEST(BytesForTest, IsNothingOnOverflow) {
  EXPECT_EQ(BytesFor(DType::kFloat32, -1), std::nullopt);
  EXPECT_EQ(BytesFor(DType::kUInt8, INT64_MAX), INT64_MAX);
  EXPECT_EQ(BytesFor(DType::kQUInt4x2, INT64_MAX), (int64_t{1} << 62));
  EXPECT_EQ(BytesFor(DType::kInt16, int64_t{1} << 62), std::nullopt);
  EXPECT_EQ(BytesFor(DType::kComplex128, (int64_t{1} << 59) - 1),
            INT64_MAX - 15);
  EXPECT_EQ(BytesFor(DType::kComplex128, int64_t{1} << 59), std::nullopt);
}

}  // namespace
}  // namespace penstock
