#include "compat/file_kind.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
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

template <size_t n>
std::string Bytes(const char (&text)[n]) {
  return std::string(text, n - 1);
}

// First bytes, of every kind at least one.
std::vector<std::pair<std::string, FileKind>> Cases() {
  const std::string zip = Bytes("PK\x03\x04\0\0\x08\x08rest of a zip file");
  std::string ustar = Padded("model_config.yaml");
  ustar.replace(257, 5, "ustar");
  return {
      {Bytes("\x50\x2a\x4d\x18\x38\0\0\0PENSTOCK"), FileKind::kNative},
      {zip, FileKind::kZip},
      {Padded("PK\x05\x06"), FileKind::kZip},
      {Bytes("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."),
       FileKind::kLegacyStream},
      {Bytes("\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"
             "\x6a\xa8\x50\x19."),
       FileKind::kLegacyStream},
      {"L119547037146038801333356L\n.I1001\n.", FileKind::kLegacyStream},
      {Padded("sys_info"), FileKind::kTar},
      {ustar, FileKind::kTar},
      {Bytes("\x80\x02}q\x00."), FileKind::kPickle},
      {Bytes("\x80\x04\x95"), FileKind::kPickle},
      {"(dp0\nVweight\np1\nI3\ns.", FileKind::kPickle},
      {Bytes("}q\x00U\x01"), FileKind::kPickle},
      {"ccollections\nOrderedDict\np0\n(tRp1\n.", FileKind::kPickle},
      {"(imodels\nNet\np0\n", FileKind::kPickle},
      {Bytes("\x02\0\0\0\0\0\0\0{}"), FileKind::kSafetensors},
      {Bytes("\x40\x9c\0\0\0\0\0\0{\"a\":"), FileKind::kSafetensors},
      {Bytes("\x93NUMPY\x01"), FileKind::kNpy},
      {Bytes("\x08\x01\x01\x01PTMF"), FileKind::kFlatBuffer},
      {"PYTORCH1xxxx", FileKind::kPytorch1},
      {"GGUF\x03", FileKind::kGguf},
      {Bytes("lmgg\0\x7d\0\0"), FileKind::kGgml},
      {Bytes("tjgg\x03\0\0\0"), FileKind::kGgml},
      {"\x89HDF\r\n\x1a\n", FileKind::kHdf5},
      {Padded("\x08\x07\x12\x07pytorch\x1a\x05"
              "2.1.0"),
       FileKind::kOnnx},
      {Padded("\x08\x08\x3a\x20"), FileKind::kOnnx},
      {Bytes("\x1c\0\0\0TFL3\x14\0"), FileKind::kTflite},
      {Padded("\x08\x01\x12\x20\x0a\x10"), FileKind::kSavedModel},
      {"\x1f\x8b\x08", FileKind::kGzip},
      {"BZh9", FileKind::kBzip2},
      {Bytes("\xfd\067zXZ\0"), FileKind::kXz},
      {"\x28\xb5\x2f\xfd", FileKind::kZstd},
      {Bytes("\x51\x2a\x4d\x18\x04\0\0\0abcd"), FileKind::kZstd},
      {"\x04\x22\x4d\x18\x64", FileKind::kLz4},
      {Bytes("\x5d\0\0\x80\0") + std::string(8, '\xff') + '\0',
       FileKind::kLzma},
      {"7z\xbc\xaf\x27\x1c", FileKind::kSevenZip},
      {"Rar!\x1a\x07\x01", FileKind::kRar},
      {"", FileKind::kEmpty},
      {std::string(5000, '\0'), FileKind::kZeros},
      {"version https://git-lfs.github.com/spec/v1\n", FileKind::kLfsPointer},
      {"\n <!DOCTYPE html>", FileKind::kHtml},
      {"<?xml version=\"1.0\"?><html>", FileKind::kHtml},
      {"<?xml version=\"1.0\"?><Error><Code>NoSuchKey", FileKind::kXml},
      {"{\"error\": \"not found\"}", FileKind::kJson},
      {"\xef\xbb\xbf[1, 2]", FileKind::kJson},
      {absl::Base64Escape(zip), FileKind::kBase64},
      {"\x80\x02\x8a\r\nl\xfc\x9c", FileKind::kTextDamage},
      {"\xef\xbf\xbd\x02\xef\xbf\xbd", FileKind::kTextDamage},
      {"\x89HDF\n\x1a\n", FileKind::kTextDamage},
      {"\x7f"
       "ELF\x02",
       FileKind::kElf},
      {"%PDF-1.7", FileKind::kPdf},
      {"\x89PNG\r\n\x1a\n", FileKind::kPng},
      {"\xff\xd8\xff\xe0", FileKind::kJpeg},
      {"Not Found, said the proxy", FileKind::kText},
      {"P", FileKind::kUnknown},
      {"\x01\x02\x03\x04\x05\x06\x07\x08\x09", FileKind::kUnknown},
  };
}

TEST(FileKindTest, TellsFilesByTheirFirstBytes) {
  std::set<FileKind> seen;
  for (const auto& [bytes, kind] : Cases()) {
    EXPECT_EQ(TextOf(Detect(bytes)).name, TextOf(kind).name)
        << absl::CHexEscape(bytes.substr(0, 20));
    seen.insert(kind);
  }
  EXPECT_EQ(seen.size(), kNumFileKinds);
}

// Whatever follows, and wherever the file was cut off, it answers.
TEST(FileKindTest, EveryBeginningOfAFileHasAKind) {
  for (const auto& [bytes, kind] : Cases()) {
    for (size_t size = 0; size <= std::min<size_t>(bytes.size(), 64); ++size) {
      EXPECT_LT(static_cast<int>(Detect(bytes.substr(0, size))), kNumFileKinds);
    }
  }
}

TEST(FileKindTest, WordsAreOfOneNameEach) {
  std::set<std::string> names;
  for (int kind = 0; kind < kNumFileKinds; ++kind) {
    const KindText& text = TextOf(static_cast<FileKind>(kind));
    EXPECT_FALSE(text.what.empty());
    EXPECT_TRUE(names.insert(std::string(text.name)).second) << text.name;
  }
  EXPECT_EQ(TextOf(FileKind::kLfsPointer).name, "git-lfs-pointer");
  EXPECT_EQ(TextOf(FileKind::kJpeg).name, "jpeg");
  EXPECT_EQ(TextOf(FileKind::kUnknown).name, "unknown");
}

TEST(FileKindTest, RefusalsSayWhatToDo) {
  EXPECT_THAT(std::string(RefusalOf(FileKind::kLfsPointer).message()),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(std::string(RefusalOf(FileKind::kGzip).message()),
              HasSubstr("gzip"));
  EXPECT_EQ(RefusalOf(FileKind::kLegacyStream).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(RefusalOf(FileKind::kGguf).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
