// codec=auto through whole saves: what is probed, remembered and left over.

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "core/memory_file_system.h"
#include "core/posix_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"
#include "tests/throttled_file.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// As large as it takes to be measured, but the same 16 MiB of zeros again and
// again: all that is large of them is the probe.
class AutoSaveTest : public ::testing::Test {
 protected:
  static constexpr int64_t kTensorBytes = 16 << 20;

  AutoSaveTest() : bytes_(kTensorBytes) {
    GraphBuilder b;
    const NodeId root = b.Dict();
    for (int i = 0; i < 32; ++i) {
      const Tensor tensor =
          *Tensor::Make(Storage::Adopt(absl::MakeSpan(bytes_), nullptr),
                        DType::kFloat32, {kTensorBytes / 4});
      EXPECT_TRUE(
          b.SetItem(root, b.Str(absl::StrCat(i)), b.Tensor(tensor)).ok());
    }
    checkpoint_ = *std::move(b).Finish(root);
  }

  void SetUp() override {
    if (getenv("PENSTOCK_SANITIZED") != nullptr) {
      GTEST_SKIP() << "goes by the encoder's speed, which a sanitizer changes";
    }
  }

  absl::StatusOr<SaveReport> SaveTo(FileSystem& files, const std::string& path,
                                    Codec codec = Codec::kAuto) const {
    SaveOptions options;
    options.codec = codec;
    options.run.files = &files;
    return Save(checkpoint_, path, options);
  }

  std::vector<uint8_t> bytes_;
  Value checkpoint_;
};

TEST_F(AutoSaveTest, NothingOfTheProbeIsLeftInASmallerFile) {
  MemoryFileSystem base;
  ThrottledFileSystem files(base, 100e6);  // slow enough for coding
  const auto saved = SaveTo(files, "/d/auto.pstk");
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->codec, Codec::kZstd);
  EXPECT_THAT(saved->codec_reason, HasSubstr("MiB probed"));
  EXPECT_GT(saved->settle_seconds, 0);
  ASSERT_LT(saved->file_bytes, 16 << 20);
  EXPECT_EQ(base.Get("/d/auto.pstk")->size(), saved->file_bytes);
  // Nor does a file say what was measured: equal saves are equal files.
  ASSERT_TRUE(SaveTo(base, "/d/asked.pstk", Codec::kZstd).ok());
  EXPECT_EQ(base.Get("/d/auto.pstk"), base.Get("/d/asked.pstk"));
}

// Where space is reserved, and written around the page cache.
TEST_F(AutoSaveTest, NothingOfTheProbeIsLeftOnADisk) {
  ThrottledFileSystem files(PosixFileSystem(), 100e6);
  const std::string path = ::testing::TempDir() + "/auto.pstk";
  const auto saved = SaveTo(files, path);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_THAT(saved->codec_reason, HasSubstr("MiB probed"));
  ASSERT_LT(saved->file_bytes, 16 << 20);
  EXPECT_EQ(files.Stat(path)->size_bytes, saved->file_bytes);
  const auto verified = Verify(path);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_THAT(verified->findings, IsEmpty());
  EXPECT_TRUE(files.Unlink(path).ok());
}

TEST_F(AutoSaveTest, TheNextSaveRemembersTheDisk) {
  MemoryFileSystem base;
  ThrottledFileSystem files(base, 100e6);
  ASSERT_TRUE(SaveTo(files, "/d/one.pstk").ok());
  const size_t num_operations = base.Log().size();
  const auto second = SaveTo(files, "/d/two.pstk");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_THAT(second->codec_reason, HasSubstr("(last save)"));
  EXPECT_THAT(second->codec_reason, Not(HasSubstr("probed")));
  int64_t written = 0;
  const std::vector<FileOperation> log = base.Log();
  for (size_t i = num_operations; i < log.size(); ++i) {
    if (log[i].name == "write") written += log[i].size_bytes;
  }
  EXPECT_LT(written, second->file_bytes + (1 << 20));
}

// Not even where it stands at the same address.
TEST_F(AutoSaveTest, ADiskIsNotTakenForTheOneBefore) {
  MemoryFileSystem base;
  std::optional<ThrottledFileSystem> files;
  for (int i = 0; i < 2; ++i) {
    files.emplace(base, 100e6);
    const auto saved = SaveTo(*files, "/d/auto.pstk");
    ASSERT_TRUE(saved.ok()) << saved.status();
    EXPECT_THAT(saved->codec_reason, HasSubstr("MiB probed"));
  }
}

TEST_F(AutoSaveTest, AFullDiskLeavesNothing) {
  MemoryFileSystem::Options options;
  options.capacity_bytes = 8 << 20;
  MemoryFileSystem files(options);
  EXPECT_EQ(SaveTo(files, "/d/full.pstk").status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(files.Names(), IsEmpty());
}

TEST_F(AutoSaveTest, AFailingProbeLeavesTheOldFile) {
  MemoryFileSystem base;
  base.Put("/d/old.pstk", "old");
  FaultFileSystem files(base);
  ThrottledFileSystem slow(files, 100e6);
  for (const char* operation : {"allocate", "write", "truncate"}) {
    Fault fault;
    fault.at_operation = 1;
    fault.only = operation;
    fault.status = absl::UnavailableError("gone");
    files.Inject(fault);
    EXPECT_EQ(SaveTo(slow, "/d/old.pstk").status().code(), fault.status.code())
        << operation;
    EXPECT_EQ(*base.Get("/d/old.pstk"), "old");
    EXPECT_EQ(base.Names(), std::vector<std::string>{"/d/old.pstk"});
  }
}

// Writes nowhere, in order.
class Pipe : public WritableFile {
 public:
  absl::Status Write(int64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }
  absl::Status Allocate(int64_t) override { return absl::OkStatus(); }
  absl::Status Truncate(int64_t) override {
    return absl::InternalError("a pipe cannot be cut");
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  bool direct() const override { return false; }
  bool sequential() const override { return true; }
  const std::string& path() const override { return path_; }

 private:
  const std::string path_ = "pipe";
};

TEST_F(AutoSaveTest, APipeIsNotMeasured) {
  MemoryFileSystem files;
  ASSERT_TRUE(SaveTo(files, "/d/in.pstk", Codec::kZstd).ok());
  SaveOptions options;
  options.codec = Codec::kAuto;
  options.run.files = &files;
  const auto source = Checkpoint::Open("/d/in.pstk", options.run);
  ASSERT_TRUE(source.ok()) << source.status();
  Pipe pipe;
  const auto report = Convert(*source, pipe, "-", options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->saved.codec, Codec::kZstd);
  EXPECT_THAT(report->saved.codec_reason, HasSubstr("pipe"));
}

}  // namespace
}  // namespace penstock
