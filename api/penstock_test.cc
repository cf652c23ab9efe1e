// What crosses the folders: both formats through the one door, over files that
// fail, and threads in any number.

#include "api/penstock.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/corpus.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault_file.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Tensor Weights(DType dtype, std::vector<int64_t> shape, uint64_t seed) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  std::shared_ptr<Storage> storage =
      *Storage::Allocate(elements * InfoOf(dtype).size_bytes);
  FillWeights(dtype, seed, shape.back(), storage->mutable_bytes());
  return *Tensor::Make(std::move(storage), dtype, std::move(shape));
}

// Large and small tensors, a tie, a view with strides, numbers.
Value MakeCheckpoint(int64_t rows, uint64_t seed) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  absl::Status status;
  const auto set = [&](const std::string& key, NodeId value) {
    status.Update(b.SetItem(root, b.Str(key), value));
  };
  const Tensor big = Weights(DType::kBFloat16, {rows, 512}, seed);
  const NodeId node = b.Tensor(big);
  set("big", node);
  set("tied", node);
  set("turned", b.Tensor(*Tensor::Make(big.storage(), big.dtype(), {512, rows},
                                       {1, 512})));
  for (int i = 0; i < 20; ++i) {
    set(absl::StrCat("bias.", i),
        b.Tensor(Weights(DType::kFloat32, {64 + i}, seed + 1 + i)));
  }
  set("empty", b.Tensor(Weights(DType::kFloat32, {0, 4}, 1)));
  set("epoch", b.Int(3));
  set("loss", b.Float(0.1));
  EXPECT_TRUE(status.ok()) << status;
  return *std::move(b).Finish(root);
}

SaveOptions OptionsFor(const std::string& path, FileSystem& files) {
  SaveOptions options = SaveOptionsFor(path);
  options.run.files = &files;
  return options;
}

RunOptions Over(FileSystem& files) {
  RunOptions options;
  options.files = &files;
  return options;
}

class PenstockTest : public testing::Test {
 protected:
  MemoryFileSystem files_;
};

TEST_F(PenstockTest, WhatIsSavedLoadsToTheLastBitInBothFormats) {
  const Value made = MakeCheckpoint(3000, 1);
  for (const std::string path : {"/m.pstk", "/m.pt"}) {
    SCOPED_TRACE(path);
    const auto saved = Save(made, path, OptionsFor(path, files_));
    ASSERT_TRUE(saved.ok()) << saved.status();
    EXPECT_EQ(saved->file_bytes,
              static_cast<int64_t>(files_.Get(path)->size()));
    const auto loaded = Load(path, Over(files_));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(Compare(made, *loaded).ok()) << Compare(made, *loaded);
  }
}

TEST_F(PenstockTest, ConvertsThereAndBackToTheSameFile) {
  const Value made = MakeCheckpoint(3000, 2);
  ASSERT_TRUE(Save(made, "/a/m.pt", OptionsFor("/a/m.pt", files_)).ok());
  ASSERT_TRUE(
      Convert("/a/m.pt", "/m.pstk", OptionsFor("/m.pstk", files_)).ok());
  ASSERT_TRUE(
      Convert("/m.pstk", "/b/m.pt", OptionsFor("/b/m.pt", files_)).ok());
  EXPECT_TRUE(*files_.Get("/a/m.pt") == *files_.Get("/b/m.pt"));
  // From memory and from a .pt: the same native file.
  ASSERT_TRUE(
      Convert("/m.pstk", "/n.pstk", OptionsFor("/n.pstk", files_)).ok());
  EXPECT_TRUE(*files_.Get("/m.pstk") == *files_.Get("/n.pstk"));
}

TEST_F(PenstockTest, ThreadsChangeNothingButTheTime) {
  const Value made = MakeCheckpoint(9000, 3);
  for (const std::string path : {"/m.pstk", "/m.pt"}) {
    std::string first;
    for (const int threads : {1, 2, 8}) {
      SaveOptions options = OptionsFor(path, files_);
      options.run.threads = threads;
      const auto saved = Save(made, path, options);
      ASSERT_TRUE(saved.ok()) << saved.status();
      EXPECT_LE(saved->threads, threads);
      if (threads == 1) first = *files_.Get(path);
      EXPECT_TRUE(*files_.Get(path) == first) << path << " " << threads;
    }
  }
}

