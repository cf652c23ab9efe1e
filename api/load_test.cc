// Loading everything: into new memory, over pages of the file, into tensors
// that are there already.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "bench/corpus.h"
#include "core/file.h"
#include "core/memory_file_system.h"
#include "core/posix_file_system.h"
#include "core/state_dict.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor Weights(DType dtype, std::vector<int64_t> shape, uint64_t seed) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  std::shared_ptr<Storage> storage =
      *Storage::Allocate(elements * InfoOf(dtype).size_bytes);
  FillWeights(dtype, seed, shape.back(), storage->mutable_bytes());
  return *Tensor::Make(std::move(storage), dtype, std::move(shape));
}

// Large and small tensors, ties, a transposed and a strided view, empty ones.
Value MakeCheckpoint() {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto set = [&](const std::string& key, const Tensor& tensor) {
    EXPECT_TRUE(b.SetItem(root, b.Str(key), b.Tensor(tensor)).ok());
  };
  const Tensor big = Weights(DType::kBFloat16, {5003, 512}, 1);
  set("big", big);
  set("tied", big);
  set("turned",
      *Tensor::Make(big.storage(), big.dtype(), {512, 5003}, {1, 512}));
  set("part", *Tensor::Make(big.storage(), big.dtype(), {7}, {2}, 12345));
  set("rows", *Tensor::Make(big.storage(), big.dtype(), {100, 512}, {512, 1},
                            512 * 17));
  for (int i = 0; i < 40; ++i) {
    set(absl::StrCat("bias.", i), Weights(DType::kFloat32, {64 + i}, 2 + i));
  }
  set("middle", Weights(DType::kFloat32, {300, 301}, 60));
  set("wide", Weights(DType::kFloat64, {11, 13}, 61));
  set("empty", Weights(DType::kFloat32, {0, 4}, 62));
  return *std::move(b).Finish(root);
}

std::string BytesOf(const Tensor& tensor) {
  std::string bytes(tensor.size_bytes(), '\0');
  EXPECT_TRUE(tensor
                  .CopyTo(absl::MakeSpan(
                      reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()))
                  .ok());
  return bytes;
}

void ExpectSame(const StateDict& expected, const StateDict& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (const NamedTensor& entry : expected.entries()) {
    const NamedTensor* const other = actual.Find(entry.name);
    ASSERT_NE(other, nullptr) << entry.name;
    EXPECT_TRUE(BytesOf(entry.tensor) == BytesOf(other->tensor)) << entry.name;
  }
}

// A new tensor of the same dtype and shape, full of 0xA5.
Tensor EmptyLike(const Tensor& tensor) {
  std::shared_ptr<Storage> storage = *Storage::Allocate(tensor.size_bytes());
  std::memset(storage->mutable_bytes().data(), 0xA5, storage->size_bytes());
  return *Tensor::Make(
      std::move(storage), tensor.dtype(),
      std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end()));
}

StateDict EmptyLike(const StateDict& state_dict) {
  StateDict result;
  for (const NamedTensor& entry : state_dict.entries()) {
    EXPECT_TRUE(result.Add({entry.name, EmptyLike(entry.tensor)}).ok());
  }
  return result;
}

struct Case {
  std::string name;
  Codec codec = Codec::kNone;
};

class LoadTest : public testing::TestWithParam<int> {
 protected:
  LoadTest() : directory_(testing::TempDir() + "/load_test") {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
  }
  ~LoadTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const Case& of, FileSystem* files = nullptr) {
    const std::string path = directory_ + "/" + of.name;
    SaveOptions options = SaveOptionsFor(path);
    options.codec = of.codec;
    options.run.files = files;
    const auto saved = Save(root_, path, options);
    EXPECT_TRUE(saved.ok()) << saved.status();
    return path;
  }

  static std::vector<Case> Cases() {
    return {{"raw.pstk", Codec::kNone},
            {"zstd.pstk", Codec::kZstd},
            {"m.pt", Codec::kNone}};
  }

  const std::string directory_;
  const Value root_ = MakeCheckpoint();
  const StateDict expected_ = *StateDict::FromValue(root_);
};

