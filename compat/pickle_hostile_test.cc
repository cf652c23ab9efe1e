// Pickles that are broken or mean harm: pytorch-format.md 19, N01 to N45.

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/pickle_writer.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

// Little-endian.
std::string Number(uint64_t value, int width) {
  std::string out;
  for (int i = 0; i < width; ++i) {
    out.push_back(static_cast<char>(value >> 8 * i));
  }
  return out;
}

std::string Str(absl::string_view text) {
  return absl::StrCat("X", Number(text.size(), 4), text);
}

std::string Long(int64_t value) {
  return absl::StrCat("\x8A\x08", Number(value, 8));
}

std::string Repeat(absl::string_view text, int64_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (int64_t i = 0; i < count; ++i) out.append(text.data(), text.size());
  return out;
}

std::string PersistentId(absl::string_view type = "ctorch\nFloatStorage\n",
                         absl::string_view key = "0",
                         absl::string_view count = "K\x03") {
  return absl::StrCat("(", Str("storage"), type, Str(key), Str("cpu"), count,
                      "tQ");
}

struct TensorParts {
  std::string storage = PersistentId();
  std::string offset = Long(0);
  std::string size = "K\x03\x85";
  std::string stride = "K\x01\x85";
  std::string requires_grad = "\x89";
  std::string rest = "}";
};

std::string TensorPickle(const TensorParts& parts) {
  return absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", parts.storage,
                      parts.offset, parts.size, parts.stride,
                      parts.requires_grad, parts.rest, "tR.");
}

// The status, and no crash on the way.
absl::Status StatusOf(absl::string_view pickle,
                      const PickleLimits& limits = {}) {
  return ReadText(pickle, limits).status();
}

struct BadPickle {
  const char* id;
  std::string pickle;
  const char* error;
};

void ExpectErrors(const std::vector<BadPickle>& cases) {
  for (const BadPickle& bad : cases) {
    SCOPED_TRACE(absl::StrCat(
        bad.id, ": ",
        absl::CHexEscape(absl::string_view(bad.pickle).substr(0, 80))));
    const absl::Status status = StatusOf(bad.pickle);
    EXPECT_THAT(std::string(status.message()), StartsWith(bad.error));
    EXPECT_EQ(status.code(), absl::string_view(bad.error) == "pickle_limit"
                                 ? absl::StatusCode::kResourceExhausted
                                 : absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("at byte"));
  }
}

TEST(PickleHostileTest, CallsNothingAndListsWhatItWouldHaveCalled) {
  const std::string args = absl::StrCat(Str("touch x"), "\x85");
  const std::pair<const char*, std::string> kCases[] = {
      {"N01 text", "cos\nsystem\n(S'touch x'\ntR."},
      {"N01", absl::StrCat("\x80\x02", "cos\nsystem\n", args, "R.")},
      {"N01 proto 4",
       absl::StrCat("\x80\x04", Str("os"), Str("system"), "\x93", args, "R.")},
      {"N02 INST", "(S'touch x'\nios\nsystem\n."},
      {"N02 OBJ", "(cos\nsystem\nS'touch x'\no."},
      {"N02 NEWOBJ", absl::StrCat("cos\nsystem\n", args, "\x81.")},
      {"N02 NEWOBJ_EX", absl::StrCat("cos\nsystem\n", args, "}\x92.")},
      {"N02 BUILD", absl::StrCat("cos\nsystem\n)R", args, "b.")},
      {"N05 in a key", "}cos\nsystem\nNs."},
      {"N05 in the memo",
       "cos\nsystem\nq\x01"
       "0N."},
  };
  for (const auto& [id, pickle] : kCases) {
    SCOPED_TRACE(id);
    const auto read = ReadText(pickle);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_THAT(read->globals, Contains("os system"));
  }
}

TEST(PickleHostileTest, ChainsOfGetattrStayInert) {  // N03
  std::string pickle = "c__builtin__\ngetattr\n";
  pickle = absl::StrCat(Repeat(pickle, 1000), "cos\npath\n",
                        Repeat(Str("x") + "\x86R", 1000), ".");
  const auto read = ReadText(pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->globals, Contains("builtins getattr"));
}

