#include "bench/contenders.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

std::shared_ptr<Arena> MakeArena(const char* name) {
  ArenaOptions options;
  options.directory = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(options.directory);
  std::filesystem::create_directory(options.directory);
  options.size_bytes = 3'000'000;
  options.run.threads = 2;
  absl::StatusOr<std::shared_ptr<Arena>> arena = Arena::Make(options);
  EXPECT_TRUE(arena.ok()) << arena.status();
  return *std::move(arena);
}

std::vector<Contender> AllOf(const std::shared_ptr<Arena>& arena) {
  std::vector<Contender> all = SaveContenders(arena);
  for (auto more : {LoadContenders(arena), PartContenders(arena)}) {
    for (Contender& contender : more) all.push_back(std::move(contender));
  }
  return all;
}

absl::StatusOr<Sample> RunOnce(const Contender& contender) {
  if (contender.prepare != nullptr) {
    const absl::Status prepared = contender.prepare();
    if (!prepared.ok()) return prepared;
  }
  return contender.run();
}

TEST(ContendersTest, EachHasAnOwnNameAndGivesATimeForEachOfItsRows) {
  const auto arena = MakeArena("contenders");
  std::set<std::string> names;
  for (const Contender& contender : AllOf(arena)) {
    SCOPED_TRACE(contender.rows[0].Name());
    const absl::StatusOr<Sample> sample = RunOnce(contender);
    for (const Row& row : contender.rows) {
      EXPECT_TRUE(names.insert(row.Name()).second);
    }
    if (absl::IsUnimplemented(sample.status())) continue;  // nothing is cold
    ASSERT_TRUE(sample.ok()) << sample.status();
    ASSERT_EQ(sample->seconds.size(), contender.rows.size());
    for (const double seconds : sample->seconds) EXPECT_GT(seconds, 0);
  }
}

TEST(ContendersTest, WhatWasSavedUnderANewNameIsGoneAfterwards) {
  const auto arena = MakeArena("contenders_new");
  for (const FileKind kind : {FileKind::kPt, FileKind::kRaw, FileKind::kZstd}) {
    ASSERT_TRUE(arena->File(kind, Cache::kCold).ok());
  }
  for (const Contender& contender : SaveContenders(arena)) {
    ASSERT_TRUE(RunOnce(contender).ok());
  }
  int num_files = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(arena->options().directory)) {
    ++num_files;
  }
  EXPECT_EQ(num_files, 3);
}

// The byte in the middle of a file belongs to a tensor.
void FlipMiddle(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto middle =
      static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
  file.seekg(middle);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(middle);
  file.put(byte);
}

TEST(ContendersTest, EveryLoadOfADamagedFileIsAFinding) {
  const auto arena = MakeArena("contenders_damage");
  for (const FileKind kind : {FileKind::kPt, FileKind::kRaw, FileKind::kZstd}) {
    for (const Cache cache : {Cache::kCold, Cache::kWarm}) {
      FlipMiddle(arena->File(kind, cache).value());
    }
  }
  for (const Contender& contender : LoadContenders(arena)) {
    SCOPED_TRACE(contender.rows[0].Name());
    const absl::Status status = RunOnce(contender).status();
    if (absl::IsUnimplemented(status)) continue;  // nothing is cold here
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
}

// A sound file with other tensors in it: no checksum helps against that.
TEST(ContendersTest, ASoundFileOfOtherTensorsIsAFinding) {
  const auto arena = MakeArena("contenders_other");
  const Value other = MakeStateDict(Tensors::kOne, 3'000'000, 1).value();
  const std::string path = arena->NewName(FileKind::kRaw);
  ASSERT_TRUE(Save(other, path, arena->OptionsFor(FileKind::kRaw)).ok());
  EXPECT_TRUE(absl::IsDataLoss(arena->CheckFile(path)));
}

}  // namespace
}  // namespace penstock::bench
