#include "core/glob.h"

#include <string>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(GlobTest, MatchesWholeNames) {
  EXPECT_TRUE(MatchesGlob("a.b", "a.b"));
  EXPECT_FALSE(MatchesGlob("a.b", "a.bc"));
  EXPECT_FALSE(MatchesGlob("a.b", "xa.b"));
  EXPECT_FALSE(MatchesGlob("a.b", "a-b"));
  EXPECT_TRUE(MatchesGlob("", ""));
  EXPECT_FALSE(MatchesGlob("", "a"));
  EXPECT_FALSE(MatchesGlob("a", ""));
}

TEST(GlobTest, StarIsAnyTextWithDots) {
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("*", "a.b.c"));
  EXPECT_TRUE(MatchesGlob("*.bias", "layers.0.bias"));
  EXPECT_FALSE(MatchesGlob("*.bias", "layers.0.bias2"));
  EXPECT_TRUE(MatchesGlob("a*b*c", "a.b.b.c"));
  EXPECT_TRUE(MatchesGlob("*ab", "aab"));
  EXPECT_TRUE(MatchesGlob("**a**", "a"));
  EXPECT_FALSE(MatchesGlob("a*b*c", "a.b.b.d"));
}

TEST(GlobTest, KnowsSets) {
  EXPECT_TRUE(MatchesGlob("layers.[0-3].*", "layers.2.w"));
  EXPECT_FALSE(MatchesGlob("layers.[0-3].*", "layers.4.w"));
  EXPECT_TRUE(MatchesGlob("[!0-3]", "4"));
  EXPECT_FALSE(MatchesGlob("[!0-3]", "3"));
  EXPECT_TRUE(MatchesGlob("[]]", "]"));
  EXPECT_TRUE(MatchesGlob("[a-]", "-"));
  EXPECT_TRUE(MatchesGlob("[a", "[a"));
  EXPECT_FALSE(MatchesGlob("[a", "a"));
  EXPECT_TRUE(MatchesGlob("w?", "w1"));
  EXPECT_FALSE(MatchesGlob("w?", "w"));
}

// What takes exponential time in a matcher that tries every star.
TEST(GlobTest, DoesNotExplode) {
  std::string glob;
  for (int i = 0; i < 50; ++i) glob += "*a";
  EXPECT_FALSE(MatchesGlob(glob + "b", std::string(20'000, 'a')));
}

}  // namespace
}  // namespace penstock
