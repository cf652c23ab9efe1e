#include "core/file.h"

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(PathTest, SplitsAtTheLastSlash) {
  EXPECT_EQ(DirectoryOf("/a/b/c.pt"), "/a/b");
  EXPECT_EQ(BaseName("/a/b/c.pt"), "c.pt");
  EXPECT_EQ(DirectoryOf("a/c.pt"), "a");
  EXPECT_EQ(DirectoryOf("c.pt"), ".");
  EXPECT_EQ(BaseName("c.pt"), "c.pt");
  EXPECT_EQ(DirectoryOf("/c.pt"), "/");
  EXPECT_EQ(BaseName("/c.pt"), "c.pt");
  EXPECT_EQ(DirectoryOf("/"), "/");
  EXPECT_EQ(BaseName("/"), "");
  EXPECT_EQ(DirectoryOf("a/b/"), "a/b");
  EXPECT_EQ(BaseName("a/b/"), "");
  EXPECT_EQ(DirectoryOf(""), ".");
  EXPECT_EQ(BaseName(""), "");
}

}  // namespace
}  // namespace penstock
