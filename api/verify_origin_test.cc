// The two truths of a .pstk: its tree, and the file that it gives back.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/penstock.h"
#include "api/scan.h"
#include "codec/native_source.h"
#include "codec/native_test_file.h"
#include "compat/origin.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::shared_ptr<Storage> BytesOf(uint8_t first) {
  std::shared_ptr<Storage> storage = Storage::Allocate(4).value();
  storage->mutable_bytes()[0] = first;
  for (int i = 1; i < 4; ++i) storage->mutable_bytes()[i] = 7;
  return storage;
}

enum class Kind { kPlain, kSwapped, kHostile };

// {"a": first, "b": second}; swapped, {"b": first, "a": second}.
Value TreeOf(const std::shared_ptr<const Storage>& first,
             const std::shared_ptr<const Storage>& second, Kind kind) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  bool is_a = kind != Kind::kSwapped;
  for (const auto& storage : {first, second}) {
    const NodeId tensor = b.Tensor(
        Tensor::Make(storage, DType::kUInt8, {storage->size_bytes()}).value());
    EXPECT_TRUE(b.SetItem(root, b.Str(is_a ? "a" : "b"), tensor).ok());
    is_a = !is_a;
  }
  if (kind == Kind::kHostile) {
    const NodeId call =
        b.Object(Construction::kReduce, b.Global("os", "system"),
                 b.Tuple({b.Str("true")}));
    EXPECT_TRUE(b.SetItem(root, b.Str("x"), call).ok());
  }
  return std::move(b).Finish(root).value();
}

class VerifyOriginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    verify_.run.files = &files_;
    verify_.origin = true;
  }

  SaveOptions OptionsFor(const std::string& path) {
    SaveOptions options = SaveOptionsFor(path);
    options.origin = OriginMode::kAlways;
    options.run.files = &files_;
    return options;
  }

  // NAME.pt, and NAME.pstk made from it.
  void Make(const std::string& name, Kind kind) {
    const Value tree = TreeOf(BytesOf(1), BytesOf(2), kind);
    const auto saved = Save(tree, name + ".pt", OptionsFor(name + ".pt"));
    ASSERT_TRUE(saved.ok()) << saved.status();
    const auto made =
        Convert(name + ".pt", name + ".pstk", OptionsFor(name + ".pstk"));
    ASSERT_TRUE(made.ok()) << made.status();
  }

  // crafted.pstk: a plain tree with the tensors and the origin of another
  // .pstk.
  void Craft(const std::string& other) {
    const auto native =
        NativeFile::Open(files_.OpenRead(other + ".pstk").value()).value();
    const auto& storages = native->root().graph()->storages();
    ASSERT_EQ(storages.size(), 2u);
    NativeOptions options;
    KeepOrigin(*native, options);
    NativeSource source(*native);
    const auto bytes = SaveNative(
        TreeOf(storages[0], storages[1], Kind::kPlain), options, source);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    files_.Put("crafted.pstk", *bytes);
  }

  ScanLevel LevelOf(const std::string& path) {
    ScanOptions options;
    options.run.files = &files_;
    const auto report = Scan(path, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->level : ScanLevel::kUnseen;
  }

  // Returns the warnings.
  std::vector<std::string> Restore(const std::string& name) {
    const auto report =
        Convert(name + ".pstk", "back.pt", OptionsFor("back.pt"));
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return {"an error"};
    EXPECT_TRUE(report->saved.restored);
    return report->saved.warnings;
  }

  MemoryFileSystem files_;
  VerifyOptions verify_;
};

TEST_F(VerifyOriginTest, AnHonestFileIsSound) {
  Make("good", Kind::kPlain);
  const auto report = Verify("good.pstk", verify_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->findings, IsEmpty());
  EXPECT_TRUE(report->compared_origin);
  EXPECT_EQ(LevelOf("good.pstk"), ScanLevel::kAllow);
  EXPECT_THAT(Restore("good"), IsEmpty());
  EXPECT_EQ(*files_.Get("back.pt"), *files_.Get("good.pt"));
}

// The tree is harmless, and every checksum right.
TEST_F(VerifyOriginTest, AHostileOriginBehindAHarmlessTreeIsFound) {
  Make("evil", Kind::kHostile);
  Craft("evil");
  const auto plain = Verify("crafted.pstk", verify_.run);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_THAT(plain->findings, IsEmpty());
  EXPECT_FALSE(plain->compared_origin);
  const auto report = Verify("crafted.pstk", verify_);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_FALSE(report->findings.empty());
  EXPECT_THAT(report->findings[0], HasSubstr("origin: its tree differs"));
  EXPECT_EQ(LevelOf("crafted.pstk"), ScanLevel::kDangerous);
  EXPECT_THAT(Restore("crafted"), ElementsAre(HasSubstr("os.system, called")));
  EXPECT_EQ(*files_.Get("back.pt"), *files_.Get("evil.pt"));
}

// What names os.system in both truths is no difference.
TEST_F(VerifyOriginTest, ADangerousFileOfOneTruthIsSound) {
  Make("evil", Kind::kHostile);
  const auto report = Verify("evil.pstk", verify_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->findings, IsEmpty());
}

// Names of tensors that changed places.
TEST_F(VerifyOriginTest, TensorsThatDifferAreNamed) {
  Make("swapped", Kind::kSwapped);
  Craft("swapped");
  const auto report = Verify("crafted.pstk", verify_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->findings,
              ElementsAre(HasSubstr("origin: its tree differs"),
                          "origin: tensor \"a\" differs",
                          "origin: tensor \"b\" differs"));
}

TEST_F(VerifyOriginTest, WithoutAnOriginThereIsNothingToCompare) {
  Make("good", Kind::kPlain);
  SaveOptions never = OptionsFor("none.pstk");
  never.origin = OriginMode::kNever;
  ASSERT_TRUE(Convert("good.pt", "none.pstk", never).ok());
  for (const char* path : {"none.pstk", "good.pt"}) {
    EXPECT_EQ(Verify(path, verify_).status().code(),
              absl::StatusCode::kNotFound);
  }
}

// A file that is given back is scanned first, which may take long.
TEST_F(VerifyOriginTest, TheScanOfWhatIsGivenBackCanBeCancelled) {
  GraphBuilder b;
  const NodeId text = b.Str(std::string(2 << 20, 'x'));
  const Value tree = std::move(b).Finish(text).value();
  ASSERT_TRUE(Save(tree, "long.pt", OptionsFor("long.pt")).ok());
  ASSERT_TRUE(Convert("long.pt", "long.pstk", OptionsFor("long.pstk")).ok());
  SaveOptions options = OptionsFor("back.pt");
  Progress seen;
  int calls = 0;
  options.run.progress = [&](const Progress& progress) {
    seen = progress;
    ++calls;
    return Proceed::kCancel;
  };
  EXPECT_EQ(Convert("long.pstk", "back.pt", options).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(seen.total_bytes, files_.Stat("long.pt")->size_bytes);
  EXPECT_THAT(files_.Names(), ElementsAre("long.pstk", "long.pt"));
}

}  // namespace
}  // namespace penstock
