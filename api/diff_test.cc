#include "api/diff.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/memory_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

template <typename T>
Tensor TensorOf(DType dtype, const std::vector<T>& values,
                std::vector<int64_t> shape = {},
                std::vector<int64_t> strides = {}) {
  const auto size = static_cast<int64_t>(values.size() * sizeof(T));
  std::shared_ptr<Storage> storage = *Storage::Allocate(size);
  if (size > 0) std::memcpy(storage->mutable_bytes().data(), &values[0], size);
  if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
  return *Tensor::Make(std::move(storage), dtype, std::move(shape),
                       std::move(strides));
}

Tensor Floats(const std::vector<float>& values) {
  return TensorOf(DType::kFloat32, values);
}

// `count` floats, different for each seed.
std::vector<float> Ramp(int64_t count, float seed) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = seed + i % 1013;
  return values;
}

using Named = std::vector<std::pair<std::string, Tensor>>;

Value DictOf(const Named& tensors, int64_t epoch = 1) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(b.SetItem(root, b.Str(name), b.Tensor(tensor)).ok());
  }
  EXPECT_TRUE(b.SetItem(root, b.Str("epoch"), b.Int(epoch)).ok());
  return *std::move(b).Finish(root);
}

class DiffTest : public testing::Test {
 protected:
  // Saved and opened again.
  Checkpoint FileOf(const Value& value, const std::string& path,
                    Codec codec = Codec::kZstd) {
    SaveOptions options = SaveOptionsFor(path);
    options.codec = codec;
    options.run.files = &files_;
    EXPECT_TRUE(Save(value, path, options).ok());
    return *Checkpoint::Open(path, options.run);
  }

  DiffReport Of(const Value& a, const Value& b, DiffOptions options = {}) {
    return *Diff(FileOf(a, "/a.pt"), FileOf(b, "/b.pstk"), options);
  }
  DiffReport OfTensors(const Tensor& a, const Tensor& b,
                       DiffOptions options = {}) {
    return Of(DictOf({{"w", a}}), DictOf({{"w", b}}), options);
  }
  // Of the one tensor that differs.
  ElementStats StatsOf(const Tensor& a, const Tensor& b,
                       DiffOptions options = {}) {
    const DiffReport report = OfTensors(a, b, options);
    EXPECT_THAT(report.changed, SizeIs(1));
    if (report.changed.size() != 1) return {};
    return report.changed[0].stats.value_or(ElementStats());
  }

  MemoryFileSystem files_;
};

DiffOptions Within(double rtol, double atol) {
  DiffOptions options;
  options.tolerance = {rtol, atol};
  return options;
}

