#include "core/atomic_file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "core/file.h"
#include "core/memory_file_system.h"
#include "core/posix_file_system.h"
#include "core/replaced_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

// A whole save: create, write in pieces, commit.
absl::Status Save(FileSystem& files, const std::string& path,
                  const std::string& bytes) {
  auto atomic = AtomicFile::Create(files, path, Caching::kBuffered);
  if (!atomic.ok()) return atomic.status();
  const size_t half = bytes.size() / 2;
  absl::Status status =
      (*atomic)->file().Write(0, Bytes(bytes.substr(0, half)));
  if (status.ok()) {
    status = (*atomic)->file().Write(half, Bytes(bytes.substr(half)));
  }
  if (!status.ok()) return status;
  return (*atomic)->Commit();
}

TEST(AtomicFileTest, TheFileAppearsWithCommitAndNotBefore) {
  MemoryFileSystem files;
  auto atomic = AtomicFile::Create(files, "d/new.pstk", Caching::kBuffered);
  ASSERT_TRUE(atomic.ok()) << atomic.status();
  ASSERT_TRUE((*atomic)->file().Write(0, Bytes("bytes")).ok());
  EXPECT_FALSE(files.Get("d/new.pstk").ok());
  ASSERT_EQ(files.Names().size(), 1u);
  EXPECT_TRUE(absl::StartsWith(files.Names()[0], "d/.new.pstk."));
  EXPECT_TRUE(absl::EndsWith(files.Names()[0], ".tmp"));
  ASSERT_TRUE((*atomic)->Commit().ok());
  EXPECT_EQ(*files.Get("d/new.pstk"), "bytes");
  EXPECT_THAT(files.Names(), ElementsAre("d/new.pstk"));
}

TEST(AtomicFileTest, WithoutCommitNothingIsLeft) {
  MemoryFileSystem files;
  files.Put("a", "old");
  {
    auto atomic = AtomicFile::Create(files, "a", Caching::kBuffered);
    ASSERT_TRUE((*atomic)->file().Write(0, Bytes("new")).ok());
    EXPECT_EQ(files.Names().size(), 2u);
  }
  EXPECT_THAT(files.Names(), ElementsAre("a"));
  EXPECT_EQ(*files.Get("a"), "old");
}

// Data first, then the name, then the directory: any other order can lose both.
TEST(AtomicFileTest, SyncsClosesRenamesAndSyncsTheDirectoryInThatOrder) {
  MemoryFileSystem files;
  files.Put("d/a", "old");
  ASSERT_TRUE(Save(files, "d/a", "new").ok());
  std::vector<std::string> names;
  for (const FileOperation& operation : files.Log()) {
    names.push_back(operation.name);
  }
  EXPECT_THAT(names, ElementsAre("stat", "create", "write", "write",
                                 "set_permissions", "sync", "close",
                                 "open_read", "rename", "sync_directory"));
  EXPECT_EQ(files.Log().back().path, "d");
}

TEST(AtomicFileTest, NeedsANameAndNoDirectory) {
  MemoryFileSystem files;
  files.Put("d/a", "");
  for (const char* path : {"", "d/", "/", ".", "d/.."}) {
    EXPECT_EQ(
        AtomicFile::Create(files, path, Caching::kBuffered).status().code(),
        absl::StatusCode::kInvalidArgument)
        << path;
  }
  const absl::Status status =
      AtomicFile::Create(files, "d", Caching::kBuffered).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is a directory"));
}

TEST(AtomicFileTest, TriesAnotherNameWhereOneIsTaken) {
  MemoryFileSystem base;
  FaultFileSystem files(base);
  Fault fault;
  fault.only = "create";
  fault.at_operation = 1;
  fault.status = absl::AlreadyExistsError("taken");
  files.Inject(fault);
  EXPECT_TRUE(Save(files, "a", "bytes").ok());
  fault.repeat = Fault::Repeat::kSticky;
  files.Inject(fault);
  EXPECT_TRUE(absl::IsAlreadyExists(Save(files, "b", "bytes")));
  EXPECT_THAT(base.Names(), ElementsAre("a"));
}

struct Outcome {
  absl::Status status;
  std::string content;
};

