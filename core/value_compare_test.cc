#include "core/value_compare.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/graph_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<Storage> StorageOf(int64_t size_bytes, uint8_t fill) {
  std::shared_ptr<Storage> storage = *Storage::Allocate(size_bytes);
  for (uint8_t& byte : storage->mutable_bytes()) byte = fill;
  return storage;
}

Tensor TensorOver(std::shared_ptr<const Storage> storage) {
  return *Tensor::Make(storage, DType::kFloat32, {2, 2});
}

Value Build(const std::function<NodeId(GraphBuilder&)>& build) {
  GraphBuilder b;
  const NodeId root = build(b);
  return *std::move(b).Finish(root);
}

// {"a": tensor, "b": same or equal tensor, "n": [1, 2.5], "self": cycle}
Value Sample(bool tied, uint8_t fill, double number, bool swap_keys) {
  return Build([&](GraphBuilder& b) {
    const NodeId root = b.Dict();
    auto storage = StorageOf(16, fill);
    auto other = tied ? storage : StorageOf(16, fill);
    const NodeId numbers = b.List();
    EXPECT_TRUE(b.Append(numbers, b.Int(1)).ok());
    EXPECT_TRUE(b.Append(numbers, b.Float(number)).ok());
    EXPECT_TRUE(b.Append(numbers, root).ok());
    const std::string first = swap_keys ? "b" : "a";
    const std::string second = swap_keys ? "a" : "b";
    EXPECT_TRUE(
        b.SetItem(root, b.Str(first), b.Tensor(TensorOver(storage))).ok());
    EXPECT_TRUE(
        b.SetItem(root, b.Str(second), b.Tensor(TensorOver(other))).ok());
    EXPECT_TRUE(b.SetItem(root, b.Str("n"), numbers).ok());
    return root;
  });
}

TEST(ValueCompareTest, EqualCheckpointsBuiltApartAreEqual) {
  EXPECT_TRUE(
      CompareValues(Sample(true, 7, 2.5, false), Sample(true, 7, 2.5, false))
          .ok());
}

TEST(ValueCompareTest, NamesTheFirstDifferenceAndItsPath) {
  const Value base = Sample(true, 7, 2.5, false);
  EXPECT_THAT(CompareValues(base, Sample(true, 7, -2.5, false)).message(),
              HasSubstr("\"n.1\": values differ"));
  EXPECT_THAT(CompareValues(base, Sample(true, 8, 2.5, false)).message(),
              HasSubstr("\"a\": bytes differ"));
  EXPECT_THAT(CompareValues(base, Sample(false, 7, 2.5, false)).message(),
              HasSubstr("tied on one side only"));
  EXPECT_THAT(CompareValues(Sample(false, 7, 2.5, false), base).message(),
              HasSubstr("tied on one side only"));
  EXPECT_FALSE(CompareValues(base, Sample(true, 7, 2.5, true)).ok());
}

// -0.0 == 0.0 and NaN != NaN in C++; a checkpoint keeps bits.
TEST(ValueCompareTest, ComparesFloatsByTheirBits) {
  const Value zero = Sample(true, 7, 0.0, false);
  const Value nan = Sample(true, 7, std::stod("nan"), false);
  EXPECT_FALSE(CompareValues(zero, Sample(true, 7, -0.0, false)).ok());
  EXPECT_TRUE(CompareValues(nan, nan).ok());
}

TEST(ValueCompareTest, SeesSharingOfContainersButNotOfStrings) {
  auto lists = [](bool shared) {
    return Build([&](GraphBuilder& b) {
      const NodeId first = b.List();
      const NodeId second = shared ? first : b.List();
      return b.List({first, second});
    });
  };
  auto strings = [](bool shared) {
    return Build([&](GraphBuilder& b) {
      const NodeId first = b.Str("x.y");
      const NodeId second = shared ? first : b.Str("x.y");
      return b.List({first, second});
    });
  };
  EXPECT_FALSE(CompareValues(lists(true), lists(false)).ok());
  EXPECT_FALSE(CompareValues(lists(false), lists(true)).ok());
  EXPECT_TRUE(CompareValues(strings(true), strings(false)).ok());
}

TEST(ValueCompareTest, SeesEachPropertyOfATensor) {
  auto one = [](DType dtype, std::vector<int64_t> shape,
                std::vector<int64_t> strides, int64_t offset, uint8_t flags) {
    return Build([&](GraphBuilder& b) {
      return b.Tensor(
          *Tensor::Make(StorageOf(64, 1), dtype, shape, strides, offset),
          flags);
    });
  };
  const Value base = one(DType::kInt32, {2, 3}, {3, 1}, 1, 0);
  EXPECT_TRUE(
      CompareValues(base, one(DType::kInt32, {2, 3}, {3, 1}, 1, 0)).ok());
  EXPECT_FALSE(
      CompareValues(base, one(DType::kFloat32, {2, 3}, {3, 1}, 1, 0)).ok());
  EXPECT_FALSE(
      CompareValues(base, one(DType::kInt32, {3, 2}, {3, 1}, 1, 0)).ok());
  EXPECT_FALSE(
      CompareValues(base, one(DType::kInt32, {2, 3}, {1, 2}, 1, 0)).ok());
  EXPECT_FALSE(
      CompareValues(base, one(DType::kInt32, {2, 3}, {3, 1}, 2, 0)).ok());
  EXPECT_FALSE(CompareValues(base, one(DType::kInt32, {2, 3}, {3, 1}, 1,
                                       TensorFlags::kRequiresGrad))
                   .ok());
}

}  // namespace
}  // namespace penstock
