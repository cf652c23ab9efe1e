#include "compat/file_kind.h"

#include <string>
#include <utility>
#include <vector>

#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

FileKind Detect(const std::string& bytes) {
  return *DetectKind(*FileFromString(bytes, "x"));
}

std::string Padded(std::string bytes) {
  bytes.resize(600);
  return bytes;
}

TEST(FileKindTest, TellsFilesByTheirFirstBytes) {
  const std::vector<std::pair<std::string, FileKind>> cases = {
      {"", FileKind::kEmpty},
      {std::string("\x50\x2a\x4d\x18\x38\0\0\0PENSTOCK", 16),
       FileKind::kNative},
      {"PK\x03\x04rest", FileKind::kZip},
      {std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."),
       FileKind::kLegacyStream},
      {Padded("sys_info"), FileKind::kTar},
      {std::string("\x80\x02}q\x00.", 6), FileKind::kPickle},
      {std::string("\x80\x04\x95", 3), FileKind::kPickle},
      {"\x08\x01\x01\x01PTMF", FileKind::kFlatBuffer},
      {"PYTORCH1xxxx", FileKind::kPytorch1},
      {"\x1f\x8b\x08", FileKind::kGzip},
      {"BZh9", FileKind::kBzip2},
      {"\x28\xb5\x2f\xfd", FileKind::kZstd},
      {"7z\xbc\xaf\x27\x1c", FileKind::kSevenZip},
      {"version https://git-lfs.github.com/spec/v1\n", FileKind::kLfsPointer},
      {"\n <!DOCTYPE html>", FileKind::kHtml},
      {"{\"error\": \"not found\"}", FileKind::kJson},
      {"\x93NUMPY\x01", FileKind::kNpy},
      {"GGUF\x03", FileKind::kGguf},
      {std::string("\x02\0\0\0\0\0\0\0{}", 10), FileKind::kSafetensors},
      {"hello", FileKind::kUnknown},
      {"P", FileKind::kUnknown},
  };
  for (const auto& [bytes, kind] : cases) {
    EXPECT_EQ(Detect(bytes), kind) << bytes.substr(0, 20);
  }
}

TEST(FileKindTest, RefusalsSayWhatToDo) {
  EXPECT_THAT(std::string(RefusalOf(FileKind::kLfsPointer).message()),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(std::string(RefusalOf(FileKind::kGzip).message()),
              HasSubstr("gzip"));
  EXPECT_EQ(RefusalOf(FileKind::kLegacyStream).code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace penstock
