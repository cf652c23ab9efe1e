#include "cli/array_file_name.h"

#include <string>

#include "gtest/gtest.h"

namespace penstock {
namespace {

TEST(ArrayFileNameTest, KeepsOrdinaryNames) {
  EXPECT_EQ(*ArrayFileName("layers.0.attn.q_proj.weight"),
            "layers.0.attn.q_proj.weight.npy");
  EXPECT_EQ(*ArrayFileName("a b~2"), "a b~2.npy");
}

TEST(ArrayFileNameTest, NoNameLeavesItsFolder) {
  EXPECT_EQ(*ArrayFileName("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd.npy");
  EXPECT_EQ(*ArrayFileName("/a\\b"), "%2Fa%5Cb.npy");
  EXPECT_EQ(*ArrayFileName(".."), "%2E..npy");
  EXPECT_EQ(*ArrayFileName(""), "%.npy");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string file =
        *ArrayFileName(std::string(2, static_cast<char>(byte)));
    EXPECT_EQ(file.find_first_of(std::string("/\\\0\n", 4)), file.npos) << byte;
    EXPECT_NE(file[0], '.') << byte;
  }
}

TEST(ArrayFileNameTest, TwoNamesNeverShareAFile) {
  EXPECT_NE(*ArrayFileName("a/b"), *ArrayFileName("a%2Fb"));
  EXPECT_NE(*ArrayFileName(".a"), *ArrayFileName("%2Ea"));
  EXPECT_NE(*ArrayFileName(""), *ArrayFileName("%"));
}

TEST(ArrayFileNameTest, BoundsTheLength) {
  EXPECT_TRUE(ArrayFileName(std::string(251, 'x')).ok());
  EXPECT_EQ(ArrayFileName(std::string(252, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ArrayFileName(std::string(100, '/')).ok());
}

}  // namespace
}  // namespace penstock
