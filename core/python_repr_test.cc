#include "core/python_repr.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "core/graph_builder.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::string Repr(const std::function<NodeId(GraphBuilder&)>& make) {
  GraphBuilder b;
  const NodeId id = make(b);
  const auto value = std::move(b).Finish(id);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? PythonRepr(*value).value_or("(nothing)") : "";
}

std::string OfFloat(double value) {
  return Repr([=](GraphBuilder& b) { return b.Float(value); });
}

std::string OfStr(absl::string_view value) {
  return Repr([=](GraphBuilder& b) { return b.Str(value); });
}

// All expectations are what CPython 3.11 prints.
TEST(PythonReprTest, FloatsAreTheShortestThatReadBack) {
  EXPECT_EQ(OfFloat(0), "0.0");
  EXPECT_EQ(OfFloat(-0.0), "-0.0");
  EXPECT_EQ(OfFloat(1), "1.0");
  EXPECT_EQ(OfFloat(0.1), "0.1");
  EXPECT_EQ(OfFloat(100), "100.0");
  EXPECT_EQ(OfFloat(1e15), "1000000000000000.0");
  EXPECT_EQ(OfFloat(9999999999999998), "9999999999999998.0");
  EXPECT_EQ(OfFloat(1e16), "1e+16");
  EXPECT_EQ(OfFloat(1.5e-7), "1.5e-07");
  EXPECT_EQ(OfFloat(0.0001), "0.0001");
  EXPECT_EQ(OfFloat(0.00001), "1e-05");
  EXPECT_EQ(OfFloat(1e300), "1e+300");
  EXPECT_EQ(OfFloat(5e-324), "5e-324");
  EXPECT_EQ(OfFloat(HUGE_VAL), "inf");
  EXPECT_EQ(OfFloat(-HUGE_VAL), "-inf");
  EXPECT_EQ(OfFloat(std::nan("")), "nan");
}

TEST(PythonReprTest, StringsAreQuotedAndEscaped) {
  EXPECT_EQ(OfStr(""), "''");
  EXPECT_EQ(OfStr("it's"), "\"it's\"");
  EXPECT_EQ(OfStr("\"'"), "'\"\\''");
  EXPECT_EQ(OfStr("a\\b\n\r\t\x01\x7F"), "'a\\\\b\\n\\r\\t\\x01\\x7f'");
  EXPECT_EQ(OfStr("\xE2\x82\xAC \xF0\x9F\x98\x80"),
            "'\xE2\x82\xAC \xF0\x9F\x98\x80'");
  EXPECT_EQ(OfStr("\xC2\x85\xC2\xAD"), "'\\x85\\xad'");
  EXPECT_EQ(OfStr("\xED\xA0\x80"), "'\\ud800'");
}

TEST(PythonReprTest, OtherScalarsAndTuples) {
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.None(); }), "None");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Bool(true); }), "True");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Int(-5); }), "-5");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Complex(0, 2); }), "2j");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Complex(1.5, -2); }),
            "(1.5-2j)");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Complex(-0.0, 1); }),
            "(-0+1j)");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Bytes("a\xFF'"); }),
            "b\"a\\xff'\"");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.ByteArray("x"); }),
            "bytearray(b'x')");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Py2Str("x"); }), "'x'");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Py2Str("\xFF"); }), "b'\\xff'");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Global("torch", "float32"); }),
            "torch.float32");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Tuple(); }), "()");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Tuple({b.Int(1)}); }), "(1,)");
  EXPECT_EQ(Repr([](GraphBuilder& b) {
              return b.Tuple({b.Int(1), b.Str("a")});
            }),
            "(1, 'a')");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.Tuple({b.List()}); }),
            "(nothing)");
  EXPECT_EQ(Repr([](GraphBuilder& b) { return b.List(); }), "(nothing)");
}

TEST(PythonReprTest, BigIntsInDecimal) {
  const auto repr = [](const std::string& bytes) {
    return Repr([=](GraphBuilder& b) { return b.BigInt(bytes); });
  };
  const std::string zeros(8, '\0');
  EXPECT_EQ(repr(zeros + "\x01"), "18446744073709551616");
  EXPECT_EQ(repr(zeros + "\xFF"), "-18446744073709551616");
  EXPECT_EQ(repr(zeros + "\x40"), "1180591620717411303424");
  EXPECT_EQ(repr(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0", 9)),
            "18446744073709551615");
  // 10^27: every group of nine digits is 0.
  EXPECT_EQ(
      repr(std::string("\x00\x00\x00\xe8\x3c\x80\xd0\x9f\x3c\x2e\x3b\x03", 12)),
      "1000000000000000000000000000");
  EXPECT_EQ(repr(std::string(2000, '\x01')), "(nothing)");
}

}  // namespace
}  // namespace penstock
