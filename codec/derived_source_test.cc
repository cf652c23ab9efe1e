#include "codec/derived_source.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "codec/native_source.h"
#include "codec/native_test_file.h"
#include "codec/pipeline.h"
#include "codec/plan.h"
#include "codec/sink.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/cast.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kMemory = 64 << 20;

using Bytes = std::vector<uint8_t>;
using Storages = std::vector<std::shared_ptr<const Storage>>;

Tensor View(std::shared_ptr<const Storage> storage, DType dtype,
            std::vector<int64_t> shape, std::vector<int64_t> strides = {},
            int64_t offset = 0) {
  auto tensor = Tensor::Make(std::move(storage), dtype, std::move(shape),
                             std::move(strides), offset);
  PENSTOCK_CHECK(tensor.ok());
  return *std::move(tensor);
}

Derivation Derive(const Tensor& from, DType to, uint8_t flags = 0) {
  auto derivation = MakeDerivation(from, to, flags);
  EXPECT_TRUE(derivation.ok()) << derivation.status();
  return *std::move(derivation);
}

std::unique_ptr<DerivedSource> MakeSource(Source& base,
                                          std::vector<Derivation> derivations,
                                          int64_t memory_bytes = kMemory) {
  auto source = DerivedSource::Make(base, std::move(derivations), memory_bytes);
  PENSTOCK_CHECK(source.ok());
  return *std::move(source);
}

// What the source gives for these storages, through the pump.
absl::StatusOr<std::vector<Bytes>> Read(Source& source,
                                        const Storages& storages,
                                        int threads = 4) {
  std::vector<Bytes> result;
  std::vector<MemorySink::Window> windows;
  for (const auto& storage : storages) {
    result.emplace_back(storage->size_bytes(), 0xA5);
  }
  for (Bytes& bytes : result) {
    windows.push_back({Storage::Adopt(absl::MakeSpan(bytes), nullptr), 0});
  }
  MemorySink sink(std::move(windows));
  PumpOptions options;
  options.threads = threads;
  options.memory_bytes = 1 << 30;
  PENSTOCK_RETURN_IF_ERROR(
      Pump(PlanInOrder(storages), source, sink, options).status());
  return result;
}

Bytes ReadOne(Source& source, const std::shared_ptr<const Storage>& storage) {
  auto bytes = Read(source, {storage});
  PENSTOCK_CHECK(bytes.ok());
  return (*bytes)[0];
}

Bytes Dense(const Tensor& tensor) {
  Bytes bytes(tensor.size_bytes());
  PENSTOCK_CHECK(tensor.CopyTo(absl::MakeSpan(bytes)).ok());
  return bytes;
}

bool IsPacked(DType dtype) { return InfoOf(dtype).values_per_byte > 1; }

TEST(DerivedSourceTest, GathersEveryDTypeAndShape) {
  const auto storage = TestStorage(4096, 1, Fill::kNoise);
  for (int code = 0; code < kNumDTypes; ++code) {
    const auto dtype = static_cast<DType>(code);
    if (IsPacked(dtype)) continue;
    SCOPED_TRACE(InfoOf(dtype).name);
    const std::vector<Tensor> tensors = {
        View(storage, dtype, {}),
        View(storage, dtype, {}, {}, 7),
        View(storage, dtype, {0}),
        View(storage, dtype, {3, 0, 2}, {5, 7, 9}, 1),
        View(storage, dtype, {13}, {3}, 2),
        View(storage, dtype, {5, 7}, {1, 5}),         // transposed
        View(storage, dtype, {4, 1, 6}, {6, 99, 1}),  // contiguous
        View(storage, dtype, {4, 6}, {0, 1}, 3),      // expanded
        View(storage, dtype, {4, 6}, {0, 0}, 3),
        View(storage, dtype, {3, 4, 5}, {1, 15, 3}),
        View(storage, dtype, {2, 3, 2}, {60, 7, 3}, 5),
        View(storage, dtype, std::vector<int64_t>(kMaxRank, 1)),
        View(storage, dtype, {5, 5}, {3, 2}),  // overlapping
    };
    std::vector<Derivation> derivations;
    Storages storages;
    for (const Tensor& tensor : tensors) {
      derivations.push_back(Derive(tensor, dtype));
      storages.push_back(derivations.back().storage);
    }
    MemorySource memory;
    const auto source = MakeSource(memory, derivations);
    const auto bytes = Read(*source, storages);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ((*bytes)[i], Dense(tensors[i])) << i;
    }
  }
}

