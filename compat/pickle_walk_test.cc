#include "compat/pickle_walk.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compat/pickle_testing.h"
#include "compat/spool.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::absl::string_view;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using End = PickleWalk::End;

PickleWalk WalkOver(std::string bytes, int64_t budget = 1 << 24,
                    PickleWalker::Arrays arrays = PickleWalker::Arrays::kSkip) {
  const TextFile file(std::move(bytes));
  ByteWindow window(file, 1 << 12);
  ByteWindow names(file, 1 << 10);
  return PickleWalker(window, names, budget, arrays).Walk(0);
}

std::string Global(string_view module, string_view name) {
  return absl::StrCat("c", module, "\n", name, "\n");
}

std::string Short(string_view text) {
  return absl::StrCat("\x8c", std::string(1, static_cast<char>(text.size())),
                      text);
}

// "module.name by OPCODE, level" of each global.
std::vector<std::string> GlobalsOf(const PickleWalk& walk) {
  std::vector<std::string> all;
  for (const ScanFinding& finding : walk.findings) {
    if (finding.kind != ScanKind::kGlobal) continue;
    all.push_back(absl::StrCat(finding.module, ".", finding.name,
                               finding.called_by.empty()
                                   ? ""
                                   : absl::StrCat(" by ", finding.called_by),
                               ", ", std::string(NameOf(finding.level))));
  }
  return all;
}

// Bytes behind each opcode of protocols 0 to 5, with two lines or a length
// where it takes such.
std::map<uint8_t, std::string> Arguments() {
  std::map<uint8_t, std::string> all;
  for (const char op :
       string_view("()]}0123N.QRabdelostu\x81\x85\x86\x87\x88\x89"
                   "\x8f\x90\x91\x92\x93\x94\x97\x98")) {
    all[op] = "";
  }
  all.erase('3');
  for (const char op : string_view("Khq\x80\x82")) all[op] = "\1";
  for (const char op : string_view("M\x83")) all[op] = std::string(2, '\1');
  for (const char op : string_view("Jjr\x84")) all[op] = std::string(4, '\1');
  for (const char op : string_view("G\x95")) all[op] = std::string(8, '\1');
  for (const char op : string_view("FILPVSgp")) all[op] = "7\n";
  for (const char op : string_view("ci")) all[op] = "a\nb\n";
  for (const char op : string_view("CU\x8a\x8c")) all[op] = "\2ab";
  for (const char op : string_view("BTX\x8b")) {
    all[op] = std::string("\2\0\0\0ab", 6);
  }
  for (const char op : string_view("\x8d\x8e\x96")) {
    all[op] = std::string("\2\0\0\0\0\0\0\0ab", 10);
  }
  return all;
}

TEST(PickleWalkTest, EveryOpcodeTakesItsArgumentAndNoOtherByteIsOne) {
  std::map<uint8_t, std::string> arguments = Arguments();
  for (int op = 0; op < 256; ++op) {
    SCOPED_TRACE(op);
    const auto known = arguments.find(static_cast<uint8_t>(op));
    EXPECT_EQ(IsPickleOpcode(static_cast<uint8_t>(op)),
              known != arguments.end());
    std::string bytes = std::string("\x80\4", 2) + static_cast<char>(op);
    if (known == arguments.end()) {
      const PickleWalk walk = WalkOver(bytes + "N.");
      EXPECT_EQ(walk.how, End::kBroken);
      EXPECT_EQ(walk.end, 2);
      continue;
    }
    bytes += known->second;
    const PickleWalk walk = WalkOver(bytes + "N.");
    EXPECT_EQ(walk.how, End::kStop);
    const bool stops = op == '.';
    EXPECT_EQ(walk.end, static_cast<int64_t>(bytes.size()) + (stops ? 0 : 2));
    EXPECT_EQ(walk.num_opcodes, stops ? 2 : 4);
    // Cut within its argument.
    for (size_t size = 3; size < bytes.size(); ++size) {
      EXPECT_EQ(WalkOver(bytes.substr(0, size)).how, End::kCut) << size;
    }
  }
}

TEST(PickleWalkTest, EveryOpcodeThatCallsSaysSo) {
  const std::string system = Global("os", "system");
  const std::string word = Short("true");
  const std::map<std::string, std::string> calls = {
      {"REDUCE", system + word + "\x85R."},
      {"INST", "(" + word + "ios\nsystem\n."},
      {"OBJ", "(" + system + word + "o."},
      {"NEWOBJ", system + ")\x81."},
      {"NEWOBJ_EX", system + ")}\x92."},
      {"BINPERSID", "(" + Short("reduce_package") + system + ")tQ."},
  };
  for (const auto& [opcode, bytes] : calls) {
    EXPECT_THAT(
        GlobalsOf(WalkOver(bytes)),
        ElementsAre(absl::StrCat("os.system by ", opcode, ", dangerous")));
  }
}

