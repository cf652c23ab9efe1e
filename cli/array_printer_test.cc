#include "cli/array_printer.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace penstock {
namespace {

// 0, 1, 2... as int16.
Elements Counted(std::vector<int64_t> shape) {
  Elements elements;
  elements.dtype = DType::kInt16;
  elements.element_bytes = 2;
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  elements.shape = std::move(shape);
  for (int64_t i = 0; i < count; ++i) {
    elements.bytes.push_back(static_cast<uint8_t>(i));
    elements.bytes.push_back(static_cast<uint8_t>(i >> 8));
  }
  return elements;
}

std::string Printed(const Elements& elements, const ArrayStyle& style = {}) {
  std::FILE* const file = std::tmpfile();
  PrintArray(elements, style, file);
  std::string text(std::ftell(file), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

ArrayStyle Json() {
  ArrayStyle style;
  style.syntax = ArrayStyle::kJson;
  return style;
}

TEST(PrintArrayTest, BracketsAreNumpys) {
  EXPECT_EQ(Printed(Counted({})), "0");
  EXPECT_EQ(Printed(Counted({0})), "[]");
  EXPECT_EQ(Printed(Counted({3})), "[0 1 2]");
  EXPECT_EQ(Printed(Counted({2, 6})),
            "[[ 0  1  2  3  4  5]\n [ 6  7  8  9 10 11]]");
  EXPECT_EQ(Printed(Counted({2, 2, 1})), "[[[0]\n  [1]]\n\n [[2]\n  [3]]]");
}

TEST(PrintArrayTest, LongRowsAreWrapped) {
  // Digits and blanks of 25 numbers of two digits make 75 columns.
  const std::string text = Printed(Counted({40}));
  EXPECT_EQ(text.find('\n'), 75u);
  EXPECT_EQ(text.substr(72, 10), " 24\n 25 26");
}

TEST(PrintArrayTest, CutDimensionsShowTheirGap) {
  ArrayStyle cut;
  cut.cut_dims = 1;
  EXPECT_EQ(Printed(Counted({6}), cut), "[0 1 2 ... 3 4 5]");
  EXPECT_EQ(Printed(Counted({6, 1}), cut),
            "[[0]\n [1]\n [2]\n ...\n [3]\n [4]\n [5]]");
  cut.cut_dims = 2;
  EXPECT_EQ(Printed(Counted({1, 6}), cut), "[[0 1 2 ... 3 4 5]]");
  EXPECT_EQ(Printed(Counted({1, 6, 1}), cut),
            "[[[0]\n  [1]\n  [2]\n  ...\n  [3]\n  [4]\n  [5]]]");
}

TEST(PrintArrayTest, JsonIsJson) {
  EXPECT_EQ(Printed(Counted({}), Json()), "0");
  EXPECT_EQ(Printed(Counted({2, 0}), Json()), "[[],\n     []]");
  EXPECT_EQ(Printed(Counted({2, 2}), Json()), "[[0, 1],\n     [2, 3]]");
}

}  // namespace
}  // namespace penstock