TEST_F(DiffTest, AFileIsTheSameInBothFormats) {
  const Value value = DictOf({{"big", Floats(Ramp(700'000, 1))},
                              {"small", Floats({1, 2, 3})},
                              {"none", Floats({})}});
  const DiffReport report = Of(value, value);
  EXPECT_TRUE(report.same());
  EXPECT_EQ(report.num_common, 3);
  EXPECT_EQ(report.num_identical, 3);
  EXPECT_EQ(report.num_by_digest, 0);
  EXPECT_EQ(report.read_bytes, 2 * (2'800'000 + 12));
}

TEST_F(DiffTest, TensorsOnOneSideAreListed) {
  const DiffReport report =
      Of(DictOf({{"both", Floats({1})}, {"gone", Floats({1, 2})}}),
         DictOf({{"new", TensorOf<int8_t>(DType::kInt8, {1})},
                 {"both", Floats({1})}}));
  ASSERT_THAT(report.removed, SizeIs(1));
  EXPECT_EQ(report.removed[0].name, "gone");
  ASSERT_THAT(report.added, SizeIs(1));
  EXPECT_EQ(report.added[0].name, "new");
  EXPECT_EQ(report.added[0].dtype, DType::kInt8);
  EXPECT_EQ(report.num_identical, 1);
  EXPECT_FALSE(report.same());
}

TEST_F(DiffTest, DifferencesAreMeasured) {
  const ElementStats stats =
      StatsOf(Floats({3, 4, 0, 12}), Floats({3, 4, 5, 12}));
  EXPECT_EQ(stats.num_elements, 4);
  EXPECT_EQ(stats.num_changed, 1);
  EXPECT_EQ(stats.max_abs, 5);
  EXPECT_DOUBLE_EQ(stats.relative_l2, 5.0 / 13);
}

// The last element of each of many chunks differs.
TEST_F(DiffTest, EveryChunkIsCompared) {
  std::vector<float> a = Ramp(1'000'000, 1);
  std::vector<float> b = a;
  int64_t changed = 0;
  for (size_t i = (1 << 18) - 1; i < b.size(); i += 1 << 18) {
    b[i] += 1;
    ++changed;
  }
  b.back() += 2;
  const ElementStats stats = StatsOf(Floats(a), Floats(b));
  EXPECT_EQ(stats.num_elements, 1'000'000);
  EXPECT_EQ(stats.num_changed, changed + 1);
  EXPECT_EQ(stats.max_abs, 2);
  double squares = 0;
  for (const float x : a) squares += static_cast<double>(x) * x;
  EXPECT_NEAR(stats.relative_l2, std::sqrt((changed + 4) / squares), 1e-12);
}

TEST_F(DiffTest, ZeroBecomingSomethingIsInfinitelyMuch) {
  EXPECT_EQ(StatsOf(Floats({0, 0}), Floats({0, 1})).relative_l2, INFINITY);
}

TEST_F(DiffTest, BitsDecideWithoutATolerance) {
  EXPECT_TRUE(OfTensors(Floats({NAN, 1}), Floats({NAN, 1})).same());
  const ElementStats zero = StatsOf(Floats({0.0f}), Floats({-0.0f}));
  EXPECT_EQ(zero.num_changed, 1);
  EXPECT_EQ(zero.max_abs, 0);
  const ElementStats nan = StatsOf(Floats({NAN, 1}), Floats({-NAN, 1}));
  EXPECT_EQ(nan.num_changed, 1);
  EXPECT_EQ(nan.num_not_finite, 1);
  EXPECT_EQ(nan.max_abs, 0);
  EXPECT_EQ(nan.relative_l2, 0);
}

TEST_F(DiffTest, InfinityOnOneSideIsTheLargestDifference) {
  const ElementStats stats = StatsOf(Floats({INFINITY, 3}), Floats({1, 4}));
  EXPECT_EQ(stats.max_abs, INFINITY);
  EXPECT_EQ(stats.num_not_finite, 1);
  EXPECT_DOUBLE_EQ(stats.relative_l2, 1.0 / 3);
}

// |a - b| <= atol + rtol * |b|, with b as the measure.
TEST_F(DiffTest, ToleranceIsThatOfNumpy) {
  const auto same = [&](float a, float b, double rtol, double atol) {
    return OfTensors(Floats({a}), Floats({b}), Within(rtol, atol)).same();
  };
  EXPECT_TRUE(same(10, 11, 0, 1));
  EXPECT_FALSE(same(10, 11, 0, 0.99));
  EXPECT_TRUE(same(10, 12.5, 0.2, 0));
  EXPECT_FALSE(same(12.5, 10, 0.2, 0));
  EXPECT_TRUE(same(12.5, 10, 0.2, 0.5));
  EXPECT_TRUE(same(NAN, -NAN, 0, 0));
  EXPECT_FALSE(same(NAN, 1, 1, 1));
  EXPECT_TRUE(same(INFINITY, INFINITY, 0, 0));
  EXPECT_FALSE(same(INFINITY, -INFINITY, 1, 1));
  EXPECT_FALSE(same(INFINITY, 1, 1, 1));
  EXPECT_TRUE(same(0.0f, -0.0f, 0, 0));
}

TEST_F(DiffTest, WhatIsCloseIsCounted) {
  const DiffReport report =
      OfTensors(Floats({1, 2}), Floats({1, 2.01f}), Within(0.1, 0));
  EXPECT_TRUE(report.same());
  EXPECT_EQ(report.num_close, 1);
  EXPECT_EQ(report.num_identical, 0);
  const ElementStats stats =
      StatsOf(Floats({1, 2, 3}), Floats({1, 2.01f, 4}), Within(0.1, 0));
  EXPECT_EQ(stats.num_changed, 2);
  EXPECT_EQ(stats.num_beyond, 1);
}

TEST_F(DiffTest, DTypesAreComparedByValueOnlyWithATolerance) {
  const Tensor floats = Floats({1, 2.5, -3});
  const Tensor halves =
      TensorOf<uint16_t>(DType::kBFloat16, {0x3F80, 0x4020, 0xC040});
  const DiffReport strict = OfTensors(floats, halves);
  ASSERT_THAT(strict.changed, SizeIs(1));
  EXPECT_FALSE(strict.changed[0].stats.has_value());
  EXPECT_EQ(strict.changed[0].dtype_b, DType::kBFloat16);
  EXPECT_EQ(strict.read_bytes, 0);
  EXPECT_TRUE(OfTensors(floats, halves, Within(0, 0)).same());
  EXPECT_TRUE(OfTensors(halves, floats, Within(0, 0)).same());
  EXPECT_EQ(StatsOf(Floats({1, 2.5, -4}), halves, Within(0, 0.5)).num_beyond,
            1);
  EXPECT_TRUE(OfTensors(TensorOf<int32_t>(DType::kInt32, {1, 2}),
                        TensorOf<double>(DType::kFloat64, {1, 2}), Within(0, 0))
                  .same());
}

// Bytes of both sides differ in number, so their chunks do, too.
TEST_F(DiffTest, LargeTensorsOfTwoDTypesStayInStep) {
  const std::vector<float> a = Ramp(600'000, 0);
  std::vector<double> b(a.begin(), a.end());
  EXPECT_TRUE(
      OfTensors(Floats(a), TensorOf(DType::kFloat64, b), Within(0, 0)).same());
  b[599'999] += 1;
  EXPECT_EQ(
      StatsOf(Floats(a), TensorOf(DType::kFloat64, b), Within(0, 0)).num_beyond,
      1);
}

TEST_F(DiffTest, ShapesAreToldAndNotRead) {
  const DiffReport report =
      OfTensors(Floats({1, 2}), Floats({1, 2, 3}), Within(1, 1));
  ASSERT_THAT(report.changed, SizeIs(1));
  EXPECT_FALSE(report.changed[0].stats.has_value());
  EXPECT_EQ(report.changed[0].shape_b, std::vector<int64_t>({3}));
}

TEST_F(DiffTest, SixtyFourBitIntegersAreSubtractedExactly) {
  const int64_t big = int64_t{1} << 60;
  const ElementStats stats =
      StatsOf(TensorOf<int64_t>(DType::kInt64, {big, 5, INT64_MIN}),
              TensorOf<int64_t>(DType::kInt64, {big + 1, 5, INT64_MIN}));
  EXPECT_EQ(stats.num_changed, 1);
  EXPECT_EQ(stats.max_abs, 1);
  EXPECT_EQ(StatsOf(TensorOf<uint64_t>(DType::kUInt64, {0}),
                    TensorOf<uint64_t>(DType::kUInt64, {UINT64_MAX}))
                .max_abs,
            0x1p64);
}

// Known values of each format: 1, and what one bit more or less means.
TEST_F(DiffTest, DTypesAreReadAsNumbers) {
  const auto distance = [&](DType dtype, uint8_t a, uint8_t b) {
    return StatsOf(TensorOf<uint8_t>(dtype, {a}), TensorOf<uint8_t>(dtype, {b}))
        .max_abs;
  };
  EXPECT_EQ(distance(DType::kFloat8E4M3FN, 0x38, 0x00), 1);
  EXPECT_EQ(distance(DType::kFloat8E4M3FN, 0x7e, 0x00), 448);
  EXPECT_EQ(distance(DType::kFloat8E4M3FN, 0x01, 0x00), 0x1p-9);
  EXPECT_EQ(distance(DType::kFloat8E5M2, 0x3c, 0x00), 1);
  EXPECT_EQ(distance(DType::kFloat8E5M2, 0x7b, 0x80), 57344);
  EXPECT_EQ(distance(DType::kFloat8E5M2, 0x7c, 0x00), INFINITY);
  EXPECT_EQ(distance(DType::kFloat8E4M3FNUZ, 0x40, 0x00), 1);
  EXPECT_EQ(distance(DType::kFloat8E4M3FNUZ, 0x7f, 0x00), 240);
  EXPECT_EQ(distance(DType::kFloat8E5M2FNUZ, 0x40, 0xc0), 2);
  EXPECT_EQ(distance(DType::kFloat8E8M0FNU, 127, 128), 1);
  EXPECT_EQ(distance(DType::kInt8, 0xff, 0x01), 2);
  EXPECT_EQ(distance(DType::kUInt8, 0xff, 0x01), 254);
  EXPECT_EQ(StatsOf(TensorOf<uint16_t>(DType::kFloat16, {0x3c00}),
                    TensorOf<uint16_t>(DType::kFloat16, {0xc000}))
                .max_abs,
            3);
  EXPECT_DOUBLE_EQ(StatsOf(TensorOf<float>(DType::kComplex64, {0, 0}, {1}),
                           TensorOf<float>(DType::kComplex64, {3, 4}, {1}))
                       .max_abs,
                   5);
}

TEST_F(DiffTest, BitsWithoutNumbersAreCountedAlone) {
  const ElementStats stats =
      StatsOf(TensorOf<uint8_t>(DType::kBits8, {1, 2, 3}),
              TensorOf<uint8_t>(DType::kBits8, {1, 2, 4}));
  EXPECT_FALSE(stats.has_numbers);
  EXPECT_EQ(stats.num_elements, 3);
  EXPECT_EQ(stats.num_changed, 1);
  EXPECT_TRUE(std::isnan(stats.max_abs));
}

TEST_F(DiffTest, StridesDoNotMatter) {
  const Tensor rows =
      TensorOf<float>(DType::kFloat32, {1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor columns =
      TensorOf<float>(DType::kFloat32, {1, 4, 2, 5, 3, 6}, {2, 3}, {1, 2});
  EXPECT_TRUE(OfTensors(rows, columns).same());
  EXPECT_TRUE(OfTensors(columns, columns).same());
  const Tensor other =
      TensorOf<float>(DType::kFloat32, {1, 4, 2, 5, 3, 7}, {2, 3}, {1, 2});
  EXPECT_EQ(StatsOf(rows, other).num_changed, 1);
  EXPECT_EQ(StatsOf(columns, other).num_changed, 1);
}

// Of two rows, each 2^40 times.
Tensor Expanded(std::vector<float> values) {
  return TensorOf<float>(DType::kFloat32, values, {2, int64_t{1} << 40, 2},
                         {2, 0, 1});
}

TEST_F(DiffTest, WhatBothRepeatIsReadOnce) {
  const DiffReport same =
      OfTensors(Expanded({1, 2, 3, 4}), Expanded({1, 2, 3, 4}));
  EXPECT_TRUE(same.same());
  EXPECT_EQ(same.read_bytes, 2 * 16);
  const ElementStats stats =
      StatsOf(Expanded({3, 4, 0, 12}), Expanded({3, 4, 5, NAN}));
  EXPECT_EQ(stats.num_elements, int64_t{1} << 42);
  EXPECT_EQ(stats.num_changed, int64_t{1} << 41);
  EXPECT_EQ(stats.num_beyond, int64_t{1} << 41);
  EXPECT_EQ(stats.num_not_finite, int64_t{1} << 40);
  EXPECT_EQ(stats.max_abs, 5);
  EXPECT_DOUBLE_EQ(stats.relative_l2, 1);  // of (3, 4, 0) and (3, 4, 5)
}

// The same whether both sides are repeated or only one.
TEST_F(DiffTest, RepeatsCountAsTheElementsThatTheyAre) {
  std::vector<float> all;
  for (int i = 0; i < 300; ++i) all.insert(all.end(), {1, 2, 4});
  const auto repeated = [](std::vector<float> values) {
    return TensorOf<float>(DType::kFloat32, values, {300, 3}, {0, 1});
  };
  const Tensor whole = TensorOf<float>(DType::kFloat32, all, {300, 3});
  EXPECT_TRUE(OfTensors(whole, repeated({1, 2, 4})).same());
  const ElementStats one_side = StatsOf(whole, repeated({1, 5, 4}));
  const ElementStats both = StatsOf(repeated({1, 2, 4}), repeated({1, 5, 4}));
  EXPECT_EQ(both.num_elements, 900);
  EXPECT_EQ(both.num_changed, 300);
  EXPECT_EQ(one_side.num_changed, 300);
  EXPECT_EQ(both.max_abs, one_side.max_abs);
  EXPECT_DOUBLE_EQ(both.relative_l2, one_side.relative_l2);
}

TEST_F(DiffTest, TensorsThatShowFarMoreThanTheyHoldAreRefused) {
  const auto of = [](int64_t stride, int64_t other_stride, int64_t count) {
    return TensorOf<float>(DType::kFloat32, Ramp(1 << 16, 0), {1 << 16, count},
                           {stride, other_stride});
  };
  const auto diff = [this](const Value& a, const Value& b) {
    return Diff(FileOf(a, "/a.pt"), FileOf(b, "/b.pt")).status();
  };
  const Tensor rows = of(1, 0, 1 << 16);
  const Tensor columns = of(0, 1, 1 << 16);
  const absl::Status status =
      diff(DictOf({{"w", rows}}), DictOf({{"w", columns}}));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/a.pt and /b.pt: w: shows 4294967296 elements of "
                        "a storage of 262144"));
  // Many of a size that one may have.
  Named many_a;
  Named many_b;
  for (int i = 0; i < 5; ++i) {
    many_a.emplace_back(absl::StrCat("w", i), of(1, 0, 1 << 13));
    many_b.emplace_back(absl::StrCat("w", i), of(0, 1, 1 << 13));
  }
  EXPECT_EQ(diff(DictOf(many_a), DictOf(many_b)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(
      diff(DictOf({{"w", of(1, 0, 512)}}), DictOf({{"w", of(0, 1, 512)}}))
          .ok());
}

TEST_F(DiffTest, ConjugatesAreResolved) {
  const auto with = [](const std::vector<float>& values, uint8_t flags) {
    GraphBuilder b;
    const NodeId root = b.Dict();
    EXPECT_TRUE(
        b.SetItem(root, b.Str("w"),
                  b.Tensor(TensorOf(DType::kComplex64, values, {1}), flags))
            .ok());
    return *std::move(b).Finish(root);
  };
  const Value plain = with({1, 2}, 0);
  EXPECT_TRUE(Of(plain, with({1, -2}, TensorFlags::kConjugated)).same());
  EXPECT_FALSE(Of(plain, with({1, 2}, TensorFlags::kConjugated)).same());
}

TEST_F(DiffTest, NativeFilesAreComparedByDigestWithoutReading) {
  Named tensors = {{"big", Floats(Ramp(700'000, 1))},
                   {"other", Floats(Ramp(700'000, 2))},
                   {"small", Floats({1, 2, 3})}};
  const Checkpoint a = FileOf(DictOf(tensors), "/a.pstk", Codec::kNone);
  const DiffReport same =
      *Diff(a, FileOf(DictOf(tensors), "/b.pstk", Codec::kNone));
  EXPECT_TRUE(same.same());
  EXPECT_EQ(same.num_by_digest, 3);
  EXPECT_EQ(same.read_bytes, 0);

  std::vector<float> changed = Ramp(700'000, 2);
  changed[650'000] += 1;
  tensors[1].second = Floats(changed);
  const DiffReport one =
      *Diff(a, FileOf(DictOf(tensors), "/c.pstk", Codec::kNone));
  ASSERT_THAT(one.changed, SizeIs(1));
  EXPECT_EQ(one.changed[0].name, "other");
  EXPECT_EQ(one.changed[0].stats->num_changed, 1);
  EXPECT_GE(one.num_by_digest, 1);
  EXPECT_LE(one.read_bytes, 2 * 2'800'000 + 24);
}

TEST_F(DiffTest, TheMostChangedTensorComesFirst) {
  const DiffReport report = Of(DictOf({{"a", Floats({1, 1})},
                                       {"b", Floats({1, 1})},
                                       {"c", Floats({1, 1})}}),
                               DictOf({{"a", Floats({1, 1.5})},
                                       {"b", Floats({1, 9})},
                                       {"c", Floats({1})}}));
  ASSERT_THAT(report.changed, SizeIs(3));
  EXPECT_EQ(report.changed[0].name, "c");  // another shape
  EXPECT_EQ(report.changed[1].name, "b");
  EXPECT_EQ(report.changed[2].name, "a");
}

TEST_F(DiffTest, OtherValuesAreComparedByPath) {
  const auto make = [](int64_t epoch, bool with_name, bool ordered) {
    GraphBuilder b;
    const NodeId root = ordered ? b.OrderedDict() : b.Dict();
    const NodeId list = b.List({b.Int(1), b.Str("two"), b.Float(0.5)});
    EXPECT_TRUE(b.SetItem(root, b.Str("epoch"), b.Int(epoch)).ok());
    EXPECT_TRUE(b.SetItem(root, b.Str("items"), list).ok());
    EXPECT_TRUE(b.SetItem(root, b.Int(7), b.Dict()).ok());
    if (with_name) {
      EXPECT_TRUE(b.SetItem(root, b.Str("name"), b.Str("run")).ok());
    }
    return *std::move(b).Finish(root);
  };
  EXPECT_TRUE(Of(make(1, true, false), make(1, true, true)).same());
  const DiffReport report = Of(make(1, true, false), make(2, false, false));
  ASSERT_THAT(report.values, SizeIs(2));
  EXPECT_EQ(report.values[0].path, "epoch");
  EXPECT_EQ(report.values[0].a, "1");
  EXPECT_EQ(report.values[0].b, "2");
  EXPECT_EQ(report.values[1].path, "name");
  EXPECT_EQ(report.values[1].a, "'run'");
  EXPECT_FALSE(report.values[1].b.has_value());
  DiffOptions tensors_only;
  tensors_only.compare_values = false;
  EXPECT_TRUE(
      Of(make(1, true, false), make(2, false, false), tensors_only).same());
}

TEST_F(DiffTest, LongTextIsShortenedAndStillToldApart) {
  const auto make = [](char last) {
    GraphBuilder b;
    const NodeId root = b.Dict();
    const std::string text = std::string(5000, 'x') + last;
    EXPECT_TRUE(b.SetItem(root, b.Str("t"), b.Str(text)).ok());
    return *std::move(b).Finish(root);
  };
  EXPECT_TRUE(Of(make('a'), make('a')).same());
  const DiffReport report = Of(make('a'), make('b'));
  ASSERT_THAT(report.values, SizeIs(1));
  EXPECT_LT(report.values[0].a->size(), 300u);
}

TEST_F(DiffTest, CyclesEnd) {
  GraphBuilder b;
  const NodeId root = b.List();
  EXPECT_TRUE(b.Append(root, root).ok());
  EXPECT_TRUE(b.Append(root, b.Int(1)).ok());
  const Value value = *std::move(b).Finish(root);
  EXPECT_TRUE(Of(value, value).same());
}

TEST_F(DiffTest, SharingThatMultipliesPathsIsRefused) {
  GraphBuilder b;
  NodeId node = b.Int(1);
  for (int i = 0; i < 40; ++i) node = b.List({node, node});
  const Value value = *std::move(b).Finish(node);
  const Checkpoint file = FileOf(value, "/a.pstk");
  EXPECT_EQ(Diff(file, file).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(DiffTest, AnyNumberOfThreadsGivesTheSameSums) {
  const Value a = DictOf({{"w", Floats(Ramp(2'000'000, 0.1f))}});
  const Value b = DictOf({{"w", Floats(Ramp(2'000'000, 0.3f))}});
  std::vector<double> sums;
  for (const int threads : {1, 2, 8}) {
    DiffOptions options;
    options.run.threads = threads;
    const DiffReport report = Of(a, b, options);
    ASSERT_THAT(report.changed, SizeIs(1));
    sums.push_back(report.changed[0].stats->relative_l2);
  }
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
}

// A byte of each tensor changed on disk is damage, not a difference.
TEST_F(DiffTest, DamageOnEitherSideIsAnErrorThatNamesTheFile) {
  const Value value = DictOf({{"w", Floats(Ramp(1000, 1))}});
  FileOf(value, "/good.pt");
  FileOf(value, "/good.pstk", Codec::kNone);
  const float one = 1;
  std::string payload(4, '\0');
  std::memcpy(&payload[0], &one, 4);
  const float two = 2;
  payload.append(reinterpret_cast<const char*>(&two), 4);
  for (const std::string good : {"/good.pt", "/good.pstk"}) {
    std::string bytes = *files_.Get(good);
    const size_t at = bytes.find(payload);
    ASSERT_NE(at, std::string::npos);
    bytes[at] ^= 1;
    files_.Put("/bad", bytes);
    RunOptions run;
    run.files = &files_;
    const Checkpoint bad = *Checkpoint::Open("/bad", run);
    const std::string other = good == "/good.pt" ? "/good.pstk" : "/good.pt";
    const Checkpoint sound = *Checkpoint::Open(other, run);
    for (const absl::Status& status :
         {Diff(bad, sound).status(), Diff(sound, bad).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), HasSubstr("/bad"));
      EXPECT_THAT(std::string(status.message()), HasSubstr("w"));
    }
  }
}

TEST_F(DiffTest, ATensorOverTheMemoryIsRefusedByItsName) {
  std::vector<float> values(4'000'000);
  const Tensor rows = TensorOf<float>(DType::kFloat32, values, {2000, 2000});
  const Tensor columns =
      TensorOf<float>(DType::kFloat32, values, {2000, 2000}, {1, 2000});
  DiffOptions options;
  options.run.memory_bytes = 32 << 20;
  options.run.threads = 1;
  const absl::Status status =
      Diff(FileOf(DictOf({{"w", rows}}), "/a.pt"),
           FileOf(DictOf({{"w", columns}}), "/b.pt"), options)
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--memory"));
}

TEST_F(DiffTest, ToleranceBelowZeroIsRefused) {
  const Checkpoint file = FileOf(DictOf({}), "/a.pstk");
  EXPECT_EQ(Diff(file, file, Within(-1, 0)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Diff(file, file, Within(NAN, 0)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
