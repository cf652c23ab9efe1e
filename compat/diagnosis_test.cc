#include "compat/diagnosis.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "compat/byte_damage.h"
#include "compat/file_kind.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

template <size_t n>
std::string Bytes(const char (&text)[n]) {
  return std::string(text, n - 1);
}

Diagnosis Of(const std::string& bytes,
             const absl::Status& error = absl::DataLossError("it is broken")) {
  return DiagnoseFile(*FileFromString(bytes, "x.pt"), error).value();
}

std::string Findings(const Diagnosis& diagnosis) {
  return absl::StrJoin(diagnosis.findings, "|");
}
std::string Advice(const Diagnosis& diagnosis) {
  return absl::StrJoin(diagnosis.advice, "|");
}

TEST(DiagnosisTest, APointerTellsTheRealSizeAndHash) {
  const Diagnosis diagnosis =
      Of("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize "
         "9876543210\n");
  EXPECT_EQ(diagnosis.kind, "git-lfs-pointer");
  EXPECT_THAT(Findings(diagnosis),
              AllOf(HasSubstr("9876543210 bytes"), HasSubstr("sha256:4d7a21"),
                    Not(HasSubstr("broken"))));
  EXPECT_THAT(Advice(diagnosis), HasSubstr("git lfs pull"));
}

TEST(DiagnosisTest, PagesAreToldByTheirTitles) {
  const auto page = [](const std::string& title, const std::string& body) {
    return Of(absl::StrCat("<!doctype html>\n<html><head><TITLE lang=en> ",
                           title, "</TITLE></head><body>", body));
  };
  EXPECT_THAT(Findings(page("Welcome", "")), HasSubstr("\"Welcome\""));
  EXPECT_THAT(Advice(page("Error 404", "")), HasSubstr("address"));
  EXPECT_THAT(Advice(page("Hub", "<a>Sign in</a>")), HasSubstr("login"));
  EXPECT_THAT(Advice(page("Google Drive - Virus scan warning", "")),
              HasSubstr("gdown"));
  EXPECT_EQ(page("Welcome", "").kind, "html");
}

TEST(DiagnosisTest, AStoresErrorIsQuoted) {
  const Diagnosis diagnosis =
      Of("<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>No "
         "key</Message></Error>");
  EXPECT_EQ(diagnosis.kind, "xml");
  EXPECT_THAT(Findings(diagnosis), HasSubstr("AccessDenied, No key"));
}

TEST(DiagnosisTest, JsonIsAnIndexOrAConfigurationOrAnError) {
  const Diagnosis index =
      Of("{\"metadata\": {\"total_size\": 9}, \"weight_map\": {\"a\": "
         "\"m-1.safetensors\", \"b\": \"m-2.safetensors\", \"c\": "
         "\"m-1.safetensors\"}}");
  EXPECT_EQ(index.kind, "json-index");
  EXPECT_THAT(index.parts, ElementsAre("m-1.safetensors", "m-2.safetensors"));
  EXPECT_EQ(Of("{\"model_type\": \"llama\"}").kind, "json-config");
  const Diagnosis error = Of("{\"error\": \"Repository not found\"}");
  EXPECT_EQ(error.kind, "json-error");
  EXPECT_THAT(Findings(error), HasSubstr("Repository not found"));
  EXPECT_EQ(Of("[1, 2, 3]").kind, "json");
  const Diagnosis broken = Of("{\"weight_map\": {\"a\"");
  EXPECT_EQ(broken.kind, "json");
  EXPECT_THAT(Findings(broken), HasSubstr("broken"));
}

TEST(DiagnosisTest, ZerosAreCountedFromTheFront) {
  EXPECT_THAT(Of(std::string(3 << 20, '\0')).findings, IsEmpty());
  std::string late(3 << 20, '\0');
  late[(2 << 20) + 5] = 'x';
  const Diagnosis diagnosis = Of(late);
  EXPECT_EQ(diagnosis.kind, "zeros");
  EXPECT_THAT(Findings(diagnosis), HasSubstr("first 2097157 bytes"));
}

std::string TarHeader(const std::string& name, int size) {
  std::string header = name;
  header.resize(512);
  header.replace(124, 11, absl::StrFormat("%011o", size));
  header.replace(257, 5, "ustar");
  return header;
}

TEST(DiagnosisTest, TarsAreOldCheckpointsOrHoldOtherThings) {
  const std::string data(512, 'x');
  const Diagnosis old =
      Of(absl::StrCat(TarHeader("sys_info", 5), data, TarHeader("pickle", 512),
                      data, TarHeader("tensors", 1), data,
                      TarHeader("storages", 3), data, std::string(1024, '\0')));
  EXPECT_EQ(old.kind, "pt-tar");
  const Diagnosis other = Of(absl::StrCat(TarHeader("weights.ckpt", 5), data));
  EXPECT_EQ(other.kind, "tar");
  EXPECT_THAT(Findings(other), HasSubstr("weights.ckpt"));
  EXPECT_THAT(Findings(Of(absl::StrCat(TarHeader("weights.ckpt", 2048), data))),
              HasSubstr("at least 1536 bytes are missing"));
}

