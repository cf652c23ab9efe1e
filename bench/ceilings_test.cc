#include "bench/ceilings.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bench/block_io.h"
#include "bench/descriptor.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

std::string FolderOf(const char* name) {
  const std::string folder = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  return folder;
}

// How many of them run here; each leaves nothing behind.
int RunAll(const std::vector<Contender>& contenders) {
  int num_ran = 0;
  for (const Contender& contender : contenders) {
    SCOPED_TRACE(contender.rows[0].Name());
    EXPECT_TRUE(contender.prepare().ok());
    const absl::StatusOr<Sample> sample = contender.run();
    if (absl::IsUnimplemented(sample.status())) continue;
    EXPECT_TRUE(sample.ok()) << sample.status();
    if (!sample.ok()) continue;
    EXPECT_EQ(sample->seconds.size(), contender.rows.size());
    EXPECT_GT(sample->seconds[0], 0);
    ++num_ran;
  }
  return num_ran;
}

TEST(CeilingsTest, CopiesAreRight) {
  EXPECT_GE(RunAll(CopyCeilings(64 << 20, 2)), 2);
}

TEST(CeilingsTest, EveryWayOfWritingRunsOrSaysWhyNotAndLeavesNothing) {
  const std::string folder = FolderOf("ceilings_write");
  RunAll(WriteCeilings(folder, 9'000'000));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(CeilingsTest, EveryWayOfReadingRunsOrSaysWhyNot) {
  const std::string path = FolderOf("ceilings_read") + "/file";
  std::ofstream(path) << std::string(9'000'001, 'x');  // ends inside a block
  RunAll(ReadCeilings([&path] { return path; }, 9'000'001, 2));
}

class BlockRunTest : public testing::TestWithParam<bool> {
 protected:
  absl::Status Run(const BlockRun& run) {
    return GetParam() ? RunByRing(run) : RunByThreads(run);
  }
};

// Through the page cache, so that it runs on every file system.
TEST_P(BlockRunTest, EveryBlockGoesToItsPlaceAndComesBack) {
  const std::string path = FolderOf("block_run") + "/file";
  absl::StatusOr<Descriptor> file =
      Descriptor::Open(path, O_RDWR | O_CREAT | O_EXCL);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<uint8_t> buffers(3 * 4096, 7);
  BlockRun run{file->get(), Direction::kWrite, 10 * 4096, 4096,
               3,           buffers.data()};
  const absl::Status written = Run(run);
  if (absl::IsUnimplemented(written)) GTEST_SKIP() << written;
  ASSERT_TRUE(written.ok()) << written;
  std::ifstream stream(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(stream)),
                            std::istreambuf_iterator<char>());
  EXPECT_EQ(content, std::string(10 * 4096, 7));
  std::fill(buffers.begin(), buffers.end(), 0);
  run.direction = Direction::kRead;
  ASSERT_TRUE(Run(run).ok());
  // Which buffers were used is up to the threads; those that were are full.
  const auto num_sevens = std::count(buffers.begin(), buffers.end(), 7);
  EXPECT_GT(num_sevens, 0);
  EXPECT_EQ(num_sevens % 4096, 0);
}

TEST_P(BlockRunTest, AFileThatEndsEarlyIsAnError) {
  const std::string path = FolderOf("block_run_short") + "/file";
  std::ofstream(path) << std::string(5000, 'x');
  const absl::StatusOr<Descriptor> file = Descriptor::Open(path, O_RDONLY);
  ASSERT_TRUE(file.ok());
  std::vector<uint8_t> buffers(2 * 4096);
  const absl::Status status =
      Run({file->get(), Direction::kRead, 5 * 4096, 4096, 2, buffers.data()});
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

INSTANTIATE_TEST_SUITE_P(ThreadsAndRing, BlockRunTest, testing::Bool());

}  // namespace
}  // namespace penstock::bench