TEST(DerivedSourceTest, CastsStridedAndContiguousTensors) {
  const DType dtypes[] = {DType::kFloat64, DType::kFloat32, DType::kFloat16,
                          DType::kBFloat16};
  const auto storage = TestStorage(5'000'000, 2, Fill::kNoise);
  for (const DType from : dtypes) {
    for (const DType to : dtypes) {
      if (!CanCast(from, to)) continue;
      SCOPED_TRACE(InfoOf(from).name);
      SCOPED_TRACE(InfoOf(to).name);
      int64_t overflows = 0;
      std::vector<Derivation> derivations;
      std::vector<Bytes> expected;
      Storages storages;
      // Of several chunks, on both sides; and small enough to share one.
      for (const Tensor& tensor :
           {View(storage, from, {600'001}, {}, 3),
            View(storage, from, {700, 801}, {1, 700}),
            View(storage, from, {9, 5}), View(storage, from, {9, 5}, {1, 9}),
            View(storage, from, {300, 2000}, {0, 1})}) {
        derivations.push_back(Derive(tensor, to));
        storages.push_back(derivations.back().storage);
        expected.emplace_back(storages.back()->size_bytes());
        overflows +=
            Cast(from, to, Dense(tensor), absl::MakeSpan(expected.back()));
      }
      MemorySource memory;
      const auto source = MakeSource(memory, derivations);
      const auto bytes = Read(*source, storages);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE((*bytes)[i] == expected[i]) << i;
      }
      EXPECT_EQ(source->num_overflows(), overflows);
    }
  }
}

TEST(DerivedSourceTest, MixesDerivedAndPlainStoragesInOneChunk) {
  const auto a = TestStorage(100, 1, Fill::kNoise);
  const auto b = TestStorage(1000, 2, Fill::kNoise);
  const auto large = TestStorage((3 << 20) + 5, 3, Fill::kNoise);
  const Tensor strided = View(b, DType::kInt16, {20, 10}, {1, 20});
  const Derivation derived = Derive(strided, DType::kInt16);
  MemorySource memory;
  const auto source = MakeSource(memory, {derived});
  const auto bytes =
      Read(*source, {a, derived.storage, b, large, derived.storage, a});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto whole = [](const Storage& storage) {
    return Bytes(storage.bytes().begin(), storage.bytes().end());
  };
  EXPECT_EQ((*bytes)[0], whole(*a));
  EXPECT_EQ((*bytes)[1], Dense(strided));
  EXPECT_EQ((*bytes)[2], whole(*b));
  EXPECT_TRUE((*bytes)[3] == whole(*large));
  EXPECT_EQ((*bytes)[4], Dense(strided));
  EXPECT_EQ((*bytes)[5], whole(*a));
}

// The slot is dirty from an earlier chunk, and there is no target.
TEST(DerivedSourceTest, LeavesZerosBetweenPieces) {
  const auto a = TestStorage(3, 1, Fill::kNoise);
  const Derivation b = Derive(View(a, DType::kUInt8, {2}, {2}), DType::kUInt8);
  MemorySource memory;
  const auto source = MakeSource(memory, {b});
  const Plan plan = PlanInOrder({b.storage, a, b.storage});
  ASSERT_EQ(plan.chunks.size(), 1u);
  Slot slot;
  slot.raw.Reserve(1000);
  std::memset(slot.raw.data(), 0xA5, 1000);
  const auto bytes = source->Bytes(plan, plan.chunks[0], slot, nullptr);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const uint8_t* const from = a->bytes().data();
  Bytes expected(130);
  expected[0] = expected[128] = from[0];
  expected[1] = expected[129] = from[2];
  std::memcpy(&expected[64], from, 3);
  EXPECT_EQ(Bytes(bytes->begin(), bytes->end()), expected);
}

// conj and neg of 1 + 2i, 3 - 4i, alone and together.
TEST(DerivedSourceTest, ResolvesConjugatesAndNegatives) {
  const float numbers[] = {1, 2, 3, -4};
  auto storage = Storage::Allocate(sizeof(numbers));
  ASSERT_TRUE(storage.ok());
  std::memcpy((*storage)->mutable_bytes().data(), numbers, sizeof(numbers));
  const Tensor tensor = View(*storage, DType::kComplex64, {2});
  const Tensor parts = View(*storage, DType::kFloat32, {2, 2}, {1, 2});
  struct Case {
    Tensor from;
    DType to;
    uint8_t flags;
    std::vector<float> expected;
  };
  constexpr uint8_t kConj = TensorFlags::kConjugated;
  constexpr uint8_t kNeg = TensorFlags::kNegated;
  const std::vector<Case> cases = {
      {tensor, DType::kComplex64, kConj, {1, -2, 3, 4}},
      {tensor, DType::kComplex64, kNeg, {-1, -2, -3, 4}},
      {tensor, DType::kComplex64, kConj | kNeg, {-1, 2, -3, -4}},
      {tensor, DType::kComplex64, TensorFlags::kRequiresGrad, {1, 2, 3, -4}},
      {parts, DType::kFloat32, kNeg, {-1, -3, -2, 4}},
  };
  MemorySource memory;
  for (const Case& c : cases) {
    const Derivation derivation = Derive(c.from, c.to, c.flags);
    const auto source = MakeSource(memory, {derivation});
    const Bytes bytes = ReadOne(*source, derivation.storage);
    std::vector<float> floats(4);
    std::memcpy(floats.data(), bytes.data(), bytes.size());
    EXPECT_EQ(floats, c.expected) << int{c.flags};
  }
  const Derivation cast = Derive(parts, DType::kBFloat16, kNeg);
  EXPECT_EQ(ReadOne(*MakeSource(memory, {cast}), cast.storage),
            (Bytes{0x80, 0xbf, 0x40, 0xc0, 0x00, 0xc0, 0x80, 0x40}));
}

TEST(DerivedSourceTest, FlipsTheSignsOfEveryWidth) {
  const auto storage = TestStorage(64, 9, Fill::kNoise);
  const DType dtypes[] = {
      DType::kFloat16,   DType::kBFloat16,  DType::kFloat32,   DType::kFloat64,
      DType::kComplex32, DType::kComplex64, DType::kComplex128};
  MemorySource memory;
  for (const DType dtype : dtypes) {
    const DTypeInfo& info = InfoOf(dtype);
    const bool is_complex = info.size_bytes != info.word_bytes;
    const Tensor tensor = View(storage, dtype, {64 / info.size_bytes});
    for (const uint8_t flags :
         {TensorFlags::kNegated, TensorFlags::kConjugated}) {
      if (!is_complex && flags == TensorFlags::kConjugated) continue;
      Bytes expected = Dense(tensor);
      for (int word = 0; word * info.word_bytes < 64; ++word) {
        if (flags == TensorFlags::kConjugated && word % 2 == 0) continue;
        expected[(word + 1) * info.word_bytes - 1] ^= 0x80;
      }
      const Derivation derivation = Derive(tensor, dtype, flags);
      EXPECT_EQ(ReadOne(*MakeSource(memory, {derivation}), derivation.storage),
                expected)
          << info.name << " " << int{flags};
    }
  }
}

TEST(DerivedSourceTest, CopiesPackedTensorsOnWholeBytesOnly) {
  const auto storage = TestStorage(64, 4, Fill::kNoise);
  MemorySource memory;
  for (const DType dtype : {DType::kQUInt4x2, DType::kQUInt2x4}) {
    const int per_byte = InfoOf(dtype).values_per_byte;
    const Tensor tensor =
        View(storage, dtype, {3, 7}, {}, int64_t{per_byte} * 5);
    const Derivation derivation = Derive(tensor, dtype);
    const auto source = MakeSource(memory, {derivation});
    const auto bytes = storage->bytes().subspan(5, tensor.size_bytes());
    EXPECT_EQ(ReadOne(*source, derivation.storage),
              Bytes(bytes.begin(), bytes.end()));
    Bytes sample(2);
    ASSERT_TRUE(
        source->Sample(*derivation.storage, 1, absl::MakeSpan(sample)).ok());
    EXPECT_EQ(sample, Bytes(bytes.begin() + 1, bytes.begin() + 3));
    for (const Tensor& odd : {View(storage, dtype, {3, 7}, {1, 3}),
                              View(storage, dtype, {3, 7}, {}, 1)}) {
      EXPECT_EQ(MakeDerivation(odd, dtype, 0).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST(DerivedSourceTest, RefusesWhatHasNoMeaning) {
  const auto storage = TestStorage(64, 4, Fill::kNoise);
  const Tensor ints = View(storage, DType::kInt32, {4});
  const Tensor floats = View(storage, DType::kFloat32, {4});
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(MakeDerivation(ints, DType::kFloat32, 0).status().code(), kInvalid);
  EXPECT_EQ(MakeDerivation(floats, DType::kFloat64, 0).status().code(),
            kInvalid);
  EXPECT_EQ(MakeDerivation(floats, DType::kFloat32, TensorFlags::kConjugated)
                .status()
                .code(),
            kInvalid);
  EXPECT_EQ(MakeDerivation(ints, DType::kInt32, TensorFlags::kNegated)
                .status()
                .code(),
            kInvalid);
  const Tensor endless =
      View(storage, DType::kFloat32, {int64_t{1} << 61, 3}, {0, 0});
  EXPECT_EQ(MakeDerivation(endless, DType::kFloat32, 0).status().code(),
            kInvalid);

  MemorySource memory;
  const auto code_of = [&](std::vector<Derivation> derivations) {
    return DerivedSource::Make(memory, std::move(derivations), kMemory)
        .status()
        .code();
  };
  const Derivation good = Derive(floats, DType::kFloat16);
  Derivation wrong_size = good;
  wrong_size.storage = Storage::InFile(9, 0);
  Derivation null = good;
  null.storage = nullptr;
  const Derivation onward =
      Derive(View(good.storage, DType::kFloat16, {2}, {2}), DType::kFloat16);
  EXPECT_EQ(code_of({good}), absl::StatusCode::kOk);
  EXPECT_EQ(code_of({wrong_size}), kInvalid);
  EXPECT_EQ(code_of({null}), kInvalid);
  EXPECT_EQ(code_of({good, good}), kInvalid);
  EXPECT_EQ(code_of({good, onward}), kInvalid);
}

TEST(DerivedSourceTest, IsABaseForAnother) {
  const auto storage = TestStorage(4000, 5, Fill::kWeights);
  const Tensor floats = View(storage, DType::kFloat32, {1000});
  const Derivation first = Derive(floats, DType::kBFloat16);
  const Tensor transposed =
      View(first.storage, DType::kBFloat16, {20, 50}, {1, 20});
  const Derivation second = Derive(transposed, DType::kBFloat16);
  MemorySource memory;
  const auto inner = MakeSource(memory, {first});
  const auto outer = MakeSource(*inner, {second});
  Bytes cast(2000);
  Cast(DType::kFloat32, DType::kBFloat16, storage->bytes(),
       absl::MakeSpan(cast));
  const Tensor expected = View(Storage::Adopt(absl::MakeSpan(cast), nullptr),
                               DType::kBFloat16, {20, 50}, {1, 20});
  const auto bytes = Read(*outer, {second.storage, first.storage});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ((*bytes)[0], Dense(expected));
  EXPECT_EQ((*bytes)[1], cast);
}

TEST(DerivedSourceTest, SamplesWhatItWillGive) {
  const auto storage = TestStorage(4000, 6, Fill::kNoise);
  MemorySource memory;
  const Tensor tensors[] = {View(storage, DType::kFloat32, {900}, {}, 9),
                            View(storage, DType::kFloat32, {20, 30}, {1, 20})};
  for (const Tensor& tensor : tensors) {
    for (const DType to : {DType::kFloat32, DType::kBFloat16}) {
      const Derivation derivation = Derive(tensor, to, TensorFlags::kNegated);
      const auto source = MakeSource(memory, {derivation});
      const Bytes whole = ReadOne(*source, derivation.storage);
      const int64_t overflows = source->num_overflows();
      for (size_t begin = 0; begin < whole.size(); begin += 37) {
        const size_t size = std::min<size_t>(begin % 50, whole.size() - begin);
        Bytes sample(size);
        ASSERT_TRUE(source
                        ->Sample(*derivation.storage,
                                 static_cast<int64_t>(begin),
                                 absl::MakeSpan(sample))
                        .ok());
        ASSERT_EQ(sample,
                  Bytes(whole.begin() + begin, whole.begin() + begin + size));
      }
      EXPECT_EQ(source->num_overflows(), overflows);
      Bytes outside(2);
      EXPECT_EQ(source
                    ->Sample(*derivation.storage,
                             static_cast<int64_t>(whole.size()) - 1,
                             absl::MakeSpan(outside))
                    .code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
  Bytes plain(5);
  const Derivation any = Derive(tensors[0], DType::kFloat32);
  ASSERT_TRUE(MakeSource(memory, {any})
                  ->Sample(*storage, 3, absl::MakeSpan(plain))
                  .ok());
  EXPECT_EQ(plain,
            Bytes(storage->bytes().begin() + 3, storage->bytes().begin() + 8));
}

// Passes on, counts, and fails on demand.
class WatchedSource : public Source {
 public:
  absl::Status Begin(const Plan&, const Chunk&, Slot&) override {
    ++num_begun;
    return absl::OkStatus();
  }
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    num_read += plan.pieces_of(chunk)[0].size;
    if (fails) return absl::DataLossError("the record is damaged");
    return memory_.Bytes(plan, chunk, slot, target);
  }
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override {
    if (fails) return absl::DataLossError("the record is damaged");
    return memory_.Sample(storage, begin, out);
  }
  absl::Status Finish() override {
    ++num_finished;
    return finish_fails ? absl::DataLossError("crc mismatch")
                        : absl::OkStatus();
  }
  int64_t SlotBytes() const override { return kChunkBytes; }

  bool fails = false;
  bool finish_fails = false;
  std::atomic<int64_t> num_begun{0};
  std::atomic<int64_t> num_read{0};
  std::atomic<int64_t> num_finished{0};

 private:
  MemorySource memory_;
};

TEST(DerivedSourceTest, LetsDamageOfTheBaseThrough) {
  const auto storage = TestStorage(4 << 20, 7, Fill::kNoise);
  const auto plain = TestStorage(100, 8, Fill::kNoise);
  const std::vector<Tensor> tensors = {
      View(storage, DType::kFloat32, {1 << 20}),
      View(storage, DType::kFloat32, {1024, 1024}, {1, 1024})};
  for (const Tensor& tensor : tensors) {
    for (const DType to : {DType::kFloat32, DType::kFloat16}) {
      const Derivation derivation = Derive(tensor, to);
      WatchedSource base;
      const auto source = MakeSource(base, {derivation});
      base.fails = true;
      auto bytes = Read(*source, {derivation.storage, plain});
      EXPECT_EQ(bytes.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_TRUE(absl::StrContains(bytes.status().message(), "the record"));
      Bytes sample(10);
      EXPECT_EQ(
          source->Sample(*derivation.storage, 0, absl::MakeSpan(sample)).code(),
          absl::StatusCode::kDataLoss);
      EXPECT_EQ(base.num_finished, 0);
      base.fails = false;
      base.finish_fails = true;
      bytes = Read(*source, {derivation.storage, plain});
      EXPECT_EQ(bytes.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_EQ(base.num_finished, 1);
    }
  }
}

TEST(DerivedSourceTest, BeginsThePlainChunksOfTheBase) {
  const auto storage = TestStorage(3 << 20, 7, Fill::kNoise);
  const Derivation derivation =
      Derive(View(storage, DType::kUInt8, {2 << 20}), DType::kUInt8);
  WatchedSource base;
  const auto source = MakeSource(base, {derivation});
  ASSERT_TRUE(Read(*source, {derivation.storage, storage}).ok());
  EXPECT_EQ(base.num_begun, 3);
  EXPECT_EQ(base.num_finished, 1);
}

// Room for one at a time, many threads, chunks of several tensors under way.
TEST(DerivedSourceTest, GathersWithinItsMemory) {
  constexpr int64_t kSide = 1500;
  constexpr int64_t kSize = kSide * kSide * 2;
  std::vector<Derivation> derivations;
  std::vector<Tensor> tensors;
  Storages storages;
  for (int i = 0; i < 6; ++i) {
    tensors.push_back(View(TestStorage(kSize, i, Fill::kNoise), DType::kInt16,
                           {kSide, kSide}, {1, kSide}));
    derivations.push_back(Derive(tensors.back(), DType::kInt16));
    storages.push_back(derivations.back().storage);
  }
  for (const int threads : {1, 8}) {
    WatchedSource base;
    const auto source = MakeSource(base, derivations, kSize);
    const auto bytes = Read(*source, storages, threads);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE((*bytes)[i] == Dense(tensors[i])) << i;
    }
    if (threads == 1) {
      EXPECT_EQ(base.num_read, 6 * kSize);
    }
  }
  MemorySource memory;
  const auto refused = DerivedSource::Make(memory, derivations, kSize - 1);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "--memory"));
}

TEST(DerivedSourceTest, TakesFromABudgetWhatGatheringNeeds) {
  MemorySource memory;
  const Tensor turned = View(TestStorage(4000, 1, Fill::kWeights),
                             DType::kFloat32, {10, 100}, {1, 10});
  const auto left_of = [&](int64_t budget, std::vector<Tensor> tensors) {
    std::vector<Derivation> derivations;
    for (const Tensor& tensor : tensors) {
      derivations.push_back(Derive(tensor, DType::kFloat16));
    }
    const auto made =
        DerivedSource::MakeWithin(memory, std::move(derivations), budget);
    return made.ok() ? budget : -1;
  };
  EXPECT_EQ(left_of(100'000, {turned}), 96'000);
  EXPECT_EQ(left_of(100'000, {turned, turned, turned}), 88'000);
  EXPECT_EQ(left_of(20'000, {turned, turned, turned}), 15'000);
  EXPECT_EQ(left_of(6000, {turned, turned}), 2000);
  EXPECT_EQ(left_of(5000, {turned}), -1);
  const Tensor straight = View(turned.storage(), DType::kFloat32, {1000});
  EXPECT_EQ(left_of(100, {straight}), 100);
}

TEST(DerivedSourceTest, RefusesPiecesThatCutElements) {
  const auto storage = TestStorage(64, 7, Fill::kNoise);
  const Derivation derivation =
      Derive(View(storage, DType::kFloat32, {8}), DType::kFloat16);
  MemorySource memory;
  const auto source = MakeSource(memory, {derivation});
  Slot slot;
  const std::pair<int64_t, int64_t> ranges[] = {{1, 4}, {0, 3}, {14, 4}};
  for (const auto& [begin, size] : ranges) {
    Plan plan;
    plan.storages = {derivation.storage};
    const Piece piece = {0, begin, size, 0};
    plan.Append(absl::MakeConstSpan(&piece, 1));
    EXPECT_EQ(
        source->Bytes(plan, plan.chunks[0], slot, nullptr).status().code(),
        absl::StatusCode::kInvalidArgument)
        << begin;
  }
}

TEST(DerivedSourceTest, DerivesFromANativeFile) {
  const auto weights = TestStorage(3'000'000, 1, Fill::kWeights);
  const auto small = TestStorage(600, 2, Fill::kWeights);
  const std::string file = SaveNativeOrDie(
      TestCheckpoint({{DType::kFloat32, weights}, {DType::kFloat32, small}}),
      NativeCodec::kZstd);
  const auto native = OpenNative(file);
  ASSERT_TRUE(native.ok()) << native.status();
  const auto graph = (*native)->root().graph();
  ASSERT_EQ(graph->num_tensors(), 2);
  const std::vector<Derivation> derivations = {
      Derive(graph->tensor(0), DType::kBFloat16),
      Derive(View(graph->storages()[0], DType::kFloat32, {750, 1000}, {1, 750}),
             DType::kFloat32),
      Derive(graph->tensor(1), DType::kFloat16)};
  NativeSource base(**native);
  const auto source = MakeSource(base, derivations);
  const auto bytes =
      Read(*source, {derivations[0].storage, derivations[1].storage,
                     derivations[2].storage, graph->storages()[1]});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  Bytes expected(1'500'000);
  Cast(DType::kFloat32, DType::kBFloat16, weights->bytes(),
       absl::MakeSpan(expected));
  EXPECT_TRUE((*bytes)[0] == expected);
  EXPECT_TRUE((*bytes)[1] ==
              Dense(View(weights, DType::kFloat32, {750, 1000}, {1, 750})));
  expected.resize(300);
  Cast(DType::kFloat32, DType::kFloat16, small->bytes(),
       absl::MakeSpan(expected));
  EXPECT_EQ((*bytes)[2], expected);
  EXPECT_EQ((*bytes)[3], Bytes(small->bytes().begin(), small->bytes().end()));
}

}  // namespace
}  // namespace penstock
