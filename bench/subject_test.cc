#include "bench/subject.h"

#include <memory>
#include <string>
#include <utility>

#include "core/storage.h"
#include "core/tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock::bench {
namespace {

using testing::HasSubstr;

StateDict Make(Tensors tensors, int64_t size_bytes, int threads = 2) {
  const absl::StatusOr<Value> value =
      MakeStateDict(tensors, size_bytes, threads);
  EXPECT_TRUE(value.ok()) << value.status();
  return StateDict::FromValue(*value).value();
}

int64_t BytesOf(const StateDict& tensors) {
  int64_t bytes = 0;
  for (const NamedTensor& entry : tensors.entries()) {
    bytes += entry.tensor.size_bytes();
  }
  return bytes;
}

TEST(SubjectTest, EveryKindIsAboutAsLargeAsAsked) {
  for (const Tensors kind : {Tensors::kLarge, Tensors::kSmall, Tensors::kOne}) {
    for (const int64_t size : {1 << 16, 5'000'000, 40'000'000}) {
      const int64_t bytes = BytesOf(Make(kind, size));
      EXPECT_GE(bytes, size * 7 / 10) << static_cast<int>(kind) << " " << size;
      EXPECT_LE(bytes, size * 14 / 10) << static_cast<int>(kind) << " " << size;
    }
  }
  EXPECT_EQ(Make(Tensors::kOne, 1 << 20).size(), 1);
  EXPECT_EQ(Make(Tensors::kSmall, 1 << 20).size(), 16);
}

TEST(SubjectTest, TheSameBytesComeOnAnyNumberOfThreads) {
  const StateDict one = Make(Tensors::kLarge, 20'000'000, 1);
  const StateDict four = Make(Tensors::kLarge, 20'000'000, 4);
  EXPECT_TRUE(Fingerprint::Of(one, 1).Check(four, 3).ok());
}

TEST(SubjectTest, OneWrongBitInAnyTensorIsFound) {
  const StateDict source = Make(Tensors::kLarge, 2'000'000);
  const Fingerprint fingerprint = Fingerprint::Of(source, 2);
  StateDict copy = MakeTargetFor(source).value();
  for (const NamedTensor& entry : source.entries()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(source.LoadInto(copy, Strictness::kStrict).ok());
    ASSERT_TRUE(fingerprint.Check(copy, 2).ok());
    auto* const storage =
        const_cast<Storage*>(copy.Find(entry.name)->tensor.storage().get());
    storage->mutable_bytes().back() ^= 1;
    const absl::Status status = fingerprint.Check(copy, 2);
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr(entry.name));
  }
}

TEST(SubjectTest, MissingTensorsAndOtherShapesAreFound) {
  const StateDict source = Make(Tensors::kSmall, 1 << 18);
  const Fingerprint fingerprint = Fingerprint::Of(source, 1);
  StateDict fewer;
  StateDict other;
  for (const NamedTensor& entry : source.entries()) {
    if (fewer.size() + 1 < source.size()) {
      ASSERT_TRUE(fewer.Add(entry).ok());
    }
    ASSERT_TRUE(
        other
            .Add({entry.name, Tensor::Make(entry.tensor.storage(),
                                           entry.tensor.dtype(), {256, 128})
                                  .value()})
            .ok());
  }
  EXPECT_TRUE(absl::IsDataLoss(fingerprint.Check(fewer, 1)));
  EXPECT_TRUE(absl::IsDataLoss(fingerprint.Check(other, 1)));
  EXPECT_TRUE(absl::IsDataLoss(
      fingerprint.CheckOne("no such name", source.entries()[0].tensor)));
}

// What was not loaded must not look as if it had been.
TEST(SubjectTest, OverwritingLeavesNothing) {
  const StateDict source = Make(Tensors::kLarge, 1'000'000);
  StateDict target = MakeTargetFor(source).value();
  ASSERT_TRUE(source.LoadInto(target, Strictness::kStrict).ok());
  Overwrite(target, 0xA5, 2);
  for (const NamedTensor& entry : target.entries()) {
    EXPECT_THAT(entry.tensor.storage()->bytes(), testing::Each(0xA5));
  }
}

}  // namespace
}  // namespace penstock::bench
