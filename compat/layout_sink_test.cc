#include "compat/layout_sink.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/pipeline.h"
#include "codec/source.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

struct Case {
  std::vector<int64_t> storages;
  std::vector<int64_t> glue;
};

// Gathers, as sources over files do.
class ReadingSource : public MemorySource {
 public:
  bool LendPieces(const Plan&, const Chunk&, Slot&) override { return false; }
};

// Pumps a layout into a file; returns what stands in it and what should.
void ExpectWritten(const Case& c, MemorySource& source, int threads) {
  FileLayout layout;
  std::string glue;
  std::string expected;
  uint32_t next = 1;
  const auto text = [&next](int64_t size) {
    std::string out(size, '\0');
    for (char& byte : out)
      byte = static_cast<char>((next = next * 69069 + 1) >> 24);
    return out;
  };
  for (size_t i = 0; i < c.glue.size(); ++i) {
    const std::string between = text(c.glue[i]);
    glue += between;
    expected += between;
    if (i == c.storages.size()) break;
    const std::string payload = text(c.storages[i]);
    auto storage = Storage::Allocate(c.storages[i]).value();
    std::copy(payload.begin(), payload.end(), storage->mutable_bytes().begin());
    layout.storages.push_back(std::move(storage));
    expected += payload;
  }
  layout.glue_bytes = c.glue;
  layout.glue = GlueFrom(glue);
  MemoryFileSystem files;
  auto file = files.Create("f", CreateOptions()).value();
  auto sink = LayoutSink::Create(*file, std::move(layout)).value();
  EXPECT_EQ(sink->FinalSize(), static_cast<int64_t>(expected.size()));
  PumpOptions options;
  options.threads = threads;
  const auto stats = Pump(sink->plan(), source, *sink, options);
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_TRUE(file->Close().ok());
  const auto written = files.OpenRead("f").value();
  std::string found(written->size_bytes(), '\0');
  ASSERT_TRUE(
      written
          ->Read(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(found.data()),
                                   found.size()))
          .ok());
  EXPECT_TRUE(found == expected);
}

TEST(LayoutSinkTest, WritesGlueAndStoragesInTurn) {
  const Case cases[] = {
      {{}, {0}},
      {{}, {77}},
      {{10}, {0, 0}},
      {{10}, {3, 5}},
      {{0}, {3, 5}},
      {{0, 0, 7, 0}, {1, 2, 3, 4, 5}},
      {{100, 200, 0, 70'000, 5}, {8, 0, 9, 1, 0, 13}},
      {{3'500'000, 1, 2'000'000}, {3'000'000, 100'000, 0, 2'500'000}},
      {{0, 5'000'000}, {1 << 20, 1, 0}},
      {{1'500'000, 9'000'000, 1, 1'500'000, 5'000'000}, {9, 64, 3, 65, 1, 70}},
  };
  for (const Case& c : cases) {
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE(absl::StrCat(c.storages.size(), " storages, ", threads));
      MemorySource lending;
      ExpectWritten(c, lending, threads);
      ReadingSource reading;
      ExpectWritten(c, reading, threads);
    }
  }
}

TEST(LayoutSinkTest, RefusesMoreThanAFileCanBe) {
  MemoryFileSystem files;
  auto file = files.Create("f", CreateOptions()).value();
  FileLayout layout;
  layout.storages = {Storage::InFile(int64_t{1} << 62, 0)};
  layout.glue_bytes = {1, 0};
  EXPECT_EQ(LayoutSink::Create(*file, std::move(layout)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