TEST(DiagnosisTest, SafetensorsTellHowMuchIsMissing) {
  const std::string header =
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]},\"b\":{"
      "\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[32,40]}}   ";
  std::string whole(8, '\0');
  whole[0] = static_cast<char>(header.size());
  whole += header;
  whole.append(40, 'x');
  for (size_t missing : {1u, 39u, 40u}) {
    EXPECT_THAT(
        Findings(Of(whole.substr(0, whole.size() - missing))),
        HasSubstr(absl::StrCat("at least ", missing, " bytes are missing")));
  }
  // Within the header, what follows it is not known.
  EXPECT_THAT(Findings(Of(whole.substr(0, 8 + header.size() - 5))),
              HasSubstr("at least 5 bytes are missing"));
  EXPECT_THAT(Findings(Of(whole)), Not(HasSubstr("missing")));
  EXPECT_THAT(Findings(Of(whole)), HasSubstr("it is broken"));
}

// A pickle of 20 float32, as far as the storage goes.
std::string Pickled(const std::string& behind_location) {
  return Bytes(
             "\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
             "0X\x03\0\0\0"
             "cpuK\x14") +
         behind_location + "tQ.";
}

TEST(DiagnosisTest, ZipsTellHowMuchIsMissingByTheirPickle) {
  std::string front = Bytes(
      "PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\0\0\0\0\0\x10\0\0\0archive/data.pkl");
  front += Pickled("");
  const Diagnosis diagnosis = Of(front + std::string(30, 'x'));
  EXPECT_EQ(diagnosis.kind, "truncated-zip");
  EXPECT_THAT(Findings(diagnosis), HasSubstr("at least 50 bytes are missing"));
  EXPECT_THAT(Advice(diagnosis), HasSubstr("fetch it again"));
}

TEST(DiagnosisTest, ZipsTellHowMuchIsMissingByTheirHeaders) {
  const std::string front = Bytes(
      "PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\x20\0\0\0\x01\0"
      "\0\0a");
  const std::string one = front + std::string(32, 'x');
  EXPECT_THAT(Findings(Of(one + front + "xx")),
              HasSubstr("at least 30 bytes are missing"));
}

TEST(DiagnosisTest, LegacyStreamsTellHowMuchIsMissing) {
  const std::string magic =
      Bytes("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
  const std::string front = magic + Bytes("\x80\x02M\xe9\x03.") +
                            Bytes("\x80\x02}.") + Pickled("N") +
                            Bytes(
                                "\x80\x02]X\x01\0\0\0"
                                "0a.");
  const std::string whole = front + std::string(8 + 80, 'x');
  for (size_t missing : {1u, 80u, 85u}) {
    EXPECT_THAT(
        Findings(Of(whole.substr(0, whole.size() - missing))),
        HasSubstr(absl::StrCat("at least ", missing, " bytes are missing")));
  }
  EXPECT_THAT(Findings(Of(whole)), Not(HasSubstr("missing")));
}

TEST(DiagnosisTest, Base64IsDecodedToBeNamed) {
  const Diagnosis diagnosis = Of("UEsDBBQAAAAIAAAAIQAAAAAAAAA=\n");
  EXPECT_EQ(diagnosis.kind, "base64");
  EXPECT_THAT(Findings(diagnosis), HasSubstr("a zip file"));
}

std::string Noise(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

std::string FindByteDamageIn(const std::string& bytes) {
  const auto damage = FindByteDamage(*FileFromString(bytes, "x")).value();
  return damage ? damage->finding : "";
}

TEST(ByteDamageTest, ConversionsForTextAreSeen) {
  const std::string noise = Noise(2 << 20);
  EXPECT_EQ(FindByteDamageIn(noise), "");
  std::string windows, unix, utf8;
  for (const char byte : noise) {
    if (byte == '\n') windows += '\r';
    windows += byte;
    if (byte == '\n' && !unix.empty() && unix.back() == '\r') unix.pop_back();
    unix += byte;
    if ((byte & '\x80') != 0) {
      utf8 += "\xef\xbf\xbd";
    } else {
      utf8 += byte;
    }
  }
  EXPECT_THAT(FindByteDamageIn(windows), HasSubstr("LF to CR LF"));
  EXPECT_THAT(FindByteDamageIn(unix), HasSubstr("CR LF to LF"));
  EXPECT_THAT(FindByteDamageIn(utf8), HasSubstr("U+FFFD"));
}

TEST(ByteDamageTest, ReservedRoomAtTheEndIsSeen) {
  std::string bytes = Noise(100'000);
  bytes.resize(3 << 20);
  EXPECT_THAT(FindByteDamageIn(bytes), HasSubstr("3045728 bytes are zeros"));
}

}  // namespace
}  // namespace penstock