// One save over "old" or over nothing with `fault`.
Outcome SaveWith(const Fault& fault, bool replace, FaultFileSystem& files,
                 MemoryFileSystem& base) {
  if (replace) base.Put("d/a", "old");
  files.Inject(fault);
  Outcome outcome;
  outcome.status = Save(files, "d/a", "new");
  outcome.content = base.Get("d/a").value_or("");
  return outcome;
}

// Every operation fails in every way: the old file or the new one is there,
// whole, the caller hears of it, and an OK means the new one.
TEST(AtomicFileTest, AnErrorAnywhereLeavesTheOldOrTheNewFile) {
  for (const bool replace : {false, true}) {
    MemoryFileSystem counted_base;
    FaultFileSystem counted(counted_base);
    ASSERT_TRUE(SaveWith({}, replace, counted, counted_base).status.ok());
    const int64_t num_operations = counted.num_operations();
    ASSERT_GE(num_operations, 8);
    for (int64_t k = 1; k <= num_operations; ++k) {
      for (const auto repeat : {Fault::Repeat::kOnce, Fault::Repeat::kSticky}) {
        for (const auto effect : {Fault::Effect::kNone, Fault::Effect::kHalf,
                                  Fault::Effect::kAll}) {
          SCOPED_TRACE(testing::Message()
                       << "operation " << k << " sticky "
                       << (repeat == Fault::Repeat::kSticky) << " effect "
                       << static_cast<int>(effect) << " replace " << replace);
          MemoryFileSystem base;
          FaultFileSystem files(base);
          Fault fault;
          fault.at_operation = k;
          fault.status = absl::UnknownError("I/O error");
          fault.repeat = repeat;
          fault.effect = effect;
          const Outcome outcome = SaveWith(fault, replace, files, base);
          const std::string old = replace ? "old" : "";
          EXPECT_TRUE(outcome.content == old || outcome.content == "new")
              << outcome.content;
          // Opening the old file is for speed alone; all else must be heard.
          EXPECT_EQ(outcome.status.ok(),
                    counted_base.Log()[k - 1].name == "open_read" &&
                        repeat == Fault::Repeat::kOnce);
          if (outcome.status.ok()) {
            EXPECT_EQ(outcome.content, "new");
          }
          EXPECT_EQ(files.num_calls_after_failed_sync(), 0);
          // Who cannot unlink cannot clean up. A name that was taken although
          // creating it failed is nobody's either: it may be another's file.
          const bool cannot_clean_up =
              repeat == Fault::Repeat::kSticky ||
              (effect == Fault::Effect::kAll && k == 2);
          const std::vector<std::string> names = base.Names();
          if (!cannot_clean_up) {
            EXPECT_EQ(std::count(names.begin(), names.end(), "d/a"),
                      static_cast<int64_t>(names.size()));
          }
        }
      }
    }
  }
}

TEST(AtomicFileTest, SaysWhenTheNewFileMayNotSurviveAPowerCut) {
  MemoryFileSystem base;
  FaultFileSystem files(base);
  Fault fault;
  fault.only = "sync_directory";
  fault.at_operation = 1;
  fault.status = absl::UnknownError("I/O error");
  const Outcome outcome = SaveWith(fault, true, files, base);
  EXPECT_EQ(outcome.content, "new");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnknown);
  EXPECT_THAT(
      std::string(outcome.status.message()),
      AllOf(HasSubstr("d/a"), HasSubstr("complete and visible"),
            HasSubstr("may not survive a power cut"), HasSubstr("I/O error")));
}

TEST(AtomicFileTest, AFailedCommitRemovesTheTemporaryAtOnce) {
  MemoryFileSystem base;
  FaultFileSystem files(base);
  auto atomic = AtomicFile::Create(files, "a", Caching::kBuffered);
  ASSERT_TRUE(atomic.ok());
  Fault fault;
  fault.only = "sync";
  fault.at_operation = 1;
  files.Inject(fault);
  EXPECT_FALSE((*atomic)->Commit().ok());
  EXPECT_THAT(base.Names(), IsEmpty());
}

class PosixAtomicFileTest : public testing::Test {
 protected:
  PosixAtomicFileTest() {
    std::string name = testing::TempDir() + "/atomicXXXXXX";
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/a";
  }
  ~PosixAtomicFileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  uint32_t Permissions() { return files_.Stat(path_)->permissions; }

