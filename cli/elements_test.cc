#include "cli/elements.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "core/graph_tables.h"
#include "core/storage.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

Tensor TensorOf(DType dtype, const std::string& bytes,
                std::vector<int64_t> shape, std::vector<int64_t> strides = {},
                int64_t offset = 0) {
  auto storage = Storage::Allocate(bytes.size()).value();
  std::memcpy(storage->mutable_bytes().data(), bytes.data(), bytes.size());
  return Tensor::Make(storage, dtype, std::move(shape), std::move(strides),
                      offset)
      .value();
}

template <typename T>
std::string Text(DType dtype, T value) {
  uint8_t bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  return ElementText(dtype, bytes);
}

TEST(ElementTextTest, IsPythons) {
  EXPECT_EQ(Text(DType::kBool, uint8_t{1}), "True");
  EXPECT_EQ(Text(DType::kInt8, int8_t{-128}), "-128");
  EXPECT_EQ(Text(DType::kInt64, INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(Text(DType::kUInt64, UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(Text(DType::kQInt32, int32_t{-5}), "-5");
  EXPECT_EQ(Text(DType::kBits16, uint16_t{65535}), "65535");
  EXPECT_EQ(Text(DType::kFloat64, 0.1), "0.1");
  EXPECT_EQ(Text(DType::kFloat64, 1e16), "1e+16");
  EXPECT_EQ(Text(DType::kFloat64, 1234567890123456.0), "1234567890123456.0");
  EXPECT_EQ(Text(DType::kFloat64, -0.0001), "-0.0001");
  EXPECT_EQ(Text(DType::kFloat64, 0.00001), "1e-05");
  EXPECT_EQ(Text(DType::kFloat64, -0.0), "-0.0");
  EXPECT_EQ(Text(DType::kFloat64, 123.25), "123.25");
  EXPECT_EQ(Text(DType::kFloat32, 0.1f), "0.1");
  EXPECT_EQ(Text(DType::kFloat32, 100.0f), "100.0");
  EXPECT_EQ(Text(DType::kFloat32, -INFINITY), "-inf");
  EXPECT_EQ(Text(DType::kFloat32, NAN), "nan");
  const float complex[] = {1.5f, -2.0f};
  uint8_t bytes[8];
  std::memcpy(bytes, complex, 8);
  EXPECT_EQ(ElementText(DType::kComplex64, bytes), "1.5-2.0j");
  EXPECT_EQ(ElementJson(DType::kComplex64, bytes), "[1.5, -2.0]");
}

// Values by hand from IEEE 754, OFP8 and the FNUZ paper (arXiv:2206.02915).
TEST(ElementTextTest, KnowsSmallFloats) {
  EXPECT_EQ(Text(DType::kFloat16, uint16_t{0x2E66}), "0.1");
  EXPECT_EQ(Text(DType::kFloat16, uint16_t{0x7BFF}), "65504.0");
  EXPECT_EQ(Text(DType::kFloat16, uint16_t{0x0001}), "6e-08");
  EXPECT_EQ(Text(DType::kFloat16, uint16_t{0x7C00}), "inf");
  EXPECT_EQ(Text(DType::kFloat16, uint16_t{0x7E00}), "nan");
  EXPECT_EQ(Text(DType::kBFloat16, uint16_t{0x3DCD}), "0.1");
  EXPECT_EQ(Text(DType::kBFloat16, uint16_t{0xFF80}), "-inf");
  EXPECT_EQ(Text(DType::kBFloat16, uint16_t{0x0001}), "9e-41");
  EXPECT_EQ(Text(DType::kFloat8E4M3FN, uint8_t{0x7E}), "448.0");
  EXPECT_EQ(Text(DType::kFloat8E4M3FN, uint8_t{0xFF}), "nan");
  EXPECT_EQ(Text(DType::kFloat8E4M3FN, uint8_t{0x80}), "-0.0");
  EXPECT_EQ(Text(DType::kFloat8E5M2, uint8_t{0x7C}), "inf");
  EXPECT_EQ(Text(DType::kFloat8E4M3FNUZ, uint8_t{0x80}), "nan");
  EXPECT_EQ(Text(DType::kFloat8E4M3FNUZ, uint8_t{0x40}), "1.0");
  EXPECT_EQ(Text(DType::kFloat8E5M2FNUZ, uint8_t{0x40}), "1.0");
  EXPECT_EQ(Text(DType::kFloat8E8M0FNU, uint8_t{127}), "1.0");
  EXPECT_EQ(Text(DType::kFloat8E8M0FNU, uint8_t{137}), "1024.0");
  EXPECT_EQ(Text(DType::kFloat8E8M0FNU, uint8_t{0}), "5.877472e-39");
  EXPECT_EQ(Text(DType::kFloat8E8M0FNU, uint8_t{0xFF}), "nan");
}

// The text of every element stands for it alone, but NaN's.
TEST(ElementTextTest, TellsEveryTwoSmallFloatsApart) {
  for (const DType dtype :
       {DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3FN,
        DType::kFloat8E5M2, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2FNUZ,
        DType::kFloat8E8M0FNU}) {
    SCOPED_TRACE(InfoOf(dtype).name);
    const int size = InfoOf(dtype).size_bytes;
    std::set<std::string> texts;
    int num_nan = 0;
    for (int bits = 0; bits < 1 << (8 * size); ++bits) {
      const uint8_t bytes[] = {static_cast<uint8_t>(bits),
                               static_cast<uint8_t>(bits >> 8)};
      const std::string text = ElementText(dtype, bytes);
      double value;
      ASSERT_TRUE(absl::SimpleAtod(text, &value)) << text;
      if (text == "nan") {
        ++num_nan;
      } else {
        EXPECT_TRUE(texts.insert(text).second) << text;
      }
    }
    EXPECT_EQ(static_cast<int>(texts.size()) + num_nan, 1 << (8 * size));
  }
}

TEST(ElementTextTest, JsonHasNoBareNaN) {
  const uint16_t words[] = {0x7C00, 0xFC00, 0x7E00, 0x3C00};
  const char* const expected[] = {"\"Infinity\"", "\"-Infinity\"", "\"NaN\"",
                                  "1.0"};
  for (int i = 0; i < 4; ++i) {
    uint8_t bytes[2];
    std::memcpy(bytes, &words[i], 2);
    EXPECT_EQ(ElementJson(DType::kFloat16, bytes), expected[i]);
  }
  const uint8_t no = 0;
  EXPECT_EQ(ElementJson(DType::kBool, &no), "false");
}

TEST(ElementsTest, AreInCOrder) {
  const auto elements =
      ElementsOf(TensorOf(DType::kUInt8, "abcdefg", {2, 3}, {1, 2}, 1), 0);
  ASSERT_TRUE(elements.ok()) << elements.status();
  EXPECT_EQ(std::string(elements->bytes.begin(), elements->bytes.end()),
            "bdfceg");
}

TEST(ElementsTest, UnpackLowestBitsFirst) {
  const auto twos =
      ElementsOf(TensorOf(DType::kQUInt4x2, "\x21\x43", {3}, {1}, 1), 0);
  EXPECT_EQ(twos->bytes, (std::vector<uint8_t>{2, 3, 4}));
  const auto fours = ElementsOf(TensorOf(DType::kQUInt2x4, "\xE4", {2, 2}), 0);
  EXPECT_EQ(fours->bytes, (std::vector<uint8_t>{0, 1, 2, 3}));
}

TEST(ElementsTest, ResolveFlags) {
  const float numbers[] = {1, 2, -3, 4};
  const std::string bytes(reinterpret_cast<const char*>(numbers), 16);
  const auto values = [&](DType dtype, int64_t size, uint8_t flags) {
    const auto elements = ElementsOf(TensorOf(dtype, bytes, {size}), flags);
    std::vector<float> result(4);
    std::memcpy(result.data(), elements->bytes.data(), 16);
    return result;
  };
  EXPECT_EQ(values(DType::kComplex64, 2, TensorFlags::kConjugated),
            (std::vector<float>{1, -2, -3, -4}));
  EXPECT_EQ(values(DType::kFloat32, 4, TensorFlags::kNegated),
            (std::vector<float>{-1, -2, 3, -4}));
  EXPECT_EQ(values(DType::kFloat32, 4, TensorFlags::kRequiresGrad),
            (std::vector<float>{1, 2, -3, 4}));
}

TEST(ElementsTest, CastToWhatNumpyHas) {
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = static_cast<DType>(code);
    SCOPED_TRACE(InfoOf(dtype).name);
    for (const DType to : {NumpyDTypeOf(dtype), RawNumpyDTypeOf(dtype)}) {
      const std::string bytes(InfoOf(dtype).size_bytes, '\0');
      const Tensor tensor = TensorOf(dtype, bytes, {1});
      const Elements cast = InDType(*ElementsOf(tensor, 0), to);
      EXPECT_EQ(cast.dtype, to);
      EXPECT_EQ(cast.element_bytes, InfoOf(to).size_bytes);
      EXPECT_EQ(static_cast<int>(cast.bytes.size()), cast.element_bytes);
      EXPECT_EQ(NumpyDTypeOf(to), to);
    }
  }
  EXPECT_EQ(NumpyDTypeOf(DType::kBFloat16), DType::kFloat32);
  EXPECT_EQ(RawNumpyDTypeOf(DType::kBFloat16), DType::kUInt16);
  EXPECT_EQ(NumpyDTypeOf(DType::kFloat8E5M2), DType::kFloat32);
  EXPECT_EQ(RawNumpyDTypeOf(DType::kFloat8E5M2), DType::kUInt8);
  EXPECT_EQ(NumpyDTypeOf(DType::kQUInt8), DType::kUInt8);
  EXPECT_EQ(NumpyDTypeOf(DType::kQInt32), DType::kInt32);
  EXPECT_EQ(NumpyDTypeOf(DType::kComplex32), DType::kComplex64);
  const Elements cast = InDType(
      *ElementsOf(TensorOf(DType::kBFloat16, "\x80\x3F\x40\xC0", {2}), 0),
      DType::kFloat32);
  float values[2];
  std::memcpy(values, cast.bytes.data(), 8);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -3.0f);
}

}  // namespace
}  // namespace penstock
