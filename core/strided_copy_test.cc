#include "core/strided_copy.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::shared_ptr<Storage> Filled(int64_t size_bytes, int first) {
  auto storage = *Storage::Allocate(size_bytes);
  for (int64_t i = 0; i < size_bytes; ++i) {
    storage->mutable_bytes()[i] = static_cast<uint8_t>(first + i);
  }
  return storage;
}

std::vector<uint8_t> Elements(const Tensor& tensor) {
  std::vector<uint8_t> out(tensor.size_bytes());
  EXPECT_TRUE(tensor.CopyTo(absl::MakeSpan(out)).ok());
  return out;
}

// Element by element against Tensor::CopyTo, for every width and for layouts
// that do and do not coalesce; bytes outside the view stay.
TEST(CopyElementsTest, PutsEachElementInItsPlace) {
  struct Layout {
    std::vector<int64_t> strides;
    int64_t offset;
  };
  const std::vector<int64_t> shape = {2, 3, 1, 4};
  const std::vector<Layout> layouts = {
      {{12, 4, 4, 1}, 0}, {{12, 4, 9, 1}, 3},  {{1, 2, 0, 6}, 0},
      {{30, 8, 1, 2}, 5}, {{4, 8, 100, 1}, 1},
  };
  for (const DType dtype : {DType::kInt8, DType::kBFloat16, DType::kFloat32,
                            DType::kComplex64, DType::kComplex128}) {
    const int width = InfoOf(dtype).size_bytes;
    for (const Layout& from : layouts) {
      for (const Layout& to : layouts) {
        const auto source = *Tensor::Make(Filled(64 * width, 0), dtype, shape,
                                          from.strides, from.offset);
        const auto target = *Tensor::Make(Filled(64 * width, 128), dtype, shape,
                                          to.strides, to.offset);
        const std::vector<uint8_t> before(target.storage()->bytes().begin(),
                                          target.storage()->bytes().end());
        ASSERT_TRUE(CopyElements(source, target).ok());
        EXPECT_EQ(Elements(target), Elements(source));
        const auto after = target.storage()->bytes();
        int64_t num_changed = 0;
        for (size_t i = 0; i < before.size(); ++i) {
          num_changed += before[i] != after[i] ? 1 : 0;
        }
        EXPECT_LE(num_changed, target.size_bytes());
      }
    }
  }
}

TEST(CopyElementsTest, RepeatsWhatTheSourceRepeats) {
  const auto source =
      *Tensor::Make(Filled(2, 7), DType::kUInt8, {3, 2}, {0, 1});
  const auto target = *Tensor::Make(Filled(6, 0), DType::kUInt8, {3, 2});
  ASSERT_TRUE(CopyElements(source, target).ok());
  EXPECT_EQ(Elements(target), (std::vector<uint8_t>{7, 8, 7, 8, 7, 8}));
  EXPECT_THAT(std::string(CheckCopy(target, source).message()),
              HasSubstr("repeats dimension 0"));
}

TEST(CopyElementsTest, ScalarsAndNothing) {
  const auto scalar = *Tensor::Make(Filled(8, 9), DType::kFloat64, {});
  const auto target = *Tensor::Make(Filled(16, 0), DType::kFloat64, {}, {}, 1);
  ASSERT_TRUE(CopyElements(scalar, target).ok());
  EXPECT_EQ(Elements(target), Elements(scalar));
  const auto empty = *Tensor::Make(Filled(0, 0), DType::kFloat64, {0, 3});
  EXPECT_TRUE(CopyElements(empty, empty).ok());
}

TEST(CopyElementsTest, RefusesWhatDoesNotFit) {
  const auto a = *Tensor::Make(Filled(8, 0), DType::kFloat32, {2});
  const auto other_dtype = *Tensor::Make(Filled(8, 0), DType::kInt32, {2});
  const auto other_shape = *Tensor::Make(Filled(8, 0), DType::kFloat32, {2, 1});
  const auto in_file =
      *Tensor::Make(Storage::InFile(8, 0), DType::kFloat32, {2});
  EXPECT_EQ(CopyElements(a, other_dtype).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(CopyElements(a, other_shape).message()),
              HasSubstr("source float32 [2], target float32 [2, 1]"));
  EXPECT_EQ(CopyElements(a, in_file).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CopyElements(in_file, a).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CopyElementsTest, PackedElementsOnlyAsWholeBytes) {
  const auto make = [](int64_t bytes, int64_t size, int64_t offset) {
    return *Tensor::Make(Filled(bytes, 1), DType::kQUInt4x2, {size}, {1},
                         offset);
  };
  const Tensor whole = make(4, 4, 2);    // bytes 1 and 2
  const Tensor target = make(8, 4, 10);  // bytes 5 and 6
  ASSERT_TRUE(CopyElements(whole, target).ok());
  EXPECT_EQ(target.storage()->bytes()[5], 2);
  EXPECT_EQ(target.storage()->bytes()[6], 3);
  EXPECT_EQ(target.storage()->bytes()[7], 8);
  EXPECT_TRUE(CheckCopy(make(2, 3, 0), make(2, 3, 0)).ok());
  EXPECT_FALSE(CheckCopy(make(2, 3, 0), make(4, 3, 0)).ok());
  EXPECT_FALSE(CheckCopy(make(4, 4, 1), make(4, 4, 0)).ok());
}

}  // namespace
}  // namespace penstock
