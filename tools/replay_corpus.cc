// The main function of the tests that tools/fuzz.bzl makes: feeds a fuzz target
// each input of a corpus, and each of its beginnings, as a truncated file is.
//
// A corpus is text: an input a line, in hex; '#' begins a comment.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

const char* corpus_path = nullptr;

// A heap block of exactly this size, so that a sanitizer sees its end.
void Feed(absl::string_view bytes) {
  const std::vector<uint8_t> input(bytes.begin(), bytes.end());
  EXPECT_EQ(LLVMFuzzerTestOneInput(input.data(), input.size()), 0);
}

TEST(CorpusTest, NothingInItIsMoreThanAnError) {
  std::ifstream corpus(corpus_path);
  int num_inputs = 0;
  int number = 0;
  for (std::string line; std::getline(corpus, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    // Before it is fed: a crash says no more.
    std::cerr << corpus_path << ":" << number << "\n";
    ASSERT_EQ(line.find_first_not_of("0123456789abcdef"), std::string::npos);
    ASSERT_EQ(line.size() % 2, 0u);
    const std::string input = absl::HexStringToBytes(line);
    ++num_inputs;
    Feed(input);
    for (size_t size = 0; size < input.size(); ++size) {
      Feed(absl::string_view(input).substr(0, size));
    }
  }
  EXPECT_GT(num_inputs, 0) << corpus_path;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2) return 2;
  corpus_path = argv[1];
  return RUN_ALL_TESTS();
}
