#include "compat/file_scan.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compat/spool.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::absl::string_view;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr string_view kEvil("\x80\2cos\nsystem\n)R.", 16);

std::string Evil() { return std::string(kEvil); }

// Counts the bytes that are read: time, on any machine.
class CountingFile : public RandomAccessFile {
 public:
  explicit CountingFile(std::string bytes) : file_(std::move(bytes)) {}
  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    bytes_read_ += static_cast<int64_t>(out.size());
    return file_.Read(offset, out);
  }
  int64_t size_bytes() const override { return file_.size_bytes(); }
  const std::string& path() const override { return file_.path(); }
  int64_t bytes_read() const { return bytes_read_; }

 private:
  const TextFile file_;
  mutable int64_t bytes_read_ = 0;
};

ScanReport Scanned(std::string bytes, ScanLimits limits = {}) {
  MemoryFileSystem files;
  limits.files = &files;
  const auto report =
      ScanFile(std::make_shared<TextFile>(std::move(bytes)), limits);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : ScanReport();
}

std::string Zip(const std::vector<TestRecord>& records) {
  return TestZip(records).bytes();
}

auto Unseen(string_view reason) {
  return Contains(
      AllOf(Field(&ScanFinding::level, ScanLevel::kUnseen),
            Field(&ScanFinding::reason, HasSubstr(std::string(reason)))));
}

std::string LocalHeader(string_view name) {
  std::string header("PK\3\4\x14\0\0\0\0\0", 10);
  header.append(16, '\0');
  header.push_back(static_cast<char>(name.size()));
  header.append(3, '\0');
  return absl::StrCat(header, name);
}

TEST(FileScanTest, NothingAndAnyOneByteAreHarmless) {
  EXPECT_THAT(Scanned("").findings, IsEmpty());
  for (int byte = 0; byte < 256; ++byte) {
    const ScanReport report = Scanned(std::string(1, static_cast<char>(byte)));
    EXPECT_EQ(report.level, ScanLevel::kAllow) << byte;
    EXPECT_THAT(report.findings, IsEmpty()) << byte;
  }
}

TEST(FileScanTest, APickleIsFoundInEveryContainer) {
  for (const std::string& file :
       {Evil(), Zip({{"a/data.pkl", Evil()}}),
        Zip({{"a/data.pkl", Evil(), true}}),
        Zip({{"x", "", false}, {"y", Evil(), false, 16}}),
        Zip({{"x", "abc"}}) + Evil(),
        TestZip(std::vector<TestRecord>{{"x", "abc"}}, Evil()).bytes(),
        Evil() + Zip({{"x", "abc"}}), Zip({{"x", Zip({{"y", Evil()}}), true}}),
        LocalHeader("x") + Evil(), std::string(5000, '\0') + Evil()}) {
    EXPECT_EQ(Scanned(file).level, ScanLevel::kDangerous);
  }
}

TEST(FileScanTest, ACallbackCancels) {
  int calls = 0;
  ScanLimits limits;
  limits.progress = [&](const Progress&) {
    ++calls;
    return calls < 3 ? Proceed::kContinue : Proceed::kCancel;
  };
  const auto report =
      ScanFile(std::make_shared<TextFile>(std::string(8 << 20, '\1')), limits);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
}

// The same where the work is not in the file's own bytes.
TEST(FileScanTest, ACallbackCancelsWithinARecordThatIsInflated) {
  const std::string file = Zip({{"x", std::string(8 << 20, '\1'), true}});
  ASSERT_LT(file.size(), 100 << 10);
  int calls = 0;
  MemoryFileSystem unnamed;
  ScanLimits limits;
  limits.files = &unnamed;
  limits.progress = [&](const Progress& progress) {
    ++calls;
    EXPECT_EQ(progress.total_bytes, static_cast<int64_t>(file.size()));
    EXPECT_LE(progress.done_bytes, progress.total_bytes);
    return calls < 3 ? Proceed::kContinue : Proceed::kCancel;
  };
  const auto report = ScanFile(std::make_shared<TextFile>(file), limits);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
}

// Whatever a file holds: each of its bytes is read a few times, no more.
TEST(FileScanTest, TimeIsLinear) {
  std::string headers, ends, nested, pickles, starts, globals;
  std::vector<TestRecord> empty, inner;
  for (int i = 0; i < 3000; ++i) {
    headers += LocalHeader("a");
    absl::StrAppend(&ends, "PK\5\6", std::string(18, '\0'));
    nested += LocalHeader("") + "PK\3\4";
    absl::StrAppend(&pickles, "\x80\4", "N.");
    absl::StrAppend(&starts, "\x80\4", "(", std::string(20, 'N'));
    absl::StrAppend(&globals, "cos\nx", i, "\n");
    empty.push_back({absl::StrCat("a/data/", i), ""});
    inner.push_back({absl::StrCat("a/", i), Zip({{"x", "y"}})});
  }
  const std::vector<std::pair<string_view, std::string>> files = {
      {"headers", headers},  {"ends", ends},        {"nested", nested},
      {"pickles", pickles},  {"starts", starts},    {"globals", globals},
      {"empty", Zip(empty)}, {"inner", Zip(inner)},
  };
  for (const auto& [name, bytes] : files) {
    std::string once = bytes;
    for (const int times : {1, 4}) {
      std::string file;
      for (int i = 0; i < times; ++i) file += once;
      const auto counting = std::make_shared<CountingFile>(file);
      MemoryFileSystem unnamed;
      ScanLimits limits;
      limits.files = &unnamed;
      limits.max_inner_bytes = 1 << 20;
      const auto report = ScanFile(counting, limits);
      ASSERT_TRUE(report.ok()) << report.status();
      const int64_t size = static_cast<int64_t>(file.size());
      EXPECT_LE(counting->bytes_read(), (int64_t{64} << 20) + 40 * size)
          << name << " " << times;
    }
  }
}

