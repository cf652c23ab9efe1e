#include "core/tensor.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/storage.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Int64s = std::vector<int64_t>;

constexpr int64_t k31 = int64_t{1} << 31;
constexpr int64_t k32 = int64_t{1} << 32;
constexpr int64_t k40 = int64_t{1} << 40;
constexpr int64_t k62 = int64_t{1} << 62;

struct Case {
  const char* what;
  DType dtype;
  Int64s shape;
  Int64s strides;
  int64_t offset;
  int64_t storage_bytes;
  const char* error;  // telling words; null where the view is right
};

// Every row stands on one side of one edge.
std::vector<Case> SmallCases() {
  return {
      {"scalar", DType::kInt32, {}, {}, 0, 4, nullptr},
      {"scalar, a byte short", DType::kInt32, {}, {}, 0, 3, "needs 4 bytes"},
      {"scalar at offset", DType::kInt32, {}, {}, 2, 12, nullptr},
      {"scalar past", DType::kInt32, {}, {}, 3, 12, "needs 16 bytes"},
      {"exact fit", DType::kFloat32, {3}, {1}, 0, 12, nullptr},
      {"4 of 3", DType::kFloat32, {4}, {1}, 0, 12, "it has 12"},
      {"matrix", DType::kInt16, {2, 3}, {3, 1}, 0, 12, nullptr},
      {"transposed", DType::kInt16, {3, 2}, {1, 3}, 0, 12, nullptr},
      {"padded rows", DType::kInt16, {2, 3}, {8, 1}, 0, 22, nullptr},
      {"padded rows short", DType::kInt16, {2, 3}, {8, 1}, 0, 21, "needs 22"},
      {"negative size", DType::kUInt8, {-1}, {1}, 0, 9, "size -1 of dim"},
      {"least size", DType::kUInt8, {INT64_MIN}, {1}, 0, 9, "negative"},
      {"negative stride", DType::kUInt8, {2}, {-1}, 1, 9, "stride -1 of dim"},
      {"negative offset", DType::kUInt8, {1}, {1}, -1, 9, "offset -1"},
      {"negative, no elements", DType::kUInt8, {0}, {-1}, 0, 0, "negative"},
      {"ranks differ", DType::kUInt8, {1, 1}, {1}, 0, 9, "2 sizes but 1"},
  };
}

// clang-format would give each of these cases seven lines.
// clang-format off
std::vector<Case> HugeCases() {
  return {
      {"no elements", DType::kFloat64, {0}, {1}, 0, 0, nullptr},
      {"0 far away", DType::kFloat64, {4, 0}, {k62, 7}, INT64_MAX, 0, nullptr},
      {"0 beside absurd", DType::kInt8, {k62, 0, k62}, {1, 1, 1}, 0, 0,
       nullptr},
      {"2^31 bytes", DType::kUInt8, {k31}, {1}, 0, k31, nullptr},
      {"2^31 bytes short", DType::kUInt8, {k31}, {1}, 0, k31 - 1, "needs"},
      {"2^32 floats", DType::kFloat32, {k32}, {1}, 0, 4 * k32, nullptr},
      {"2^32 floats in 2^32", DType::kFloat32, {k32}, {1}, 0, k32, "needs"},
      {"2^64 elements", DType::kUInt8, {k32, k32}, {0, 0}, 0, 1,
       "more elements"},
      {"2^62 elements, expanded", DType::kUInt8, {k31, k31}, {0, 0}, 0, 1,
       nullptr},
      {"2^63 elements", DType::kUInt8, {k32, k31}, {0, 0}, 0, 1,
       "more elements"},
      {"expand bomb is a view", DType::kFloat32, {k40}, {0}, 0, 4, nullptr},
      {"huge stride", DType::kUInt8, {2}, {INT64_MAX}, 0, 9, "more than 2^63"},
      {"huge stride, taken once", DType::kUInt8, {1}, {INT64_MAX}, 0, 1,
       nullptr},
      {"strides sum over", DType::kUInt8, {3, 2}, {k62 - 1, 5}, 0, 9,
       "more than 2^63"},
      {"stride product over", DType::kUInt8, {5}, {k62}, 0, 9,
       "more than 2^63"},
      {"offset at the end of time", DType::kUInt8, {}, {}, INT64_MAX,
       INT64_MAX, "more than 2^63"},
      {"last byte of time", DType::kUInt8, {}, {}, INT64_MAX - 1, INT64_MAX,
       nullptr},
      {"bytes over", DType::kComplex128, {k62}, {1}, 0, INT64_MAX,
       "more than 2^63"},
      {"2^62 wide", DType::kInt16, {k62}, {1}, 0, INT64_MAX, "more than 2^63"},
  };
}
// clang-format on