TEST(PickleWalkTest, NamesOutOfTheMemoAreFound) {
  for (const string_view put : {"\x94", "q%c", "p%d\n"}) {
    std::string bytes;
    int key = 0;
    for (const string_view word : {"os", "system"}) {
      absl::StrAppend(&bytes, Short(word), put == "\x94" ? "\x94" : "");
      if (put == "q%c") bytes += {'q', static_cast<char>(key)};
      if (put == "p%d\n") absl::StrAppend(&bytes, "p", key, "\n");
      absl::StrAppend(&bytes, "0");
      ++key;
    }
    bytes += std::string("h\0h\1\x93)R.", 8);
    EXPECT_THAT(GlobalsOf(WalkOver(bytes)),
                ElementsAre("os.system by REDUCE, dangerous"))
        << put;
  }
}

TEST(PickleWalkTest, TextThatIsNotSeenIsDangerousAsAName) {
  const PickleWalk walk = WalkOver("NN\x93.");
  EXPECT_THAT(
      walk.findings,
      Contains(AllOf(Field(&ScanFinding::opcode, "STACK_GLOBAL"),
                     Field(&ScanFinding::level, ScanLevel::kDangerous))));
}

// What is only harmless as long as it is called in the open.
TEST(PickleWalkTest, LoadersAreOnlyAllowedWhereTheyAreCalled) {
  const std::string load = Global("torch.storage", "_load_from_bytes");
  const std::string call = load + std::string("C\1x\x85R", 5);
  EXPECT_THAT(GlobalsOf(WalkOver(call + ".")),
              ElementsAre("torch.storage._load_from_bytes by REDUCE, allow"));
  for (const std::string& away :
       {load + ".", load + "0N.", "]" + load + "a.", call + "0" + load + ".",
        call + "0" + load + "2\x85R.",
        Global("collections", "defaultdict") + load + "\x85R."}) {
    EXPECT_THAT(GlobalsOf(WalkOver(away)),
                Contains(HasSubstr("_load_from_bytes")))
        << away;
    EXPECT_THAT(GlobalsOf(WalkOver(away)), Contains(EndsWith("dangerous")))
        << away;
  }
}

// An array of `count` items between the opcodes, without padding.
std::string JoblibArray(int count, string_view dtype, string_view raw) {
  std::string bytes = Global("joblib.numpy_pickle", "NumpyArrayWrapper");
  absl::StrAppend(&bytes, ")\x81}(", Short("shape"), "K");
  bytes.push_back(static_cast<char>(count));
  absl::StrAppend(&bytes, "\x85", Short("dtype"), Global("numpy", "dtype"),
                  Short(dtype), "\x89\x88\x87Rub", raw);
  return bytes;
}

TEST(PickleWalkTest, JoblibsArraysAreGoneOverAndReadAsOpcodes) {
  const std::string hidden = Global("os", "system") + ")R.";
  const int size = static_cast<int>(hidden.size());
  const std::string behind = Global("os", "popen") + ")R.";
  const std::string bytes =
      JoblibArray(size / 2, "<u2", hidden.substr(0, size / 2 * 2)) + "0" +
      behind;
  const PickleWalk walk = WalkOver(bytes);
  EXPECT_EQ(walk.how, End::kStop);
  EXPECT_EQ(walk.end, static_cast<int64_t>(bytes.size()));
  EXPECT_THAT(GlobalsOf(walk), Contains("os.popen by REDUCE, dangerous"));
  EXPECT_THAT(GlobalsOf(walk), Not(Contains("os.system by REDUCE, dangerous")));
  EXPECT_GT(walk.first_array, 0);
  const PickleWalk plain =
      WalkOver(bytes, 1 << 20, PickleWalker::Arrays::kRead);
  EXPECT_THAT(GlobalsOf(plain), Contains("os.system by REDUCE, dangerous"));
}

TEST(PickleWalkTest, JoblibsArraysOfObjectsArePickles) {
  const std::string inner = "\x80\4" + Global("os", "system") + ")R.";
  // Their memos are apart: the key 0 is the outer's.
  const std::string bytes = Short("os") + std::string("q\0000", 3) +
                            JoblibArray(1, "O8", inner) + "0" +
                            std::string("h\0", 2) + Short("popen") + "\x93)R.";
  const PickleWalk walk = WalkOver(bytes);
  EXPECT_EQ(walk.how, End::kStop);
  EXPECT_EQ(walk.end, static_cast<int64_t>(bytes.size()));
  EXPECT_THAT(GlobalsOf(walk), Contains("os.system by REDUCE, dangerous"));
  EXPECT_THAT(GlobalsOf(walk), Contains("os.popen by REDUCE, dangerous"));
}

