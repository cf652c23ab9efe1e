#include "compat/safetensors_header.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Hand-written headers use ' for ".
std::string Quoted(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"'", "\""}});
}

// A header with one F32 of one element whose fields are `fields`.
std::string One(absl::string_view fields) {
  return Quoted(absl::StrCat("{'a':{", fields, "}}"));
}

constexpr absl::string_view kFields =
    "'dtype':'F32','shape':[1],'data_offsets':[0,4]";

std::string Plain() { return One(kFields); }

absl::Status StatusOf(absl::string_view json, int64_t data_bytes = 4) {
  return ParseSafetensorsHeader(json, data_bytes).status();
}

std::string Shape(absl::string_view dtype, absl::string_view shape,
                  int64_t bytes) {
  return One(absl::StrCat("'dtype':'", dtype, "','shape':[", shape,
                          "],'data_offsets':[0,", bytes, "]"));
}

// Every text below was given to safetensors 0.8.0, which refuses it.
TEST(SafetensorsHeaderTest, RefusesWhatSafetensorsRefuses) {
  const std::string plain = Plain();
  const std::vector<std::string> texts = {
      "",
      "[]",
      "null",
      Quoted("['F32']"),
      absl::StrCat(plain, std::string(2, '\0')),
      absl::StrCat(plain, " x"),
      absl::StrCat("\xEF\xBB\xBF", plain),
      Quoted("{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},}"),
      absl::StrCat("{/*x*/", plain.substr(1)),
      absl::StrReplaceAll(plain, {{"\"a\"", "\"a\\ud800\""}}),
      absl::StrReplaceAll(plain, {{"\"a\"", "\"a\\udc00\""}}),
      absl::StrReplaceAll(plain, {{"\"a\"", "\"a\xED\xA0\x80\""}}),
      absl::StrReplaceAll(plain, {{"\"a\"", "\"a\xFF\""}}),
      absl::StrReplaceAll(plain, {{"\"a\"", "\"a\x01\""}}),
      One(absl::StrCat("'x':'\\ud800',", kFields)),
      One(absl::StrCat("'\\ud800':1,", kFields)),
      One(absl::StrCat("'x':1e999,", kFields)),
      One(absl::StrCat("'x':NaN,", kFields)),
      One(absl::StrCat("'dtype':'F32',", kFields)),
      One(absl::StrCat("'shape':[1],", kFields)),
      One(absl::StrCat("'data_offsets':[0,4],", kFields)),
      One("'shape':[1],'data_offsets':[0,4]"),
      One("'dtype':'F32','data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[1]"),
      One("'dtype':1,'shape':[1],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[1.0],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[1e0],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[01],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[-1],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':['1'],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':null,'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':1,'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[[1]],'data_offsets':[0,4]"),
      One("'dtype':'F32','shape':[1],'data_offsets':[0]"),
      One("'dtype':'F32','shape':[1],'data_offsets':[0,4,4]"),
      One("'dtype':'F32','shape':[1],'data_offsets':[4,0]"),
      One("'dtype':'F32','shape':[1],'data_offsets':{'0':0,'1':4}"),
      Quoted("{'a':null}"),
      Quoted("{'a':1}"),
      Quoted("{'__metadata__':{},'__metadata__':{}}"),
      Quoted("{'__metadata__':null,'__metadata__':{}}"),
      Quoted("{'__metadata__':{'a':1}}"),
      Quoted("{'__metadata__':{'a':null}}"),
      Quoted("{'__metadata__':'a'}"),
      Quoted("{'__metadata__':[]}"),
      Quoted("{'__metadata__':{'dtype':'F32','shape':[1],"
             "'data_offsets':[0,4]}}"),
  };
  for (const std::string& text : texts) {
    const absl::Status status = StatusOf(text);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_TRUE(absl::StartsWith(status.message(), "safetensors_")) << status;
  }
}