TEST(PickleHostileTest, NamesAreComparedAsTheyStand) {  // N04, N08
  for (const char* name :
       {"torch._utils \n_rebuild_tensor_v2", "torch._utils\r\n_rebuild_tensor",
        "torch\n_utils._rebuild_tensor_v2", "\n", "os \nsystem"}) {
    const auto read = ReadText(absl::StrCat("c", name, "\n)R."));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->root.kind(), NodeKind::kObject);
  }
}

TEST(PickleHostileTest, RefusesMalformedStreams) {
  ExpectErrors({
      {"N09", "\x82\x01.", "pickle_unknown_opcode"},
      {"N10", "\x97.", "pickle_type"},
      {"N25", "\xFF", "pickle_unknown_opcode"},
      {"N25", std::string("\0", 1), "pickle_unknown_opcode"},
      {"N25", "zzz", "pickle_unknown_opcode"},
      {"N26", "R.", "pickle_underflow"},
      {"N26", "NN\x87.", "pickle_underflow"},
      {"N26", ".", "pickle_underflow"},
      {"N26 below the mark", "N(\x85.", "pickle_underflow"},
      {"N26 STOP on a mark", "N(.", "pickle_underflow"},
      {"N27", "]e.", "pickle_no_mark"},
      {"N27", "t.", "pickle_no_mark"},
      {"N27", "}u.", "pickle_no_mark"},
      {"N28", "}(K\x01u.", "pickle_type"},
      {"N28", ")Na.", "pickle_type"},
      {"N28", "]K\x01Ns.", "pickle_type"},
      {"N28", "K\x01}b.", "pickle_type"},
      {"BUILD on a dict", "}}b.", "pickle_type"},
      {"BUILD twice", "cm\nf\n)R}b}b.", "pickle_type"},
      {"N28", "NQ.", "persid_bad"},
      {"N29", "h\x05.", "pickle_memo"},
      {"N29", "j\xFF\xFF\xFF\xFF.", "pickle_memo"},
      {"N31",
       "\x8B\xFF\xFF\xFF\x7F"
       "abc",
       "pickle_truncated"},
      {"N31",
       "\x8B\xFF\xFF\xFF\xFF"
       "abc",
       "pickle_number"},
      {"N31",
       "\x8A\x05"
       "abc",
       "pickle_truncated"},
      {"N31", absl::StrCat("\x8B", Number(65537, 4), Repeat("x", 65537), "."),
       "pickle_limit"},
      {"N32", absl::StrCat("I", Repeat("9", 10'000'000), "\n."),
       "pickle_limit"},
      {"N32", "L\n.", "pickle_number"},
      {"hexadecimal", "I0x10\n.", "pickle_number"},
      {"octal", "I0o7\n.", "pickle_number"},
      {"underscore", "L1_0L\n.", "pickle_number"},
      {"N32", "F1e\n.", "pickle_number"},
      {"N33", absl::StrCat("X", Number(100, 4), "x"), "pickle_truncated"},
      {"N33", absl::StrCat("\x8D", Number(uint64_t{1} << 63, 8)),
       "pickle_truncated"},
      {"N33", "T\xFF\xFF\xFF\xFF.", "pickle_number"},
      {"N33", absl::StrCat("\x96", Number(~uint64_t{0}, 8)),
       "pickle_truncated"},
      {"N34", Str("\xC0\x80") + ".", "pickle_utf8"},
      {"N34", Str("\xE2\x82") + ".", "pickle_utf8"},
      {"N35", absl::StrCat("\x95", Number(2, 8), "."), "pickle_truncated"},
      {"N36", "", "pickle_truncated"},
      {"N37", "\x80\x06N.", "pickle_protocol"},
      {"N37", "\x80\xFFN.", "pickle_protocol"},
      {"N38", Repeat("(", 10'000'000), "pickle_limit"},
      {"N40", "N" + Repeat("2", 10'000'001), "pickle_limit"},
      {"N42", "}]Ns.", "pickle_type"},
      {"N42", "}}Ns.", "pickle_type"},
      {"N42", "\x8F(]\x90.", "pickle_type"},
      {"REDUCE without a tuple", "cm\nf\nNR.", "pickle_type"},
      {"REDUCE of an int", "K\x01)R.", "pickle_type"},
  });
}

