#include "codec/reporting_source.h"

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/pipeline.h"
#include "codec/sink.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Memory whose chunks of these numbers are damaged.
class DamagedSource : public MemorySource {
 public:
  explicit DamagedSource(std::set<int64_t> damaged)
      : damaged_(std::move(damaged)) {}

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    if (damaged_.count(chunk.number) == 0) {
      return MemorySource::Bytes(plan, chunk, slot, target);
    }
    return absl::DataLossError(absl::StrCat("chunk ", chunk.number, " is bad"));
  }
  absl::Status Finish() override {
    return absl::DataLossError("the whole is bad");
  }

 private:
  std::set<int64_t> damaged_;
};

std::vector<std::shared_ptr<const Storage>> Storages(int64_t count,
                                                     int64_t size_bytes) {
  std::vector<std::shared_ptr<const Storage>> result;
  for (int64_t i = 0; i < count; ++i) {
    result.push_back(*Storage::Allocate(size_bytes));
  }
  return result;
}

TEST(ReportingSourceTest, FailsWithTheTensorsNameInFront) {
  const Plan plan = PlanInOrder(Storages(3, kChunkBytes));
  DamagedSource damaged({1});
  ReportingSource source(damaged, {"a", "b.weight", "c"},
                         ReportingSource::OnDamage::kFail);
  NullSink sink;
  const auto stats = Pump(plan, source, sink, {});
  EXPECT_EQ(stats.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(stats.status().message()),
              HasSubstr("tensor \"b.weight\": chunk 1 is bad"));
}

TEST(ReportingSourceTest, CollectsAllDamageInOrderOfChunks) {
  const Plan plan = PlanInOrder(Storages(3, 2 * kChunkBytes));
  DamagedSource damaged({4, 0, 5});
  ReportingSource source(damaged, {"a", "b", "c"},
                         ReportingSource::OnDamage::kCollect);
  NullSink sink;
  ASSERT_TRUE(Pump(plan, source, sink, {}).ok());
  EXPECT_THAT(
      source.Findings(),
      ElementsAre(HasSubstr("\"a\": chunk 0"), HasSubstr("\"c\": chunk 4"),
                  HasSubstr("\"c\": chunk 5"), "the whole is bad"));
}

TEST(ReportingSourceTest, CountsWhatIsTooMuchToList) {
  std::set<int64_t> all;
  for (int64_t i = 0; i < 150; ++i) all.insert(i);
  const Plan plan = PlanInOrder(Storages(1, 150 * kChunkBytes));
  DamagedSource damaged(all);
  ReportingSource source(damaged, {"a"}, ReportingSource::OnDamage::kCollect);
  NullSink sink;
  ASSERT_TRUE(Pump(plan, source, sink, {}).ok());
  const std::vector<std::string> findings = source.Findings();
  ASSERT_EQ(findings.size(), ReportingSource::kMaxFindings + 1);
  EXPECT_EQ(findings.back(), "and 51 more");
}

// A source of which one storage is damaged, in whatever chunk it comes.
class DamagedStorage : public MemorySource {
 public:
  explicit DamagedStorage(const Storage* damaged) : damaged_(damaged) {}

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    for (const Piece& piece : plan.pieces_of(chunk)) {
      if (plan.storages[piece.storage].get() == damaged_) {
        return absl::DataLossError("it is bad");
      }
    }
    return MemorySource::Bytes(plan, chunk, slot, target);
  }

 private:
  const Storage* const damaged_;
};

TEST(ReportingSourceTest, NamesTheOneOfSeveralTensors) {
  const Plan plan = PlanInOrder(Storages(3, 64));
  DamagedStorage damaged(plan.storages[1].get());
  ReportingSource source(damaged, {"a", "b", "c"},
                         ReportingSource::OnDamage::kFail);
  NullSink sink;
  EXPECT_THAT(std::string(Pump(plan, source, sink, {}).status().message()),
              HasSubstr("tensor \"b\": it is bad"));
}

TEST(ReportingSourceTest, NamesAFewOfManySmallTensors) {
  const Plan plan = PlanInOrder(Storages(6, 64));
  DamagedSource damaged({0});
  ReportingSource source(damaged, {"a", "b", "c", "d", "e", "f"},
                         ReportingSource::OnDamage::kFail);
  NullSink sink;
  EXPECT_THAT(std::string(Pump(plan, source, sink, {}).status().message()),
              HasSubstr("\"a\", \"b\", \"c\", \"d\" and 2 more: chunk 0"));
}

}  // namespace
}  // namespace penstock