TEST(SafetensorsHeaderTest, RefusesNegativeZeroAsASize) {
  EXPECT_FALSE(
      StatusOf(One("'dtype':'F32','shape':[-0],'data_offsets':[0,0]"), 0).ok());
}

// safetensors takes the last of two, and has no use for the rest.
TEST(SafetensorsHeaderTest, RefusesWhatHasTwoMeanings) {
  const std::string a(Plain().substr(1, Plain().size() - 2));
  for (const std::string& text :
       {absl::StrCat("{", a, ",", a, "}"),
        absl::StrCat("{", a, ",",
                     absl::StrReplaceAll(a, {{"\"a\"", "\"\\u0061\""}}), "}"),
        absl::StrReplaceAll(Plain(), {{"\"a\"", "\"a\\u0000\""}}),
        Quoted("{'__metadata__':{'a':'b','a':'c'},") + a + "}",
        Quoted("{'a':['F32',[1],[0,4]]}"),
        One("'dtype':{'F32':null},'shape':[1],'data_offsets':[0,4]")}) {
    EXPECT_EQ(StatusOf(text).code(), absl::StatusCode::kDataLoss) << text;
  }
}

TEST(SafetensorsHeaderTest, AcceptsWhatSafetensorsAccepts) {
  const std::string plain = Plain();
  for (const std::string& text :
       {plain, absl::StrCat("\n\t\r ", plain), absl::StrCat(plain, "\n\r\t "),
        One(absl::StrCat("'x':[1,{'y':null}],", kFields, ",'z':1e5")),
        One(absl::StrCat("'x':1,'x':2,'w':-0,'v':'s','u':true,", kFields)),
        One("'data_offsets':[0,4],'shape':[1],'dtype':'F32'"),
        Quoted("{'__metadata__':null,") + plain.substr(1),
        Quoted("{'__metadata__':{},") + plain.substr(1),
        absl::StrReplaceAll(plain, {{"\"a\"", "\"\""}}),
        absl::StrReplaceAll(plain, {{"\"a\"", "\"\x7f/../\\ud83d\\ude00\""}}),
        Quoted("{'\\u0061':{'d\\u0074ype':'F\\u0033\\u0032','shape':[1],"
               "'data_offsets':[0,4]}}")}) {
    EXPECT_TRUE(StatusOf(text).ok()) << text << "\n" << StatusOf(text);
  }
  EXPECT_TRUE(StatusOf("{}", 0).ok());
}

TEST(SafetensorsHeaderTest, CountsLevelsAsSerdeDoes) {
  const auto nested = [](int depth) {
    return One(absl::StrCat("'x':", std::string(depth, '['),
                            std::string(depth, ']'), ",", kFields));
  };
  EXPECT_TRUE(StatusOf(nested(125)).ok());
  EXPECT_FALSE(StatusOf(nested(126)).ok());
  EXPECT_FALSE(StatusOf(nested(1'000'000)).ok());
}