std::vector<Case> PackedCases() {
  return {
      {"quint4x2", DType::kQUInt4x2, {5}, {1}, 0, 3, nullptr},
      {"quint4x2 short", DType::kQUInt4x2, {5}, {1}, 0, 2, "needs 3"},
      {"quint4x2 offset", DType::kQUInt4x2, {5}, {1}, 1, 3, nullptr},
      {"quint4x2 offset short", DType::kQUInt4x2, {5}, {1}, 2, 3, "needs 4"},
      {"quint4x2 strided", DType::kQUInt4x2, {3}, {4}, 0, 5, nullptr},
      {"quint4x2 strided short", DType::kQUInt4x2, {3}, {4}, 0, 4, "needs 5"},
      {"quint2x4", DType::kQUInt2x4, {8}, {1}, 0, 2, nullptr},
      {"quint2x4 short", DType::kQUInt2x4, {9}, {1}, 0, 2, "needs 3"},
      {"float4 counts bytes",
       DType::kFloat4E2M1FNx2,
       {3},
       {1},
       0,
       2,
       "needs 3"},
  };
}

void ExpectAll(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const absl::Status status =
        CheckView(c.dtype, c.shape, c.strides, c.offset, c.storage_bytes);
    if (c.error == nullptr) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.error));
    }
    // Make must say the same.
    const auto made = Tensor::Make(Storage::InFile(c.storage_bytes, 0), c.dtype,
                                   c.shape, c.strides, c.offset);
    if (c.strides.size() == c.shape.size() && !c.shape.empty()) {
      EXPECT_EQ(made.status(), status);
    }
  }
}

TEST(CheckViewTest, HoldsAtEveryEdge) { ExpectAll(SmallCases()); }

TEST(CheckViewTest, OverflowsNowhere) { ExpectAll(HugeCases()); }

TEST(CheckViewTest, CountsThePackedInValues) { ExpectAll(PackedCases()); }

TEST(CheckViewTest, AllowsTorchsRankAndNoMore) {
  const Int64s ones(kMaxRank, 1);
  EXPECT_TRUE(CheckView(DType::kUInt8, ones, ones, 0, 1).ok());
  const Int64s more(kMaxRank + 1, 1);
  EXPECT_EQ(CheckView(DType::kUInt8, more, more, 0, 1).code(),
            absl::StatusCode::kInvalidArgument);
}

Tensor View(DType dtype, Int64s shape, Int64s strides = {},
            int64_t offset = 0) {
  auto tensor = Tensor::Make(Storage::InFile(INT64_MAX, 0), dtype,
                             std::move(shape), std::move(strides), offset);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return *std::move(tensor);
}