  std::string Content(const std::string& path) {
    auto file = files_.OpenRead(path);
    if (!file.ok()) return file.status().ToString();
    std::vector<uint8_t> bytes((*file)->size_bytes());
    EXPECT_TRUE((*file)->Read(0, absl::MakeSpan(bytes)).ok());
    return std::string(bytes.begin(), bytes.end());
  }

  FileSystem& files_ = PosixFileSystem();
  std::string directory_;
  std::string path_;
};

TEST_F(PosixAtomicFileTest, ANewFileHasTheUmasksPermissions) {
  const mode_t old = umask(027);
  EXPECT_TRUE(Save(files_, path_, "new").ok());
  umask(old);
  EXPECT_EQ(Permissions(), 0640u);
}

TEST_F(PosixAtomicFileTest, AReplacedFileKeepsItsPermissions) {
  const mode_t old = umask(077);
  for (const uint32_t permissions : {0600u, 0666u, 0444u, 0640u}) {
    EXPECT_TRUE(Save(files_, path_, "old").ok());
    EXPECT_TRUE(files_.SetPermissions(path_, permissions).ok());
    EXPECT_TRUE(Save(files_, path_, "new").ok());
    EXPECT_EQ(Permissions(), permissions);
  }
  umask(old);
}

TEST_F(PosixAtomicFileTest, ASecretIsNeverReadableWhileItIsWritten) {
  EXPECT_TRUE(Save(files_, path_, "old").ok());
  EXPECT_TRUE(files_.SetPermissions(path_, 0600).ok());
  auto atomic = AtomicFile::Create(files_, path_, Caching::kBuffered);
  ASSERT_TRUE(atomic.ok());
  EXPECT_EQ(files_.Stat((*atomic)->file().path())->permissions, 0600u);
}

TEST_F(PosixAtomicFileTest, ReplacesASymbolicLinkAndNotItsTarget) {
  const std::string target = directory_ + "/target";
  EXPECT_TRUE(Save(files_, target, "shared").ok());
  ASSERT_EQ(symlink("target", path_.c_str()), 0);
  EXPECT_TRUE(Save(files_, path_, "new").ok());
  EXPECT_EQ(Content(path_), "new");
  EXPECT_EQ(Content(target), "shared");
  struct stat info;
  ASSERT_EQ(lstat(path_.c_str(), &info), 0);
  EXPECT_TRUE(S_ISREG(info.st_mode));
}

TEST_F(PosixAtomicFileTest, RefusesAPipeAndADirectory) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  for (const std::string& path : {path_, directory_}) {
    EXPECT_EQ(
        AtomicFile::Create(files_, path, Caching::kDirect).status().code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(PosixAtomicFileTest, TakesTheLongestNamesThereAreAndCutsNoCharacter) {
  std::string accents = "xx";
  for (int i = 0; i < 126; ++i) accents += "\u00e9";
  for (const std::string& name : {std::string(255, 'x'), accents}) {
    SCOPED_TRACE(name);
    const std::string path = directory_ + "/" + name;
    auto atomic = AtomicFile::Create(files_, path, Caching::kBuffered);
    ASSERT_TRUE(atomic.ok()) << atomic.status();
    const std::string temporary = BaseName((*atomic)->file().path());
    EXPECT_LE(temporary.size(), 255u);
    const std::string kept = temporary.substr(1, temporary.rfind('.') - 18);
    EXPECT_TRUE(absl::StartsWith(name, kept));
    EXPECT_EQ(kept.back(), name.back());
    EXPECT_TRUE((*atomic)->Commit().ok());
    EXPECT_TRUE(files_.Stat(path).ok());
  }
}

// Its blocks are freed with the last reference, in the background.
TEST_F(PosixAtomicFileTest, GivesTheReplacedFileAwayToBeClosed) {
  EXPECT_TRUE(Save(files_, path_, "old").ok());
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  auto atomic = *AtomicFile::Create(files_, path_, Caching::kDirect);
  const auto before = count();
  EXPECT_TRUE(atomic->Commit().ok());
  WaitForReplacedFiles();
  EXPECT_EQ(count(), before - 1);
}

}  // namespace
}  // namespace penstock