TEST(PickleHostileTest, RefusesBadPersistentIds) {
  const std::string type = "ctorch\nFloatStorage\n";
  ExpectErrors({
      {"N11 text", "Px\n.", "persid_bad"},
      {"N11", "K\x01Q.", "persid_bad"},
      {"N11", ")Q.", "persid_bad"},
      {"N11",
       absl::StrCat("(", Str("storage"), type, Str("0"), Str("cpu"), "tQ."),
       "persid_bad"},
      {"N11 location of Python 2, no UTF-8",
       absl::StrCat("(", Str("storage"), type, Str("0"), "U\x01\xFF",
                    "K\x01tQ."),
       "persid_bad"},
      {"N12",
       absl::StrCat("(", Str("module"), type, Str("0"), Str("cpu"), "K\x01tQ."),
       "persid_bad"},
      {"N12", PersistentId("ctorch\nFakeStorage\n") + ".", "persid_bad"},
      {"N12", PersistentId("cos\nsystem\n") + ".", "persid_bad"},
      {"N12", PersistentId(Str("FloatStorage")) + ".", "persid_bad"},
      {"N13", PersistentId(type, "../../etc/passwd") + ".", "persid_bad"},
      {"N13", PersistentId(type, "/abs") + ".", "persid_bad"},
      {"N13", PersistentId(type, "a\\b") + ".", "persid_bad"},
      {"N13", PersistentId(type, "..") + ".", "persid_bad"},
      {"N13", PersistentId(type, "") + ".", "persid_bad"},
      {"N13", PersistentId(type, absl::string_view("a\0b", 3)) + ".",
       "persid_bad"},
      {"N13", PersistentId(type, Repeat("1", 10'000'000)) + ".", "persid_bad"},
      {"N14", PersistentId(type, "0", "J\xFF\xFF\xFF\xFF") + ".",
       "storage_size"},
      {"N14",
       PersistentId(type, "0",
                    absl::StrCat("\x8A\x09", Number(uint64_t{1} << 63, 8),
                                 Number(0, 1))) +
           ".",
       "tensor_overflow"},
      {"N14",
       PersistentId("ctorch\nLongStorage\n", "0", Long(int64_t{1} << 62)) + ".",
       "tensor_overflow"},
      {"N14", PersistentId(type, "0", "\x88") + ".", "persid_bad"},
      {"N14", PersistentId(type, "0", "G" + Number(0, 8)) + ".", "persid_bad"},
      {"N14", PersistentId(type, "0", Str("3")) + ".", "persid_bad"},
      {"N15", PersistentId() + PersistentId("ctorch\nIntStorage\n") + ".",
       "storage_dtype_conflict"},
      {"sizes differ", PersistentId() + PersistentId(type, "0", "K\x04") + ".",
       "storage_size"},
      {"one key of two types",
       absl::StrCat(PersistentId(), "(", Str("storage"), type, Long(0),
                    Str("cpu"), "K\x03tQ."),
       "persid_bad"},
  });
}