TEST(TensorTest, NeedsAStorage) {
  EXPECT_EQ(Tensor::Make(nullptr, DType::kUInt8, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TensorTest, IsContiguousUnlessToldOtherwise) {
  const Tensor tensor = View(DType::kInt32, {2, 3, 4});
  EXPECT_THAT(tensor.strides(), ElementsAre(12, 4, 1));
  EXPECT_EQ(tensor.num_elements(), 24);
  EXPECT_EQ(tensor.size_bytes(), 96);
  EXPECT_TRUE(tensor.is_contiguous());
  const Tensor scalar = View(DType::kFloat64, {});
  EXPECT_EQ(scalar.num_elements(), 1);
  EXPECT_EQ(scalar.size_bytes(), 8);
  EXPECT_TRUE(scalar.is_contiguous());
}

TEST(TensorTest, ContiguousStridesCountAZeroAsOne) {
  EXPECT_THAT(ContiguousStrides({0, 3}), ElementsAre(3, 1));
  EXPECT_THAT(ContiguousStrides({2, 0, 3}), ElementsAre(3, 3, 1));
  EXPECT_THAT(ContiguousStrides({}), ElementsAre());
  EXPECT_EQ(View(DType::kInt64, {0, k62, k62}).num_elements(), 0);
}

TEST(TensorTest, ContiguityIgnoresStridesThatAreNeverTaken) {
  EXPECT_TRUE(View(DType::kInt8, {1, 5}, {99, 1}).is_contiguous());
  EXPECT_TRUE(View(DType::kInt8, {4, 1, 5}, {5, 0, 1}).is_contiguous());
  EXPECT_TRUE(View(DType::kInt8, {0, 5}, {1, 9}).is_contiguous());
  EXPECT_FALSE(View(DType::kInt8, {4, 5}, {6, 1}).is_contiguous());
  EXPECT_FALSE(View(DType::kInt8, {4, 5}, {1, 4}).is_contiguous());
  EXPECT_FALSE(View(DType::kInt8, {4}, {0}).is_contiguous());
}

void ExpectRange(const Tensor& tensor, int64_t begin, int64_t end) {
  EXPECT_EQ(tensor.byte_range().begin, begin);
  EXPECT_EQ(tensor.byte_range().end, end);
}

TEST(TensorTest, ByteRangeReachesFromTheFirstToBehindTheLastElement) {
  ExpectRange(View(DType::kInt32, {2, 3}, {}, 5), 20, 44);
  ExpectRange(View(DType::kInt32, {2, 3}, {10, 2}, 1), 4, 64);
  ExpectRange(View(DType::kInt32, {k40}, {0}, 1), 4, 8);
  ExpectRange(View(DType::kInt32, {0, 3}, {}, 5), 0, 0);
  ExpectRange(View(DType::kQUInt4x2, {4}, {}, 3), 1, 4);
  ExpectRange(View(DType::kQUInt2x4, {2}, {}, 7), 1, 3);
}

TEST(TensorTest, SizeOfAnExpandedViewSaturates) {
  EXPECT_EQ(View(DType::kFloat64, {k62}, {0}).size_bytes(), INT64_MAX);
  EXPECT_EQ(View(DType::kQUInt4x2, {5}).size_bytes(), 3);
}

TEST(RowsTest, AreAViewOfTheSameStorage) {
  const Tensor tensor = View(DType::kInt16, {4, 3}, {5, 1}, 2);
  const Tensor rows = *tensor.Rows(1, 3);
  EXPECT_EQ(rows.storage(), tensor.storage());
  EXPECT_THAT(rows.shape(), ElementsAre(2, 3));
  EXPECT_THAT(rows.strides(), ElementsAre(5, 1));
  EXPECT_EQ(rows.offset(), 7);
  EXPECT_EQ(rows.num_elements(), 6);
  EXPECT_EQ(tensor.Rows(4, 4)->num_elements(), 0);
  EXPECT_EQ(tensor.Rows(0, 4)->num_elements(), 12);
  EXPECT_EQ(tensor.Rows(0, 4)->offset(), 2);
}

TEST(RowsTest, RefusesWhatIsNotThere) {
  const Tensor tensor = View(DType::kInt16, {4, 3});
  for (const auto& [begin, end] :
       {std::pair<int64_t, int64_t>{-1, 2}, {3, 2}, {0, 5}, {5, 5}}) {
    EXPECT_EQ(tensor.Rows(begin, end).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(View(DType::kInt16, {}).Rows(0, 0).ok());
}

TEST(RowsTest, OfNothingAtTheEndOfTimeDoNotOverflow) {
  const Tensor tensor = View(DType::kInt8, {k62, 0}, {k62, 1}, INT64_MAX);
  EXPECT_EQ(tensor.Rows(k62, k62)->num_elements(), 0);
  EXPECT_EQ(tensor.Rows(1, 2)->num_elements(), 0);
}

std::shared_ptr<Storage> RandomStorage(int64_t size, uint32_t seed) {
  std::shared_ptr<Storage> storage = *Storage::Allocate(size);
  std::mt19937 random(seed);
  for (uint8_t& byte : storage->mutable_bytes()) byte = random();
  return storage;
}

// One index at a time, straight from the definition.
std::vector<uint8_t> CopyNaively(const Tensor& tensor) {
  const int width = InfoOf(tensor.dtype()).size_bytes;
  std::vector<uint8_t> out;
  for (int64_t n = 0; n < tensor.num_elements(); ++n) {
    int64_t element = tensor.offset();
    int64_t rest = n;
    for (size_t i = tensor.shape().size(); i-- > 0;) {
      element += rest % tensor.shape()[i] * tensor.strides()[i];
      rest /= tensor.shape()[i];
    }
    const auto bytes =
        tensor.storage()->bytes().subspan(element * width, width);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

TEST(CopyToTest, AgreesWithANaiveLoopForEveryDTypeAndLayout) {
  const struct {
    Int64s shape, strides;
    int64_t offset;
  } layouts[] = {
      {{}, {}, 0},
      {{}, {}, 17},
      {{7}, {1}, 3},
      {{7}, {5}, 0},
      {{0}, {1}, 0},
      {{3, 0, 2}, {9, 9, 9}, 0},
      {{6, 7}, {7, 1}, 1},
      {{6, 7}, {1, 6}, 1},
      {{6, 7}, {11, 1}, 0},
      {{4, 1, 5}, {5, 77, 1}, 0},
      {{5, 4}, {0, 1}, 2},
      {{5, 4}, {1, 0}, 2},
      {{2, 3, 4}, {1, 2, 6}, 0},
      {{2, 3, 4}, {12, 1, 3}, 0},
      {{2, 3, 4, 5}, {60, 20, 5, 1}, 4},
      {{3, 3, 3}, {1, 1, 1}, 0},
      {Int64s(kMaxRank, 1), Int64s(kMaxRank, 3), 5},
  };
  const auto storage = RandomStorage(200 * 16, 1);
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    if (InfoOf(dtype).values_per_byte != 1) continue;
    for (const auto& layout : layouts) {
      SCOPED_TRACE(testing::Message() << std::string(InfoOf(dtype).name)
                                      << " layout " << &layout - layouts);
      const auto tensor = Tensor::Make(storage, dtype, layout.shape,
                                       layout.strides, layout.offset);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      std::vector<uint8_t> out(tensor->size_bytes());
      ASSERT_TRUE(tensor->CopyTo(absl::MakeSpan(out)).ok());
      EXPECT_EQ(out, CopyNaively(*tensor));
    }
  }
}

TEST(CopyToTest, AgreesWithANaiveLoopForRandomLayouts) {
  const auto storage = RandomStorage(4000, 2);
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(round);
    const int rank = random() % 5;
    Int64s shape(rank), strides(rank);
    for (int i = 0; i < rank; ++i) {
      shape[i] = random() % 5;
      strides[i] = random() % 40;
    }
    const auto tensor = Tensor::Make(storage, DType::kInt32, shape, strides,
                                     static_cast<int64_t>(random() % 100));
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    std::vector<uint8_t> out(tensor->size_bytes());
    ASSERT_TRUE(tensor->CopyTo(absl::MakeSpan(out)).ok());
    EXPECT_EQ(out, CopyNaively(*tensor));
  }
}

TEST(CopyToTest, ReadsStoragesThatAreNotAligned) {
  std::vector<uint8_t> bytes(33);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = i;
  const auto storage =
      Storage::Adopt(absl::MakeSpan(bytes).subspan(1), nullptr);
  const auto tensor = Tensor::Make(storage, DType::kInt64, {2}, {2});
  std::vector<uint8_t> out(16);
  ASSERT_TRUE(tensor->CopyTo(absl::MakeSpan(out)).ok());
  EXPECT_EQ(out, CopyNaively(*tensor));
}

TEST(CopyToTest, RefusesWrongSizesPackedDTypesAndStoragesInFiles) {
  const auto storage = RandomStorage(64, 4);
  std::vector<uint8_t> out(8);
  const auto tensor = *Tensor::Make(storage, DType::kInt16, {4});
  EXPECT_EQ(tensor.CopyTo(absl::MakeSpan(out).subspan(1)).code(),
            absl::StatusCode::kInvalidArgument);
  const auto packed = *Tensor::Make(storage, DType::kQUInt4x2, {16});
  EXPECT_EQ(packed.CopyTo(absl::MakeSpan(out)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(View(DType::kInt16, {4}).CopyTo(absl::MakeSpan(out)).code(),
            absl::StatusCode::kFailedPrecondition);
  const Tensor bomb = View(DType::kFloat32, {k40}, {0});
  EXPECT_EQ(bomb.CopyTo(absl::MakeSpan(out)).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