TEST(FileScanTest, EveryLimitIsAFinding) {
  const std::string zip =
      Zip({{"a", std::string(1 << 20, 'x'), true}, {"b", Zip({{"c", "d"}})}});
  ScanLimits limits;
  limits.max_growth = 0;
  limits.max_inflated_bytes = 1000;
  limits.max_inner_bytes = 1 << 20;
  EXPECT_THAT(Scanned(zip, limits).findings,
              Unseen("it inflates to more than is looked at"));
  limits.max_inflated_bytes = 2 << 20;
  limits.max_inner_bytes = 0;
  EXPECT_THAT(Scanned(zip, limits).findings,
              Unseen("more files within files than are looked at"));
  limits.max_inner_bytes = 8 << 20;
  limits.max_depth = 0;
  EXPECT_THAT(Scanned(zip, limits).findings, Unseen("too deep"));
  limits.max_depth = 8;
  EXPECT_THAT(Scanned(zip, limits).findings, IsEmpty());
  EXPECT_THAT(Scanned("\x80\2" + std::string(5 << 20, '(') + ".").findings,
              Unseen("a pickle beyond the limits of the scan"));
}

// What is not listed counts all the same.
TEST(FileScanTest, FindingsThatAreLeftOutDecideTheLevel) {
  std::string bytes = "\x80\2";
  for (int i = 0; i <= kMaxScanFindings; ++i) {
    absl::StrAppend(&bytes, "ctorch.nn\nA", i, "\n0");
  }
  const ScanReport harmless = Scanned(bytes + "N.");
  EXPECT_EQ(harmless.level, ScanLevel::kAllow);
  EXPECT_FALSE(harmless.unknown);
  EXPECT_EQ(harmless.num_left_out, 1);
  const ScanReport unknown = Scanned(bytes + "cmodels\nA\n0N.");
  EXPECT_EQ(unknown.level, ScanLevel::kUnknown);
  EXPECT_TRUE(unknown.unknown);
  EXPECT_EQ(unknown.num_left_out, 2);
}

TEST(FileScanTest, WhatIsUnseenHidesNothing) {
  const ScanReport report =
      Scanned(Zip({{"a", "7z\xbc\xaf\x27\x1c"}, {"b", "\x80\2cmodels\nA\n."}}));
  EXPECT_EQ(report.level, ScanLevel::kUnseen);
  EXPECT_TRUE(report.unseen);
  EXPECT_TRUE(report.unknown);
}

TEST(FileScanTest, TensorsAreNotReadWhereTheyAreKnown) {
  std::string file = Evil() + std::string(8 << 20, '\1') + Evil();
  ScanLimits limits;
  limits.tensors = {{16, 16 + (8 << 20)}};
  MemoryFileSystem files;
  limits.files = &files;
  const auto counting = std::make_shared<CountingFile>(file);
  const auto report = ScanFile(counting, limits);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->num_pickles, 2);
  EXPECT_LT(counting->bytes_read(), 4 << 20);
}

TEST(FileScanTest, AnErrorOfReadingIsOne) {
  class Broken : public CountingFile {
   public:
    Broken() : CountingFile(std::string(3 << 20, '\1')) {}
    absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
      if (offset > 1 << 20) return absl::DataLossError("a bad sector");
      return CountingFile::Read(offset, out);
    }
  };
  EXPECT_EQ(ScanFile(std::make_shared<Broken>(), {}).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(FileScanTest, AnErrorOfAnyReadIsOne) {
  class Failing : public CountingFile {
   public:
    Failing(std::string bytes, int num_good)
        : CountingFile(std::move(bytes)), num_good_(num_good) {}
    absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
      if (num_good_-- == 0) return absl::DataLossError("a bad sector");
      return CountingFile::Read(offset, out);
    }

   private:
    mutable int num_good_;
  };
  // Larger than what is held of it, so that parts of it are read again.
  const std::string bytes =
      Zip({{"a/x", std::string(3 << 20, '\1')}, {"a/data.pkl", Evil()}});
  int num_good = 0;
  for (;; ++num_good) {
    const auto report =
        ScanFile(std::make_shared<Failing>(bytes, num_good), {});
    if (report.ok()) break;
    EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_GT(num_good, 3);
}

}  // namespace
}  // namespace penstock