TEST_F(PenstockTest, ReadsOneTensorAndRowsOfItWithoutTheRest) {
  const Value made = MakeCheckpoint(5000, 4);
  const Tensor big = made.Find("big").AsTensor();
  for (const std::string path : {"/m.pstk", "/m.pt"}) {
    SCOPED_TRACE(path);
    ASSERT_TRUE(Save(made, path, OptionsFor(path, files_)).ok());
    const auto file = Checkpoint::Open(path, Over(files_));
    ASSERT_TRUE(file.ok()) << file.status();
    const auto rows = file->ReadRows("big", 2000, 2003);
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_THAT(rows->shape(), ElementsAre(3, 512));
    EXPECT_EQ(rows->storage()->size_bytes(), 3 * 512 * 2);
    EXPECT_EQ(std::memcmp(rows->storage()->bytes().data(),
                          big.storage()->bytes().data() + 2000 * 512 * 2,
                          3 * 512 * 2),
              0);
    const auto turned = file->Read("turned");
    ASSERT_TRUE(turned.ok()) << turned.status();
    EXPECT_THAT(turned->strides(), ElementsAre(1, 512));
    const auto empty = file->Read("empty");
    ASSERT_TRUE(empty.ok()) << empty.status();
    EXPECT_EQ(empty->num_elements(), 0);
    EXPECT_EQ(file->Read("nobody").status().code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(file->ReadRows("big", 3, 2).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(file->ReadRows("big", 0, 5001).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(PenstockTest, VerifyListsDamageWithTheTensorsName) {
  ASSERT_TRUE(
      Save(MakeCheckpoint(9000, 5), "/m.pstk", OptionsFor("/m.pstk", files_))
          .ok());
  const auto sound = Verify("/m.pstk", Over(files_));
  ASSERT_TRUE(sound.ok()) << sound.status();
  EXPECT_THAT(sound->findings, IsEmpty());
  EXPECT_EQ(sound->num_tensors, 24);

  std::string bytes = *files_.Get("/m.pstk");
  bytes[bytes.size() / 2] ^= 1;
  files_.Put("/m.pstk", bytes);
  const auto damaged = Verify("/m.pstk", Over(files_));
  ASSERT_TRUE(damaged.ok()) << damaged.status();
  EXPECT_THAT(damaged->findings, ElementsAre(HasSubstr("tensor \"big\"")));
  const absl::Status loaded = Load("/m.pstk", Over(files_)).status();
  EXPECT_EQ(loaded.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(loaded.message()), HasSubstr("tensor \"big\""));

  files_.Put("/m.pstk", bytes.substr(0, bytes.size() - 1));
  const auto cut = Verify("/m.pstk", Over(files_));
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->findings.size(), 1u);
  EXPECT_EQ(Verify("/none", Over(files_)).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(PenstockTest, RefusesWhatIsNoCheckpoint) {
  files_.Put("/lfs.pt", "version https://git-lfs.github.com/spec/v1\n");
  const absl::Status status =
      Checkpoint::Open("/lfs.pt", Over(files_)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/lfs.pt: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("git lfs pull"));
}

TEST_F(PenstockTest, CancellingLeavesTheOldFile) {
  ASSERT_TRUE(
      Save(MakeCheckpoint(10, 6), "/m.pstk", OptionsFor("/m.pstk", files_))
          .ok());
  const std::string before = *files_.Get("/m.pstk");
  SaveOptions options = OptionsFor("/m.pstk", files_);
  options.run.progress = [](const Progress&) { return Proceed::kCancel; };
  EXPECT_EQ(Save(MakeCheckpoint(5000, 7), "/m.pstk", options).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_TRUE(*files_.Get("/m.pstk") == before);
  EXPECT_THAT(files_.Names(), ElementsAre("/m.pstk"));
}

TEST_F(PenstockTest, AFullDiskIsToldBeforeTheFirstByteOfAPt) {
  MemoryFileSystem::Options small;
  small.capacity_bytes = 100'000;
  MemoryFileSystem files(small);
  const absl::Status status =
      Save(MakeCheckpoint(1000, 8), "/m.pt", OptionsFor("/m.pt", files))
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("are free"));
  EXPECT_THAT(files.Names(), IsEmpty());
}

// Every operation of a save that replaces a file fails once, and from then on.
// Afterwards the old file is there, or the new one, and nothing else.
class FaultTest : public testing::TestWithParam<std::string> {};

TEST_P(FaultTest, EveryFailingOperationLeavesOneWholeFile) {
  const std::string path = GetParam();
  const Value old_value = MakeCheckpoint(10, 1);
  const Value new_value = MakeCheckpoint(1200, 2);
  for (const auto repeat : {Fault::Repeat::kOnce, Fault::Repeat::kSticky}) {
    for (int64_t operation = 1;; ++operation) {
      SCOPED_TRACE(absl::StrCat(path, " operation ", operation));
      MemoryFileSystem files;
      ASSERT_TRUE(Save(old_value, path, OptionsFor(path, files)).ok());
      const std::string before = *files.Get(path);
      FaultFileSystem faulty(files);
      Fault fault;
      fault.at_operation = operation;
      fault.repeat = repeat;
      fault.effect = Fault::Effect::kHalf;
      faulty.Inject(fault);
      const absl::Status saved =
          Save(new_value, path, OptionsFor(path, faulty)).status();
      if (faulty.num_faults() == 0) {
        ASSERT_TRUE(saved.ok()) << saved;
        break;
      }
      EXPECT_EQ(faulty.num_calls_after_failed_sync(), 0);
      // A sticky fault also keeps the temporary from being removed.
      if (repeat == Fault::Repeat::kOnce) {
        EXPECT_THAT(files.Names(), ElementsAre(path));
      }
      const auto left = Load(path, Over(files));
      ASSERT_TRUE(left.ok()) << left.status();
      const bool is_old = *files.Get(path) == before;
      EXPECT_TRUE(is_old || Compare(new_value, *left).ok());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, FaultTest,
                         testing::Values("/d/m.pstk", "/d/m.pt"));

}  // namespace
}  // namespace penstock
