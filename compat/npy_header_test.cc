#include "compat/npy_header.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::string Headed(int major, const std::string& dict) {
  std::string bytes = "\x93NUMPY";
  bytes.push_back(static_cast<char>(major));
  bytes.push_back('\0');
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) {
    bytes.push_back(static_cast<char>(dict.size() >> 8 * i));
  }
  return bytes + dict;
}

// With as many bytes behind it as anybody wants.
absl::StatusOr<NpyHeader> Parsed(const std::string& dict, int major = 1) {
  return ParseNpyHeader(Headed(major, dict), INT64_MAX);
}

std::string Dict(const std::string& descr, const std::string& shape) {
  return absl::StrCat("{'descr': ", descr,
                      ", 'fortran_order': False, 'shape': ", shape, ", }\n");
}

void ExpectRefused(const absl::StatusOr<NpyHeader>& header,
                   absl::StatusCode code, const std::string& word) {
  EXPECT_EQ(header.status().code(), code) << header.status();
  EXPECT_TRUE(absl::StrContains(header.status().message(), word))
      << header.status();
}

TEST(NpyHeaderTest, ReadsEveryDTypeInEveryByteOrder) {
  struct Case {
    const char* name;
    DType dtype;
  };
  const Case cases[] = {
      {"b1", DType::kBool},      {"u1", DType::kUInt8},
      {"i1", DType::kInt8},      {"u2", DType::kUInt16},
      {"i2", DType::kInt16},     {"u4", DType::kUInt32},
      {"i4", DType::kInt32},     {"u8", DType::kUInt64},
      {"i8", DType::kInt64},     {"f2", DType::kFloat16},
      {"f4", DType::kFloat32},   {"f8", DType::kFloat64},
      {"c8", DType::kComplex64}, {"c16", DType::kComplex128},
  };
  for (const Case& c : cases) {
    for (const std::string order : {"<", ">", "=", "|", ""}) {
      SCOPED_TRACE(order + c.name);
      const auto header =
          Parsed(Dict(absl::StrCat("'", order, c.name, "'"), "(2, 3)"));
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->dtype, c.dtype);
      EXPECT_EQ(header->big_endian,
                order == ">" && InfoOf(c.dtype).word_bytes > 1);
      EXPECT_EQ(header->data_bytes, 6 * InfoOf(c.dtype).size_bytes);
    }
  }
}

TEST(NpyHeaderTest, ReadsWhatOtherWritersMakeOfTheDict) {
  for (const std::string dict : {
           "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}",
           "{'shape':(2,3),'fortran_order':True,'descr':'<f4'}",
           "{ \"shape\" : ( 2 , 3 , ) , 'descr' : \"<f4\" ,\n\t"
           "'fortran_order' : True , }  \n",
           "{u'descr': u'<f4', 'fortran_order': True, 'shape': (2L, 3L), }",
           " \t{'descr':'<f4','fortran_order':True,'shape':(2,3),}\r\n\f",
       }) {
    for (int major : {1, 2, 3}) {
      SCOPED_TRACE(dict);
      const auto header = Parsed(dict, major);
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->dtype, DType::kFloat32);
      EXPECT_EQ(header->shape, (std::vector<int64_t>{2, 3}));
      EXPECT_EQ(header->Strides(), (std::vector<int64_t>{1, 2}));
      EXPECT_EQ(header->header_bytes,
                static_cast<int64_t>(dict.size()) + (major == 1 ? 10 : 12));
    }
  }
}

TEST(NpyHeaderTest, ReadsShapesWithoutElements) {
  EXPECT_EQ(Parsed(Dict("'<f8'", "()"))->data_bytes, 8);
  EXPECT_EQ(Parsed(Dict("'<f8'", "(5,)"))->shape, std::vector<int64_t>{5});
  EXPECT_EQ(Parsed(Dict("'<f8'", "(5, 0)"))->data_bytes, 0);
  const std::string fortran =
      "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 5)}";
  EXPECT_EQ(Parsed(fortran)->Strides(), (std::vector<int64_t>{1, 1}));
}

TEST(NpyHeaderTest, RefusesWhatIsNoDictOfTheThreeKeys) {
  const std::string rest = "'fortran_order': False, 'shape': (3,)}";
  for (const std::string& dict : {
           std::string(),
           std::string("{}"),
           std::string("{'descr': '<f4', 'fortran_order': False}"),
           std::string("{'descr': '<f4', 'shape': (3,)}"),
           "{" + rest,
           "{'descr': '<f4', 'descr': '<f4', " + rest,
           "{'extra': '<f4', 'descr': '<f4', " + rest,
           "{'descr': '<f4' " + rest,
           "{'descr', '<f4', " + rest,
           "{'descr': '<f4', " + rest + "{",
           "{'descr': '<f4', " + rest + " or 1",
           "{,'descr': '<f4', " + rest,
           "{'descr': '<f4',, " + rest,
           "{'descr': '\\x3cf4', " + rest,
           "{'descr': '<f4\n', " + rest,
           "{'descr': \"<f4', " + rest,
           "{'descr': b'<f4', " + rest,
           "{'descr': __import__('os'), " + rest,
           std::string("{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}"),
           std::string("{'descr': '<f4', 'fortran_order': true, 'shape': ()}"),
           Dict("'<f4'", "3"),
           Dict("'<f4'", "(3)"),
           Dict("'<f4'", "[3]"),
           Dict("'<f4'", "(,)"),
           Dict("'<f4'", "(3,,)"),
           Dict("'<f4'", "(3 4)"),
           Dict("'<f4'", "(03,)"),
           Dict("'<f4'", "(3.0,)"),
           Dict("'<f4'", "(-,)"),
           Dict("'<f4'", "(3, 4"),
       }) {
    SCOPED_TRACE(dict);
    ExpectRefused(Parsed(dict), absl::StatusCode::kDataLoss, "npy_header");
  }
}