// What grows, is called or is given a state is of the kinds that Python lets do
// so; torch before 2.10 wrote into memory where it was not.
TEST(PickleHostileTest, EveryOpcodeChecksTheKindThatItChanges) {
  const std::pair<const char*, std::string> kTargets[] = {
      {"none", "N"},
      {"bool", "\x88"},
      {"int", "K\1"},
      {"bigint", "\x8A\x09" + std::string(8, '\xFF') + "\1"},
      {"float", "F1\n"},
      {"str", Str("a")},
      {"py2", "U\1a"},
      {"bytes", "C\1a"},
      {"list", "]"},
      {"tuple", ")"},
      {"dict", "}"},
      {"set", "\x8F"},
      {"frozenset", "(\x91"},
      {"global", "cm\nf\n"},
      {"object", "cm\nf\n)R"},
      {"storage", PersistentId()},
      {"tensor",
       absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", PersistentId(),
                    Long(0), "K\3\x85K\1\x85\x89}tR")},
  };
  const struct {
    const char* name;
    std::string opcodes;
    std::vector<std::string> allowed;
  } kChanges[] = {
      {"APPEND", "Na", {"list", "object"}},
      {"APPENDS", "(NNe", {"list", "object"}},
      {"SETITEM", "NNs", {"dict", "object"}},
      {"SETITEMS", "(NNu", {"dict", "object"}},
      {"ADDITEMS", "(N\x90", {"set"}},
      {"BUILD", "}b", {"object"}},
      {"REDUCE", ")R", {"global", "object"}},
      {"NEWOBJ", ")\x81", {"global", "object"}},
      {"NEWOBJ_EX", ")}\x92", {"global", "object"}},
  };
  for (const auto& change : kChanges) {
    for (const auto& [target, opcodes] : kTargets) {
      SCOPED_TRACE(absl::StrCat(change.name, " on ", target));
      const absl::Status status =
          StatusOf(absl::StrCat(opcodes, change.opcodes, "."));
      if (testing::Value(change.allowed, Contains(target))) {
        EXPECT_TRUE(status.ok()) << status;
      } else {
        EXPECT_THAT(std::string(status.message()), StartsWith("pickle_type"));
      }
    }
  }
}

// TensorPickle with one part replaced.
std::string With(std::string TensorParts::*part, std::string value) {
  TensorParts parts;
  parts.*part = std::move(value);
  return TensorPickle(parts);
}

TEST(PickleHostileTest, RefusesBadTensors) {
  ASSERT_TRUE(StatusOf(TensorPickle({})).ok()) << StatusOf(TensorPickle({}));
  const std::string minus_one = "J\xFF\xFF\xFF\xFF\x85";
  const auto pair = [](int64_t a, int64_t b) {
    return absl::StrCat(Long(a), Long(b), "\x86");
  };
  TensorParts huge;
  huge.size = pair(int64_t{1} << 32, int64_t{1} << 32);
  huge.stride = pair(1, 1);
  TensorParts strided;
  strided.size = pair(3, 3);
  strided.stride = pair(int64_t{1} << 62, 1);
  TensorParts deep;
  deep.size = absl::StrCat("(", Repeat("K\x01", 65), "t");
  deep.stride = deep.size;
  ExpectErrors({
      {"N17", With(&TensorParts::size, minus_one), "tensor_args"},
      {"N17", With(&TensorParts::stride, minus_one), "tensor_args"},
      {"N17", With(&TensorParts::offset, "J\xFF\xFF\xFF\xFF"), "tensor_args"},
      {"N18", TensorPickle(huge), "tensor_overflow"},
      {"N18", TensorPickle(strided), "tensor_overflow"},
      {"N18", With(&TensorParts::offset, Long(INT64_MAX)), "tensor_overflow"},
      {"N19", With(&TensorParts::size, "K\x04\x85"), "tensor_bounds"},
      {"N19", With(&TensorParts::offset, Long(1)), "tensor_bounds"},
      {"N20", With(&TensorParts::size, pair(1, 3)), "tensor_args"},
      {"N20", TensorPickle(deep), "tensor_args"},
      {"N20", With(&TensorParts::size, absl::StrCat("](", Str("3"), "e")),
       "tensor_args"},
      {"N20",
       With(&TensorParts::size,
            "](\x88"
            "e"),
       "tensor_args"},
      {"N20", With(&TensorParts::size, "N"), "tensor_args"},
      {"N24", "ctorch._utils\n_rebuild_tensor_v2\nNNN\x87R.", "tensor_args"},
      {"N24", With(&TensorParts::rest, "}NNN"), "tensor_args"},
      {"N24", With(&TensorParts::storage, Str("0")), "tensor_args"},
      {"requires_grad", With(&TensorParts::requires_grad, "K\x01"),
       "tensor_args"},
      {"metadata", With(&TensorParts::rest, "}]"), "tensor_args"},
  });
}

