#include "bench/page_cache.h"

#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

std::string FileOf(size_t size_bytes) {
  std::string path = testing::TempDir() + "/page_cache_test.bin";
  std::ofstream(path) << std::string(size_bytes, 'x');
  return path;
}

TEST(PageCacheTest, WhatWasDroppedIsGoneAndWhatWasBroughtIsThere) {
  const std::string path = FileOf(3'000'000);
  const absl::Status dropped = DropFromCache(path);
  if (absl::IsUnimplemented(dropped)) GTEST_SKIP() << dropped;
  ASSERT_TRUE(dropped.ok()) << dropped;
  EXPECT_EQ(CachedBytes(path).value(), 0);
  ASSERT_TRUE(BringIntoCache(path).ok());
  EXPECT_GE(CachedBytes(path).value(), 3'000'000);
}

TEST(PageCacheTest, AFileJustWrittenIsWrittenOutAndDropped) {
  const std::string path = FileOf(1'000'000);
  EXPECT_GT(CachedBytes(path).value(), 0);
  const absl::Status dropped = DropFromCache(path);
  if (absl::IsUnimplemented(dropped)) GTEST_SKIP() << dropped;
  EXPECT_EQ(CachedBytes(path).value(), 0);
}

TEST(PageCacheTest, AnEmptyFileIsColdAndWarm) {
  const std::string path = FileOf(0);
  EXPECT_TRUE(DropFromCache(path).ok());
  EXPECT_TRUE(BringIntoCache(path).ok());
  EXPECT_TRUE(MakeDurable(path).ok());
}

TEST(PageCacheTest, AFileThatIsNotThereIsAnError) {
  EXPECT_TRUE(absl::IsNotFound(CachedBytes("/no/such/file").status()));
  EXPECT_TRUE(absl::IsNotFound(DropFromCache("/no/such/file")));
  EXPECT_TRUE(absl::IsNotFound(MakeDurable("/no/such/file")));
}

}  // namespace
}  // namespace penstock::bench