TEST_P(LoadTest, GivesTheSameBytesHoweverItIsLoaded) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    RunOptions options;
    options.threads = GetParam();
    const auto file = Checkpoint::Open(Path(of), options);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto loaded = file->Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(Compare(root_, *loaded).ok()) << Compare(root_, *loaded);
    const auto mapped = file->LoadMapped();
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    EXPECT_TRUE(Compare(root_, *mapped).ok()) << Compare(root_, *mapped);
    StateDict target = EmptyLike(expected_);
    const auto report = file->LoadInto(target, Strictness::kStrict);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->num_loaded, expected_.size());
    ExpectSame(expected_, target);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, LoadTest, testing::Values(1, 2, 8));

TEST_F(LoadTest, MappedBytesOutliveTheCheckpointAndItsName) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    const std::string path = Path(of);
    absl::StatusOr<Value> mapped;
    {
      const auto file = Checkpoint::Open(path);
      ASSERT_TRUE(file.ok()) << file.status();
      mapped = file->LoadMapped();
    }
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    std::filesystem::remove(path);
    EXPECT_TRUE(Compare(root_, *mapped).ok());
  }
}

TEST_F(LoadTest, MapsNothingWhereTheFileSystemCannot) {
  MemoryFileSystem files;
  const std::string path = Path({"m.pt"}, &files);
  RunOptions options;
  options.files = &files;
  const auto file = Checkpoint::Open(path, options);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto mapped = file->LoadMapped();
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  EXPECT_TRUE(Compare(root_, *mapped).ok());
}

// A byte in the middle of the tensors, whatever way they are loaded.
TEST_F(LoadTest, FindsDamageInEveryMode) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    const std::string path = Path(of);
    const int64_t middle =
        static_cast<int64_t>(std::filesystem::file_size(path)) / 2;
    FILE* const raw = fopen(path.c_str(), "r+b");
    ASSERT_NE(raw, nullptr);
    fseek(raw, middle, SEEK_SET);
    const int byte = fgetc(raw);
    fseek(raw, middle, SEEK_SET);
    fputc(byte ^ 0x10, raw);
    ASSERT_EQ(fclose(raw), 0);
    const auto file = Checkpoint::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    StateDict target = EmptyLike(expected_);
    for (const absl::Status& status :
         {file->Load().status(), file->LoadMapped().status(),
          file->LoadInto(target, Strictness::kStrict).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("big"));
    }
  }
}

// The wanted part is sound, the record around it is not: no checksum covers
// the part alone.
TEST_F(LoadTest, VerifiesTheRestOfARecordThatIsReadInPart) {
  const std::string path = Path({"m.pt"});
  auto file = Checkpoint::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const Tensor rows = expected_.Find("rows")->tensor;
  StateDict target;
  ASSERT_TRUE(target.Add({"rows", EmptyLike(rows)}).ok());
  ASSERT_TRUE(file->LoadInto(target, Strictness::kLenient).ok());
  EXPECT_TRUE(BytesOf(rows) == BytesOf(target.entries()[0].tensor));
  FILE* const raw = fopen(path.c_str(), "r+b");
  ASSERT_NE(raw, nullptr);
  fseek(raw, 4'000'000, SEEK_SET);
  const int byte = fgetc(raw);
  fseek(raw, 4'000'000, SEEK_SET);
  fputc(byte ^ 0x10, raw);
  ASSERT_EQ(fclose(raw), 0);
  EXPECT_EQ(file->LoadInto(target, Strictness::kLenient).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(LoadTest, GoesIntoTiedOverlappingAndStridedTargets) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    RunOptions options;
    options.memory_bytes = 64 << 20;
    const auto file = Checkpoint::Open(Path(of), options);
    ASSERT_TRUE(file.ok()) << file.status();
    StateDict target;
    const Tensor big = EmptyLike(expected_.Find("big")->tensor);
    ASSERT_TRUE(target.Add({"big", big}).ok());
    // The same memory, the same bytes.
    ASSERT_TRUE(target.Add({"tied", big}).ok());
    // Laid out as in the file, though not in C order.
    const Tensor other = EmptyLike(big);
    ASSERT_TRUE(
        target
            .Add({"turned", *Tensor::Make(other.storage(), DType::kBFloat16,
                                          {512, 5003}, {1, 512})})
            .ok());
    // Laid out otherwise.
    const Tensor middle = EmptyLike(expected_.Find("middle")->tensor);
    ASSERT_TRUE(
        target
            .Add({"middle", *Tensor::Make(middle.storage(), DType::kFloat32,
                                          {300, 301}, {1, 300})})
            .ok());
    // One memory for two tensors: the last one wins.
    const std::shared_ptr<Storage> shared = *Storage::Allocate(4 * 67);
    for (const int i : {3, 2, 1}) {
      ASSERT_TRUE(target
                      .Add({absl::StrCat("bias.", i),
                            *Tensor::Make(shared, DType::kFloat32, {64 + i})})
                      .ok());
    }
    const auto report = file->LoadInto(target, Strictness::kLenient);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->num_loaded, 7);
    for (const char* name : {"big", "tied", "turned", "middle", "bias.1"}) {
      EXPECT_TRUE(BytesOf(target.Find(name)->tensor) ==
                  BytesOf(expected_.Find(name)->tensor))
          << name;
    }
    EXPECT_EQ(BytesOf(target.Find("bias.3")->tensor).substr(4 * 66),
              BytesOf(expected_.Find("bias.3")->tensor).substr(4 * 66));
  }
}

