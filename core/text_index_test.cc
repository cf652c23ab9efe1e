#include "core/text_index.h"

#include <cstdint>
#include <optional>
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

// Around the size of what it takes at once.
TEST(TextIndexTest, FillEndsWithTheFirstThatIsNotNew) {
  constexpr uint32_t kTexts = 40;
  TextIndex index;
  for (uint32_t bad = 0; bad <= kTexts; ++bad) {
    for (const bool repeated : {false, true}) {
      SCOPED_TRACE(absl::StrCat(bad, repeated ? " repeated" : " without text"));
      std::vector<std::string> texts;
      for (uint32_t i = 0; i < kTexts; ++i) texts.push_back(absl::StrCat(i));
      if (repeated && bad == 0) continue;
      if (repeated && bad < kTexts) texts[bad] = texts[bad / 2];
      const auto text_of = [&](uint32_t i) -> absl::string_view {
        return texts[i];
      };
      const auto hashed_of = [&](uint32_t i) {
        std::optional<TextIndex::Hashed> hashed;
        if (repeated || i != bad) {
          hashed = {texts[i], TextIndex::HashOf(texts[i])};
        }
        return hashed;
      };
      ASSERT_EQ(index.Fill(kTexts, hashed_of, text_of), bad);
      for (uint32_t i = 0; i < kTexts; ++i) {
        ASSERT_EQ(index.Find(absl::StrCat(i), text_of),
                  i < bad ? i : TextIndex::kNone);
      }
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