TEST(PickleWalkTest, ArraysThatEndBeyondTheFileAreCut) {
  for (const string_view dtype : {"<u2", "U9", "S200"}) {
    EXPECT_EQ(WalkOver(JoblibArray(100, dtype, "abc")).how, End::kCut);
  }
  EXPECT_THAT(
      WalkOver(JoblibArray(100, "V9223372036854775807", "N.")).findings,
      Contains(Field(&ScanFinding::reason, HasSubstr("hides how long"))));
  std::string nested;
  for (int i = 0; i < 20; ++i) nested += JoblibArray(1, "O8", "");
  EXPECT_EQ(WalkOver(nested + "N.").how, End::kLimit);
}

// Each opcode costs one, so that time is linear whatever a file holds.
TEST(PickleWalkTest, TheBudgetEndsAWalk) {
  const std::string bytes(100'000, 'N');
  const TextFile file(bytes);
  ByteWindow window(file, 1 << 12);
  ByteWindow names(file, 1 << 10);
  int64_t budget = 1000;
  const PickleWalk walk = PickleWalker(window, names, budget).Walk(0);
  EXPECT_EQ(walk.how, End::kLimit);
  EXPECT_EQ(walk.num_opcodes, 1000);
  EXPECT_EQ(budget, 0);
  // Long lines cost their length, too.
  const std::string line = "V" + std::string(1 << 20, 'a') + "\n.";
  budget = 1 << 20;
  const TextFile lines(line);
  ByteWindow line_window(lines, 1 << 12);
  PickleWalker(line_window, names, budget).Walk(0);
  EXPECT_LE(budget, (1 << 20) - (1 << 16));
}

TEST(PickleWalkTest, EveryLimitIsNamedBySayingLimit) {
  EXPECT_EQ(WalkOver(std::string(kMaxWalkStack + 1, '(') + ".").how,
            End::kLimit);
  EXPECT_EQ(WalkOver(std::string(kMaxWalkStack + 1, 'N') + ".").how,
            End::kLimit);
  std::string globals;
  for (int i = 0; i <= kMaxWalkGlobals; ++i) {
    absl::StrAppend(&globals, "ca\nb", i, "\n0");
  }
  EXPECT_EQ(WalkOver(globals + "N.").how, End::kLimit);
}

TEST(PickleWalkTest, NothingIsReadBehindTheEnd) {
  for (const GoldenPickle& golden : {kG1, kG5}) {
    const std::string bytes = golden.bytes();
    for (size_t size = 0; size < bytes.size(); ++size) {
      const PickleWalk walk = WalkOver(bytes.substr(0, size));
      EXPECT_EQ(walk.how, End::kCut);
      // A name that the file ends has its line end behind it.
      EXPECT_LE(walk.end, static_cast<int64_t>(size) + 1);
    }
    const PickleWalk whole = WalkOver(bytes + "cos\nsystem\n)R.");
    EXPECT_EQ(whole.how, End::kStop);
    EXPECT_EQ(whole.end, static_cast<int64_t>(bytes.size()));
    for (const ScanFinding& finding : whole.findings) {
      EXPECT_EQ(finding.level, ScanLevel::kAllow) << finding.name;
    }
  }
}

// Each bit of a real pickle: it ends, within the file.
TEST(PickleWalkTest, EveryBitFlipEnds) {
  const std::string bytes = kG5.bytes();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= 1 << (bit % 8);
    const PickleWalk walk = WalkOver(damaged);
    EXPECT_LE(walk.end, static_cast<int64_t>(bytes.size()) + 1);
    EXPECT_NE(walk.how, End::kLimit);
  }
}

TEST(PickleWalkTest, FilesInTextsAreHandedOut) {
  const std::string inner = "\x80\2N.";
  const PickleWalk walk = WalkOver("C\4" + inner + "0N.");
  ASSERT_EQ(walk.payloads.size(), 1u);
  EXPECT_EQ(walk.payloads[0].offset, 2);
  EXPECT_EQ(walk.payloads[0].size_bytes, 4);
  EXPECT_FALSE(walk.payloads[0].loaded);
  EXPECT_THAT(WalkOver("C\4abcd0N.").payloads, IsEmpty());
}

}  // namespace
}  // namespace penstock
