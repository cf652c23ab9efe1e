#include "core/text_index.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Against a map: grown from nothing and from room that was made, with texts
// that come again.
TEST(TextIndexTest, FindsWhatAMapFinds) {
  for (const size_t room : {0, 1, 1000}) {
    SCOPED_TRACE(room);
    TextIndex index;
    if (room > 0) index.Reset(room);
    std::vector<std::string> texts;
    absl::flat_hash_map<std::string, uint32_t> expected;
    const auto text_of = [&](uint32_t i) -> absl::string_view {
      return texts[i];
    };
    for (uint32_t i = 0; i < 5000; ++i) {
      texts.push_back(absl::StrCat("layer.", i * 7919 % 3001, ".weight"));
      const uint32_t number = expected.try_emplace(texts[i], i).first->second;
      ASSERT_EQ(index.Insert(texts[i], i, text_of), number);
    }
    for (uint32_t i = 0; i < 6000; ++i) {
      const std::string text = absl::StrCat("layer.", i, ".weight");
      const auto found = expected.find(text);
      ASSERT_EQ(index.Find(text, text_of),
                found == expected.end() ? TextIndex::kNone : found->second);
    }
  }
}

TEST(TextIndexTest, ForgetsOnReset) {
  TextIndex index;
  const auto text_of = [](uint32_t) -> absl::string_view { return "a"; };
  EXPECT_EQ(index.Find("a", text_of), TextIndex::kNone);
  EXPECT_EQ(index.Insert("a", 7, text_of), 7u);
  EXPECT_EQ(index.Insert("a", 8, text_of), 7u);
  index.Reset(1);
  EXPECT_EQ(index.Find("a", text_of), TextIndex::kNone);
}

}  // namespace
}  // namespace penstock