TEST_F(LoadTest, ReadsATiedTargetOnce) {
  MemoryFileSystem files;
  const std::string path = Path({"m.pt"}, &files);
  RunOptions options;
  options.files = &files;
  const auto file = Checkpoint::Open(path, options);
  ASSERT_TRUE(file.ok()) << file.status();
  StateDict target;
  const Tensor big = EmptyLike(expected_.Find("big")->tensor);
  ASSERT_TRUE(target.Add({"big", big}).ok());
  ASSERT_TRUE(target.Add({"tied", big}).ok());
  const size_t before = files.Log().size();
  ASSERT_TRUE(file->LoadInto(target, Strictness::kLenient).ok());
  const std::vector<FileOperation> log = files.Log();
  int64_t read_bytes = 0;
  for (size_t i = before; i < log.size(); ++i) read_bytes += log[i].size_bytes;
  EXPECT_EQ(read_bytes, big.size_bytes());
}

// More than half the memory that may be taken: in parts.
TEST_F(LoadTest, LargeTemporariesComeInParts) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const Tensor large = Weights(DType::kFloat32, {3001, 7000}, 5);
  ASSERT_TRUE(b.SetItem(root, b.Str("large"), b.Tensor(large)).ok());
  const std::string path = directory_ + "/large.pt";
  ASSERT_TRUE(Save(*std::move(b).Finish(root), path).ok());
  RunOptions options;
  options.memory_bytes = 64 << 20;
  const auto file = Checkpoint::Open(path, options);
  ASSERT_TRUE(file.ok()) << file.status();
  const Tensor memory = EmptyLike(large);
  StateDict target;
  ASSERT_TRUE(
      target
          .Add({"large", *Tensor::Make(memory.storage(), DType::kFloat32,
                                       {3001, 7000}, {1, 3001})})
          .ok());
  const auto report = file->LoadInto(target, Strictness::kStrict);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(BytesOf(large) == BytesOf(target.entries()[0].tensor));
}

TEST_F(LoadTest, WritesNothingWhereNamesOrShapesDoNotFit) {
  const auto file = Checkpoint::Open(Path({"m.pt"}));
  ASSERT_TRUE(file.ok()) << file.status();
  StateDict target;
  const Tensor wide = EmptyLike(expected_.Find("wide")->tensor);
  const std::string before = BytesOf(wide);
  ASSERT_TRUE(target.Add({"wide", wide}).ok());
  ASSERT_TRUE(target.Add({"middle", wide}).ok());
  ASSERT_TRUE(target.Add({"nobody", wide}).ok());
  const absl::Status refused =
      file->LoadInto(target, Strictness::kStrict).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("missing: nobody"));
  EXPECT_TRUE(BytesOf(wide) == before);
  const auto report = file->LoadInto(target, Strictness::kLenient);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->missing, ElementsAre("nobody"));
  EXPECT_THAT(report->mismatched, ElementsAre(HasSubstr("middle: source f")));
  EXPECT_EQ(report->num_loaded, 1);
  EXPECT_TRUE(BytesOf(wide) == BytesOf(expected_.Find("wide")->tensor));
}