TEST(PickleHostileTest, AnExpandedTensorIsAView) {  // N21
  TensorParts parts;
  parts.size = Long(int64_t{1} << 40) + "\x85";
  parts.stride = std::string("K\0\x85", 3);
  const auto read = ReadText(TensorPickle(parts));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.AsTensor().num_elements(), int64_t{1} << 40);
}

TEST(PickleHostileTest, ALargeMemoIndexCostsNothing) {  // N30
  EXPECT_TRUE(StatusOf("Nr\xFF\xFF\xFF\xFF"
                       "0j\xFF\xFF\xFF\xFF.")
                  .ok());
  EXPECT_EQ(StatusOf("Np4294967296\n.").code(), absl::StatusCode::kDataLoss);
}

// N36. Whatever is missing, the pickle is called truncated.
TEST(PickleHostileTest, EveryTruncationIsAnError) {
  for (const GoldenPickle& golden : kGoldenPickles) {
    SCOPED_TRACE(golden.name);
    const std::string pickle = golden.bytes();
    for (size_t size = 0; size < pickle.size(); ++size) {
      const absl::Status status =
          StatusOf(absl::string_view(pickle).substr(0, size));
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
      ASSERT_THAT(std::string(status.message()),
                  StartsWith("pickle_truncated: "));
    }
  }
}

TEST(PickleHostileTest, ReadsDeepNestingWithoutRecursion) {  // N38
  const int kDepth = 1'000'000;
  for (const std::string& pickle :
       {Repeat("]", kDepth) + Repeat("a", kDepth - 1) + ".",
        "N" + Repeat("\x85", kDepth) + "."}) {
    const auto read = ReadText(pickle);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(WritePickle(read->root).ok());
  }
}

TEST(PickleHostileTest, SharingStaysSharing) {  // N39
  std::string pickle = absl::StrCat("]q", Number(0, 1));
  for (int i = 1; i <= 100; ++i) {
    pickle += absl::StrCat("0](", Repeat("h" + Number(i - 1, 1), 10), "eq",
                           Number(i, 1));
  }
  const auto read = ReadText(pickle + ".");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.graph()->num_nodes(), 101);
  const auto written = WritePickle(read->root);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_LT(written->pickle.size(), 5000);
}