TEST(SafetensorsHeaderTest, RefusesHolesOverlapsAndOtherSizes) {
  const auto two = [](absl::string_view first, absl::string_view second) {
    return Quoted(absl::StrCat(
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[", first,
        "]},'b':{'dtype':'F32','shape':[1],'data_offsets':[", second, "]}}"));
  };
  EXPECT_TRUE(StatusOf(two("0,4", "4,8"), 8).ok());
  EXPECT_TRUE(StatusOf(two("4,8", "0,4"), 8).ok());
  EXPECT_FALSE(StatusOf(two("0,4", "4,8"), 9).ok());
  EXPECT_FALSE(StatusOf(two("0,4", "4,8"), 7).ok());
  EXPECT_FALSE(StatusOf(two("0,4", "5,9"), 9).ok());
  EXPECT_FALSE(StatusOf(two("0,4", "3,7"), 7).ok());
  EXPECT_FALSE(StatusOf(two("0,4", "0,4"), 4).ok());
  EXPECT_FALSE(StatusOf(two("1,5", "5,9"), 9).ok());
  EXPECT_FALSE(StatusOf(Shape("F32", "2", 4)).ok());
  EXPECT_FALSE(StatusOf(Shape("F32", "", 0), 0).ok());
  EXPECT_FALSE(StatusOf(Shape("F32", "9223372036854775807,4", 4)).ok());
}

TEST(SafetensorsHeaderTest, EmptyTensorsLieOnABoundary) {
  const auto with_empty = [](int64_t at) {
    return Quoted(absl::StrCat(
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'z':{'dtype':"
        "'F32','shape':[0],'data_offsets':[",
        at, ",", at, "]}}"));
  };
  EXPECT_TRUE(StatusOf(with_empty(0)).ok());
  EXPECT_TRUE(StatusOf(with_empty(4)).ok());
  for (const int64_t at : {1, 2, 3, 5, 9}) {
    EXPECT_FALSE(StatusOf(with_empty(at)).ok()) << at;
  }
}

TEST(SafetensorsHeaderTest, RefusesOverflowEvenBeforeAZero) {
  EXPECT_FALSE(StatusOf(Shape("F32", "9223372036854775807,2,0", 0), 0).ok());
  EXPECT_FALSE(StatusOf(Shape("F32", "0,9223372036854775808", 0), 0).ok());
  EXPECT_FALSE(StatusOf(Shape("F32", "0,18446744073709551616", 0), 0).ok());
  EXPECT_TRUE(StatusOf(Shape("F32", "0,4611686018427387904,4", 0), 0).ok());
}

TEST(SafetensorsHeaderTest, NamesDTypesThatTorchDoesNotHave) {
  for (const absl::string_view dtype : {"F6_E2M3", "F6_E3M2", "f32", "X"}) {
    const absl::Status status = StatusOf(Shape(dtype, "4", 3), 3);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << dtype;
    EXPECT_TRUE(absl::StrContains(status.message(), dtype));
  }
}

TEST(SafetensorsHeaderTest, F4CountsNibbles) {
  const auto header = ParseSafetensorsHeader(Shape("F4", "2,4", 4), 4);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors[0].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(StatusOf(Shape("F4", "8,1", 4)).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(StatusOf(Shape("F4", "1", 1), 1).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(StatusOf(Shape("F4", "", 1), 1).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_TRUE(StatusOf(Shape("F4", "3,0", 0), 0).ok());
}

TEST(SafetensorsHeaderTest, TakesAsManyDimensionsAsTensorsHave) {
  std::string shape = "1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  EXPECT_TRUE(StatusOf(Shape("F32", shape, 4)).ok());
  EXPECT_EQ(StatusOf(Shape("F32", shape + ",1", 4)).code(),
            absl::StatusCode::kUnimplemented);
}

TEST(SafetensorsHeaderTest, TensorsComeInTheOrderOfTheirBytes) {
  const auto header = ParseSafetensorsHeader(
      Quoted("{'z':{'dtype':'U8','shape':[1],'data_offsets':[1,2]},"
             "'b':{'dtype':'U8','shape':[0],'data_offsets':[1,1]},"
             "'a':{'dtype':'U8','shape':[0],'data_offsets':[1,1]},"
             "'__metadata__':{'k':'v','format':'pt'},"
             "'y':{'dtype':'BOOL','shape':[],'data_offsets':[0,1]}}"),
      2);
  ASSERT_TRUE(header.ok()) << header.status();
  std::string names;
  for (const SafetensorsEntry& entry : header->tensors) names += entry.name;
  EXPECT_EQ(names, "ybaz");
  EXPECT_EQ(header->metadata, (StringPairs{{"k", "v"}, {"format", "pt"}}));
}

std::string File(uint64_t length, absl::string_view rest) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(length >> (8 * i) & 0xFF);
  return absl::StrCat(file, rest);
}

TEST(SafetensorsHeaderTest, BoundsTheLengthBeforeItReads) {
  const std::string json = Plain();
  const auto status_of = [](const std::string& file) {
    return ReadSafetensorsHeader(*FileFromString(file, "m")).status();
  };
  EXPECT_TRUE(status_of(File(json.size(), json + "1234")).ok());
  for (const uint64_t length :
       {uint64_t{json.size() + 5}, uint64_t{100'000'001}, uint64_t{1} << 63,
        ~uint64_t{0}, uint64_t{0}}) {
    EXPECT_EQ(status_of(File(length, json + "1234")).code(),
              absl::StatusCode::kDataLoss)
        << length;
  }
  for (int size = 0; size < 8; ++size) {
    EXPECT_EQ(status_of(std::string(size, '\0')).code(),
              absl::StatusCode::kDataLoss);
  }
}

// What safetensors.torch.save_file 0.8.0 wrote for these tensors.
TEST(SafetensorsHeaderTest, WritesTheBytesOfSafetensors) {
  const auto header = FormatSafetensorsHeader(
      {{"a\n\"\\\x1f\x7f\xc3\xa9", DType::kBFloat16, {2, 1}, 0, 4},
       {"s", DType::kBool, {}, 4, 5},
       {"f", DType::kFloat4E2M1FNx2, {2, 2}, 5, 9}},
      {{"format", "pt"}});
  ASSERT_TRUE(header.ok());
  std::string json =
      "{\"__metadata__\":{\"format\":\"pt\"},\"a\\n\\\"\\\\\\u001f\x7f\xc3\xa9"
      "\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[0,4]},\"s\":{"
      "\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[4,5]},\"f\":{"
      "\"dtype\":\"F4\",\"shape\":[2,4],\"data_offsets\":[5,9]}}";
  while (json.size() % 8 != 0) json.push_back(' ');
  EXPECT_EQ(*header, File(json.size(), json));
  const auto empty = FormatSafetensorsHeader({}, {});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(*empty, File(8, "{}      "));
}

TEST(SafetensorsHeaderTest, RefusesToWriteAHeaderThatNobodyReads) {
  const std::string long_name(kMaxSafetensorsHeaderBytes, 'n');
  EXPECT_EQ(FormatSafetensorsHeader({{long_name, DType::kBool, {}, 0, 1}}, {})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsHeaderTest, ReadsAHundredThousandTensorsBack) {
  std::vector<SafetensorsEntry> entries;
  for (int64_t i = 0; i < 100'000; ++i) {
    entries.push_back({absl::StrCat("model.layers.", i, ".weight"),
                       DType::kFloat32,
                       {2, 1},
                       8 * i,
                       8 * i + 8});
  }
  const auto text = FormatSafetensorsHeader(entries, {{"format", "pt"}});
  ASSERT_TRUE(text.ok());
  const auto header = ParseSafetensorsHeader(text->substr(8), 800'000);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), entries.size());
  EXPECT_EQ(header->tensors[77'777].name, entries[77'777].name);
  EXPECT_EQ(header->tensors[77'777].begin, entries[77'777].begin);
}

// Harmless: another name, another dtype of that width, another metadata text.
TEST(SafetensorsHeaderTest, EveryFlipAndCutIsSeenOrHarmless) {
  const std::string json = Plain();
  for (size_t size = 0; size < json.size(); ++size) {
    EXPECT_FALSE(StatusOf(json.substr(0, size)).ok()) << size;
  }
  for (size_t bit = 0; bit < json.size() * 8; ++bit) {
    std::string damaged = json;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const auto header = ParseSafetensorsHeader(damaged, 4);
    if (!header.ok()) continue;
    ASSERT_LE(header->tensors.size(), 1u);
    for (const SafetensorsEntry& entry : header->tensors) {
      EXPECT_EQ(entry.begin, 0);
      EXPECT_EQ(entry.end, 4);
    }
  }
}

}  // namespace
}  // namespace penstock