TEST(NpyHeaderTest, RefusesShapesBeyondInt64) {
  for (const std::string shape :
       {"(-1,)", "(9223372036854775808,)", "(99999999999999999999999,)",
        "(4611686018427387904, 2)", "(2305843009213693952,)",
        "(4294967296, 4294967296)", "(0, 4294967296, 4294967296)"}) {
    SCOPED_TRACE(shape);
    ExpectRefused(Parsed(Dict("'<f4'", shape)), absl::StatusCode::kDataLoss,
                  "npy_shape");
  }
}

TEST(NpyHeaderTest, NamesTheDTypeThatItRefuses) {
  for (const std::string descr :
       {"'|O'", "'O'", "'<U5'", "'|S3'", "'|V2'", "'<M8[ns]'", "'<m8[D]'",
        "'<f16'", "'<c32'", "'<f3'", "''", "'<'", "'float32'",
        "[('a', '<f4'), ('b', '<i8')]", "('<f4', (2,))"}) {
    SCOPED_TRACE(descr);
    ExpectRefused(Parsed(Dict(descr, "(3,)")), absl::StatusCode::kUnimplemented,
                  "npy_dtype");
  }
  ExpectRefused(Parsed(Dict("'|O'", "()")), absl::StatusCode::kUnimplemented,
                "'|O': Python objects");
}

TEST(NpyHeaderTest, RefusesOtherVersionsAndWhatIsNoNpy) {
  const std::string good = Headed(1, Dict("'<f4'", "(3,)"));
  for (const int place : {6, 7}) {
    std::string other = good;
    other[place] = place == 6 ? 4 : 1;
    ExpectRefused(ParseNpyHeader(other, 1000), absl::StatusCode::kUnimplemented,
                  "npy_version");
  }
  ExpectRefused(ParseNpyHeader("PK\x03\x04 and so on", 1000),
                absl::StatusCode::kDataLoss, "npy_magic");
}

TEST(NpyHeaderTest, BoundsTheHeader) {
  std::string dict = Dict("'<f4'", "(3,)");
  dict.resize(kMaxNpyHeaderBytes - 12, ' ');
  EXPECT_TRUE(Parsed(dict, 2).ok());
  ExpectRefused(Parsed(dict + " ", 2), absl::StatusCode::kResourceExhausted,
                "npy_limit");
  std::string huge = Headed(3, "");
  for (int i = 8; i < 12; ++i) huge[i] = '\xFF';
  ExpectRefused(ParseNpyHeader(huge, INT64_MAX),
                absl::StatusCode::kResourceExhausted, "npy_limit");
  std::string ones = "(";
  for (int i = 0; i < 64; ++i) ones += "1, ";
  EXPECT_EQ(Parsed(Dict("'<f4'", ones + ")"))->shape.size(), 64u);
  ExpectRefused(Parsed(Dict("'<f4'", ones + "1)")),
                absl::StatusCode::kResourceExhausted, "npy_limit");
}

TEST(NpyHeaderTest, EveryTruncationIsFound) {
  const std::string npy =
      Headed(1, Dict("'<f4'", "(3,)") + std::string(300, ' ')) +
      std::string(12, 'x');
  const int64_t size = static_cast<int64_t>(npy.size());
  EXPECT_EQ(ReadNpyHeader(*FileFromString(npy, "a"), 0, size)->data_bytes, 12);
  for (int64_t end = 0; end < size; ++end) {
    SCOPED_TRACE(end);
    ExpectRefused(
        ReadNpyHeader(*FileFromString(npy.substr(0, end), "a"), 0, end),
        absl::StatusCode::kDataLoss, "npy_truncated");
  }
}

// The text is numpy 2.4's; so are the room for growth and the padding.
TEST(NpyHeaderTest, WritesWhatNumpyWrites) {
  const auto expected = [](const std::string& dict, int64_t blanks) {
    return Headed(1, dict + std::string(blanks, ' ') + "\n");
  };
  EXPECT_EQ(MakeNpyHeader(DType::kFloat32, {2, 3}),
            expected("{'descr': '<f4', 'fortran_order': False, 'shape': (2, "
                     "3), }",
                     58));
  EXPECT_EQ(
      MakeNpyHeader(DType::kBool, {}),
      expected("{'descr': '|b1', 'fortran_order': False, 'shape': (), }", 62));
  EXPECT_EQ(
      MakeNpyHeader(DType::kComplex128, {1234567}),
      expected("{'descr': '<c16', 'fortran_order': False, 'shape': (1234567,"
               "), }",
               53));
}

TEST(NpyHeaderTest, ReadsWhatItWrites) {
  const std::vector<std::vector<int64_t>> shapes = {
      {}, {0}, {7}, {2, 3}, {1, 0, 5}, std::vector<int64_t>(64, 1)};
  int num_dtypes = 0;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = static_cast<DType>(code);
    if (NpyDescrOf(dtype).empty()) continue;
    ++num_dtypes;
    for (const std::vector<int64_t>& shape : shapes) {
      const std::string bytes = MakeNpyHeader(dtype, shape);
      EXPECT_EQ(bytes.size() % 64, 0u);
      const auto header = ParseNpyHeader(bytes, INT64_MAX);
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->dtype, dtype);
      EXPECT_EQ(header->shape, shape);
      EXPECT_EQ(header->header_bytes, static_cast<int64_t>(bytes.size()));
      EXPECT_FALSE(header->big_endian || header->fortran_order);
    }
  }
  EXPECT_EQ(num_dtypes, 14);
}

}  // namespace
}  // namespace penstock