TEST(PickleHostileTest, KeepsItsLimits) {  // N40
  PickleLimits limits;
  limits.max_opcodes = 10;
  EXPECT_EQ(StatusOf(Repeat("N0", 100) + ".", limits).code(),
            absl::StatusCode::kResourceExhausted);
  limits = {};
  limits.max_nodes = 10;
  EXPECT_EQ(StatusOf(Repeat("N0", 100) + ".", limits).code(),
            absl::StatusCode::kResourceExhausted);
  limits = {};
  limits.max_memo_entries = 10;
  EXPECT_EQ(StatusOf("N" + Repeat("\x94", 100) + ".", limits).code(),
            absl::StatusCode::kResourceExhausted);
  limits = {};
  limits.max_pickle_bytes = 10;
  EXPECT_EQ(StatusOf(Repeat("N0", 100) + ".", limits).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(StatusOf(absl::StrCat("N.", Repeat("x", 100)), limits).ok());
  limits = {};
  limits.max_string_bytes = 10;
  EXPECT_EQ(StatusOf(Str("12345678901") + ".", limits).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusOf("S'12345678901'\n.", limits).code(),
            absl::StatusCode::kResourceExhausted);
}

// One text of the pickle, and a call a few bytes long for each copy of it.
TEST(PickleHostileTest, CallsMakeNoMoreBytesThanAPickleMayHave) {
  PickleLimits limits;
  limits.max_pickle_bytes = 20'000;
  for (const char* make : {"c_codecs\nencode\n", "c__builtin__\nbytearray\n"}) {
    const std::string text = absl::StrCat(
        "(X", std::string("\x10\x27\0\0", 4), std::string(10'000, 'x'),
        "q\x01X\x06", std::string(3, '\0'), "latin1q\x02", make, "q\x03");
    const std::string call = "h\x03h\x01h\x02\x86R";
    EXPECT_TRUE(
        StatusOf(absl::StrCat(text, Repeat(call, 2), "t."), limits).ok());
    EXPECT_EQ(
        StatusOf(absl::StrCat(text, Repeat(call, 3), "t."), limits).code(),
        absl::StatusCode::kResourceExhausted);
  }
}

TEST(PickleHostileTest, ManyKeysTakeLinearTime) {  // N42
  std::string pickle = "}(";
  for (int i = 0; i < 1'000'000; ++i) {
    absl::StrAppend(&pickle, "J", Number(i, 4), "N");
  }
  const auto read = ReadText(pickle + "u.");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.size(), 1'000'000);
}

TEST(PickleHostileTest, OtherCodecsAreNotRun) {  // N44
  for (const char* codec : {"zlib", "rot13", "utf-8"}) {
    const auto read = ReadText(
        absl::StrCat("c_codecs\nencode\n", Str("x"), Str(codec), "\x86R."));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(read->root.IsObjectOf("_codecs", "encode"));
  }
  const auto wide = ReadText(absl::StrCat("c_codecs\nencode\n", Str("\xC4\x80"),
                                          Str("latin1"), "\x86R."));
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_EQ(wide->root.kind(), NodeKind::kObject);
}

// Reads, and where that works writes and reads back: never a crash, and what
// was read can always be written again.
void Survive(absl::string_view pickle) {
  PickleLimits limits;
  limits.max_nodes = 100'000;
  const auto read = ReadText(pickle, limits);
  if (!read.ok()) {
    ASSERT_THAT(std::string(read.status().message()), HasSubstr("at byte"))
        << absl::CHexEscape(pickle);
    return;
  }
  const auto written = WritePickle(read->root);
  if (!written.ok()) return;
  const auto again = ReadText(written->pickle);
  ASSERT_TRUE(again.ok()) << again.status() << absl::CHexEscape(pickle);
}

TEST(PickleHostileTest, EveryOpcodeSurvivesAnywhere) {
  const std::string middle =
      absl::HexStringToBytes("8002285d4b015801000000617100");
  for (int code = 0; code < 256; ++code) {
    SCOPED_TRACE(code);
    const std::string op(1, static_cast<char>(code));
    for (const std::string& before : {std::string(), middle, middle + ")"}) {
      for (const std::string& after :
           {std::string(), std::string("."), std::string(12, '\0') + ".",
            std::string("1\n2\n."), std::string(9, '\xFF')}) {
        Survive(absl::StrCat(before, op, after));
      }
    }
  }
}

TEST(PickleHostileTest, EveryBitFlipSurvives) {
  for (const GoldenPickle& golden : kGoldenPickles) {
    const std::string pickle = golden.bytes();
    for (size_t bit = 0; bit < pickle.size() * 8; ++bit) {
      std::string damaged = pickle;
      damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
      Survive(damaged);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(PickleHostileTest, RandomDamageSurvives) {
  std::mt19937 random(20240501);
  std::vector<std::string> pickles;
  for (const GoldenPickle& golden : kGoldenPickles) {
    pickles.push_back(golden.bytes());
  }
  const auto any = [&](size_t limit) { return random() % limit; };
  for (int i = 0; i < 200'000; ++i) {
    std::string damaged = pickles[any(pickles.size())];
    for (size_t edits = 1 + any(4); edits > 0; --edits) {
      const size_t at = any(damaged.size());
      const std::string& donor = pickles[any(pickles.size())];
      const size_t from = any(donor.size());
      switch (any(4)) {
        case 0:
          damaged[at] = static_cast<char>(random());
          break;
        case 1:
          damaged.erase(at, 1 + any(8));
          break;
        case 2:
          damaged.insert(at, donor, from, 1 + any(32));
          break;
        default:
          damaged.replace(at, 1, donor, from, 1);
      }
      if (damaged.empty()) damaged = "N";
    }
    Survive(damaged);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace penstock