TEST_F(LoadTest, ReadErrorsOfEveryOperationComeThrough) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    MemoryFileSystem memory;
    FaultFileSystem files(memory);
    const std::string path = Path(of, &memory);
    RunOptions options;
    options.files = &files;
    const auto file = Checkpoint::Open(path, options);
    ASSERT_TRUE(file.ok()) << file.status();
    for (int64_t at = 1;; ++at) {
      StateDict target = EmptyLike(expected_);
      Fault fault;
      fault.at_operation = at;
      fault.effect = Fault::Effect::kHalf;
      fault.status = absl::DataLossError("injected");
      files.Inject(fault);
      const absl::Status status =
          file->LoadInto(target, Strictness::kStrict).status();
      if (files.num_faults() == 0) {
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_GT(at, 5);
        break;
      }
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), HasSubstr("injected"));
    }
  }
}

// Larger than what is read before a thread has begun to read ahead, and not in
// the page cache.
class ColdLoadTest : public LoadTest {
 protected:
  ColdLoadTest() {
    GraphBuilder b;
    const NodeId root = b.Dict();
    for (int i = 0; i < 9; ++i) {
      // No multiples of a page, a chunk or a sector.
      const Tensor tensor = Weights(DType::kFloat32, {701 + 13 * i, 1003}, i);
      EXPECT_TRUE(
          b.SetItem(root, b.Str(absl::StrCat("t", i)), b.Tensor(tensor)).ok());
      const Tensor small = Weights(DType::kFloat32, {77 + i}, 100 + i);
      EXPECT_TRUE(
          b.SetItem(root, b.Str(absl::StrCat("b", i)), b.Tensor(small)).ok());
    }
    large_ = *std::move(b).Finish(root);
    expected_large_ = *StateDict::FromValue(large_);
  }

  std::string LargePath(const Case& of) {
    const std::string path = directory_ + "/large." + of.name;
    SaveOptions options = SaveOptionsFor(path);
    options.codec = of.codec;
    EXPECT_TRUE(Save(large_, path, options).ok());
    return path;
  }
  static void Evict(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
  }

  Value large_;
  StateDict expected_large_;
};

TEST_P(ColdLoadTest, GivesTheSameBytesHoweverItIsLoaded) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    RunOptions options;
    options.threads = GetParam();
    const std::string path = LargePath(of);
    const auto file = Checkpoint::Open(path, options);
    ASSERT_TRUE(file.ok()) << file.status();
    Evict(path);
    const auto loaded = file->Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(Compare(large_, *loaded).ok()) << Compare(large_, *loaded);
    Evict(path);
    StateDict target = EmptyLike(expected_large_);
    ASSERT_TRUE(file->LoadInto(target, Strictness::kStrict).ok());
    ExpectSame(expected_large_, target);
    Evict(path);
    const auto mapped = file->LoadMapped();
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    EXPECT_TRUE(Compare(large_, *mapped).ok()) << Compare(large_, *mapped);
    Evict(path);
    const auto report = Verify(path, options);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->findings.empty()) << report->findings[0];
  }
}

// The same error as from the page cache, whichever of the reads fails first.
TEST_P(ColdLoadTest, SaysTheSameOfDamageAndOfAFileThatBecameShorter) {
  for (const Case& of : Cases()) {
    SCOPED_TRACE(of.name);
    RunOptions options;
    options.threads = GetParam();
    const std::string path = LargePath(of);
    const int64_t size = std::filesystem::file_size(path);
    const auto file = Checkpoint::Open(path, options);
    ASSERT_TRUE(file.ok()) << file.status();
    for (const bool shorter : {false, true}) {
      if (shorter) {
        std::filesystem::resize_file(path, size / 2 + 77);
      } else {
        const int fd = open(path.c_str(), O_RDWR);
        for (const int64_t at : {size / 3, size * 2 / 3}) {
          char bytes[8] = {};
          ASSERT_EQ(pread(fd, bytes, 8, at), 8);
          for (char& byte : bytes) byte ^= 0x5A;
          ASSERT_EQ(pwrite(fd, bytes, 8, at), 8);
        }
        ASSERT_EQ(fdatasync(fd), 0);
        close(fd);
      }
      const absl::Status warm = file->Load().status();
      EXPECT_EQ(warm.code(), absl::StatusCode::kDataLoss) << warm;
      Evict(path);
      EXPECT_EQ(file->Load().status(), warm);
      Evict(path);
      StateDict target = EmptyLike(expected_large_);
      EXPECT_EQ(file->LoadInto(target, Strictness::kStrict).status().code(),
                absl::StatusCode::kDataLoss);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ColdLoadTest, testing::Values(1, 2, 8));

}  // namespace
}  // namespace penstock
