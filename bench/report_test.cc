#include "bench/report.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

using testing::HasSubstr;

Row RowOf(Section section, const std::string& contender,
          const std::string& what, std::vector<double> seconds) {
  Row row;
  row.section = section;
  row.contender = contender;
  row.what = what;
  row.bytes = section == Section::kOpen ? 0 : 1'000'000'000;
  row.cpu_seconds = seconds;
  row.seconds = std::move(seconds);
  row.peak_bytes = 30'000'000;
  row.file_bytes = section == Section::kSave ? 1'000'100'000 : 0;
  return row;
}

Report Example() {
  Report report;
  report.machine = {2,      "A <fast> processor", 24'000'000'000, "Linux",
                    "ext4", "rw,discard"};
  report.versions = {{"penstock", "0.1.0"}, {"torch", "2.13.0"}};
  report.tensors = "large";
  report.num_tensors = 75;
  report.tensor_bytes = 1'000'000'000;
  report.rounds = 3;
  report.threads = 2;
  report.seed = 42;
  report.seconds = 100.4;
  report.num_checks = 15;
  report.rows = {
      RowOf(Section::kWrite, "O_DIRECT, threads", "2 x 1 MiB",
            {0.125, 0.2, 0.25}),
      RowOf(Section::kRead, "buffered", "1 x 4 MiB", {0.5, 0.25, 0.2}),
      RowOf(Section::kSave, "penstock raw .pstk", "durable", {0.25, 0.3, 0.2}),
      RowOf(Section::kSave, "penstock zstd .pstk", "durable", {0.5, 0.5, 0.5}),
      RowOf(Section::kSave, "torch.save", "durable", {1, 1.5, 0.5}),
      RowOf(Section::kLoadCold, "penstock raw .pstk", "new memory",
            {0.3, 0.3, 0.3}),
      RowOf(Section::kLoadCold, "penstock zstd .pstk", "new memory",
            {0.25, 0.25, 0.25}),
      RowOf(Section::kOpen, "penstock .pt", "100000 tensors, warm",
            {0.01, 0.02, 0.03}),
  };
  report.rows[3].file_bytes = 670'067'000;
  report.notes = {"write/O_DIRECT, io_uring/4 x 1 MiB: no io_uring here"};
  return report;
}

// The three files show what a reader gets; a change of them is meant to be
// seen. REWRITE_GOLDEN=folder writes them anew.
void ExpectGolden(const std::string& name, const std::string& text) {
  if (const char* const folder = std::getenv("REWRITE_GOLDEN")) {
    std::ofstream(std::string(folder) + "/" + name) << text;
  }
  std::ifstream file("bench/testdata/" + name);
  const std::string golden((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
  EXPECT_EQ(text, golden) << name;
}

TEST(ReportTest, TextIsAsInItsGoldenFile) {
  ExpectGolden("report.txt", ReportText(Example()));
}

TEST(ReportTest, JsonIsAsInItsGoldenFile) {
  ExpectGolden("report.json", ReportJson(Example()).dump(2) + "\n");
}

TEST(ReportTest, SvgIsAsInItsGoldenFile) {
  ExpectGolden("report.svg", ReportSvg(Example()));
}

TEST(ReportTest, EveryRowOfTheTextIsInTheJson) {
  const Report report = Example();
  const nlohmann::ordered_json json = ReportJson(report);
  ASSERT_EQ(json["rows"].size(), report.rows.size());
  for (size_t i = 0; i < report.rows.size(); ++i) {
    EXPECT_EQ(json["rows"][i]["contender"], report.rows[i].contender);
    EXPECT_EQ(json["rows"][i]["what"], report.rows[i].what);
    EXPECT_EQ(json["rows"][i]["seconds"]["rounds"].size(), 3u);
  }
  EXPECT_EQ(json["rows"][2]["share_of_ceiling"], 0.8);  // 0.2 of 0.25 s
}

TEST(ReportTest, TheVerdictComparesRawAndCompressed) {
  Report report = Example();
  EXPECT_THAT(Verdict(report.rows), HasSubstr("pays for loading alone"));
  EXPECT_THAT(Verdict(report.rows), HasSubstr("67 %"));
  report.rows[3].seconds = {0.1};
  EXPECT_THAT(Verdict(report.rows), HasSubstr("pays for both"));
  report.rows[6].seconds = {9};
  EXPECT_THAT(Verdict(report.rows), HasSubstr("pays for saving alone"));
  report.rows[3].seconds = {9};
  EXPECT_THAT(Verdict(report.rows), HasSubstr("saves space alone"));
  report.rows.pop_back();
  report.rows.pop_back();
  EXPECT_EQ(Verdict(report.rows), "");
}

TEST(ReportTest, AReportWithoutRowsIsStillOne) {
  const Report empty;
  EXPECT_THAT(ReportText(empty), HasSubstr("0 results"));
  EXPECT_THAT(ReportSvg(empty), HasSubstr("</svg>"));
  EXPECT_EQ(ReportJson(empty)["rows"].size(), 0u);
}

}  // namespace
}  // namespace penstock::bench
