#include "compat/npz_sink.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codec/derived_source.h"
#include "codec/pipeline.h"
#include "codec/source.h"
#include "compat/npz_file.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/state_dict.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kMemory = 64 << 20;

std::shared_ptr<const Storage> Random(int64_t size, uint32_t seed) {
  auto storage = Storage::Allocate(size).value();
  for (uint8_t& byte : storage->mutable_bytes()) {
    byte = static_cast<uint8_t>((seed = seed * 69069 + 1) >> 24);
  }
  return storage;
}

struct Entry {
  std::string name;
  Tensor tensor;
  uint8_t flags = 0;
};

Value DictOf(const std::vector<Entry>& entries) {
  GraphBuilder builder;
  const NodeId root = builder.Dict();
  for (const Entry& entry : entries) {
    EXPECT_TRUE(builder
                    .SetItem(root, builder.Str(entry.name),
                             builder.Tensor(entry.tensor, entry.flags))
                    .ok());
  }
  return std::move(builder).Finish(root).value();
}

Tensor Whole(DType dtype, const std::vector<int64_t>& shape,
             uint32_t seed = 1) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return Tensor::Make(Random(*BytesFor(dtype, count), seed), dtype, shape)
      .value();
}

std::string Written(const Value& root, int threads = 2) {
  MemoryFileSystem files;
  auto file = files.Create("a.npz", CreateOptions()).value();
  auto sink = NpzSink::Create(*file, root).value();
  MemorySource memory;
  auto source =
      DerivedSource::Make(memory, sink->derivations(), kMemory).value();
  PumpOptions options;
  options.threads = threads;
  const auto stats = Pump(sink->plan(), *source, *sink, options);
  EXPECT_TRUE(stats.ok()) << stats.status();
  EXPECT_TRUE(file->Close().ok());
  const std::string bytes = files.Get("a.npz").value();
  EXPECT_EQ(sink->FinalSize(), static_cast<int64_t>(bytes.size()));
  return bytes;
}

// The elements in C order, as the reader gives them.
std::string ElementsOf(const ForeignFile& npz, const Tensor& tensor) {
  if (tensor.storage()->size_bytes() == 0) return "";
  const std::unique_ptr<ForeignSource> source = npz.new_source();
  auto storage = Storage::Allocate(tensor.storage()->size_bytes()).value();
  EXPECT_TRUE(
      source->Sample(*tensor.storage(), 0, storage->mutable_bytes()).ok());
  EXPECT_TRUE(tensor.is_contiguous());
  return std::string(storage->bytes().begin(), storage->bytes().end());
}

std::string ElementsOf(const Tensor& tensor) {
  std::string bytes(tensor.size_bytes(), '\0');
  EXPECT_TRUE(tensor
                  .CopyTo(absl::MakeSpan(
                      reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()))
                  .ok());
  return bytes;
}

// Writes, reads, compares names, dtypes, shapes and elements, checks every CRC,
// and that the numbers are aligned.
void ExpectRoundTrip(const Value& root) {
  const std::string bytes = Written(root);
  const auto npz = OpenNpz(FileFromString(bytes, "a.npz"));
  ASSERT_TRUE(npz.ok()) << npz.status();
  EXPECT_TRUE(npz->warnings.empty());
  const StateDict wanted = StateDict::FromValue(root).value();
  const StateDict found = StateDict::FromValue(npz->root).value();
  ASSERT_EQ(found.size(), wanted.size());
  for (int64_t i = 0; i < wanted.size(); ++i) {
    const NamedTensor& a = wanted.entries()[i];
    const NamedTensor& b = found.entries()[i];
    SCOPED_TRACE(a.name);
    EXPECT_EQ(b.name, a.name);
    EXPECT_EQ(b.tensor.dtype(), a.tensor.dtype());
    EXPECT_EQ(b.tensor.shape(), a.tensor.shape());
    if (a.flags == 0) {
      EXPECT_TRUE(ElementsOf(*npz, b.tensor) == ElementsOf(a.tensor));
    }
  }
  for (const FileExtent& extent : npz->extents) {
    EXPECT_EQ(extent.file_offset % 64, 0);
  }
  NullSink sink;
  const auto source = npz->new_source();
  const Plan plan = PlanInOrder(npz->root.graph()->storages());
  const auto read = Pump(plan, *source, sink, PumpOptions());
  EXPECT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(source->unverified_bytes(), 0);
}

TEST(NpzSinkTest, WritesEveryDTypeThatNumpyHas) {
  std::vector<Entry> entries;
  for (const char* name :
       {"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64",
        "int64", "float16", "float32", "float64", "complex64", "complex128"}) {
    const DType dtype = *DTypeFromName(name);
    entries.push_back({name, Whole(dtype, {2, 3}, 7)});
    entries.push_back({absl::StrCat(name, ".scalar"), Whole(dtype, {}, 8)});
    entries.push_back({absl::StrCat(name, ".none"), Whole(dtype, {4, 0})});
  }
  ExpectRoundTrip(DictOf(entries));
}

TEST(NpzSinkTest, WritesAnyMixtureOfSizes) {
  std::vector<Entry> entries;
  uint32_t seed = 1;
  for (int64_t size :
       {0, 1, 63, 64, 3'000'000, 0, 5, 1 << 20, 70'000, 1, 1, 2'500'001, 0}) {
    entries.push_back(
        {absl::StrCat("t", seed), Whole(DType::kUInt8, {size}, seed)});
    ++seed;
  }
  const Value root = DictOf(entries);
  ExpectRoundTrip(root);
  EXPECT_TRUE(Written(root, 1) == Written(root, 5));
  ExpectRoundTrip(DictOf({{"only", Whole(DType::kFloat64, {0})}}));
}

TEST(NpzSinkTest, MakesViewsContiguousAndTiesCopies) {
  const auto storage = Random(4000, 3);
  const auto view = [&storage](std::vector<int64_t> shape,
                               std::vector<int64_t> strides, int64_t offset) {
    return Tensor::Make(storage, DType::kFloat32, std::move(shape),
                        std::move(strides), offset)
        .value();
  };
  const Value root = DictOf({{"whole", view({1000}, {1}, 0)},
                             {"tied", view({1000}, {1}, 0)},
                             {"part", view({10, 5}, {5, 1}, 100)},
                             {"transposed", view({5, 10}, {1, 5}, 100)},
                             {"repeated", view({3, 4}, {0, 1}, 9)},
                             {"scalar", view({}, {}, 999)}});
  ExpectRoundTrip(root);
  MemoryFileSystem files;
  auto file = files.Create("a.npz", CreateOptions()).value();
  const auto sink = NpzSink::Create(*file, root).value();
  ASSERT_EQ(sink->warnings().size(), 1u);
  EXPECT_TRUE(absl::StrContains(sink->warnings()[0], "5 tensors share"));
  EXPECT_TRUE(absl::StrContains(sink->warnings()[0], "\"tied\", \"part\""));
}

TEST(NpzSinkTest, ResolvesConjugatedTensors) {
  auto storage = Storage::Allocate(8).value();
  const float number[] = {1.5f, 2.5f};
  std::memcpy(storage->mutable_bytes().data(), number, 8);
  const Tensor tensor = Tensor::Make(storage, DType::kComplex64, {}).value();
  const std::string bytes =
      Written(DictOf({{"c", tensor, TensorFlags::kConjugated}}));
  const auto npz = OpenNpz(FileFromString(bytes, "a.npz")).value();
  const StateDict found = StateDict::FromValue(npz.root).value();
  const std::string elements = ElementsOf(npz, found.entries()[0].tensor);
  float resolved[2];
  std::memcpy(resolved, elements.data(), 8);
  EXPECT_EQ(resolved[0], 1.5f);
  EXPECT_EQ(resolved[1], -2.5f);
}

absl::Status Refusal(const Value& root) {
  MemoryFileSystem files;
  auto file = files.Create("a.npz", CreateOptions()).value();
  return NpzSink::Create(*file, root).status();
}

TEST(NpzSinkTest, NamesAllThatNumpyLacksBeforeAByteIsWritten) {
  std::vector<Entry> entries = {
      {"good", Whole(DType::kFloat32, {2})},
      {"w", Whole(DType::kBFloat16, {2})},
      {"scale", Whole(DType::kBFloat16, {})},
      {"q", Whole(DType::kFloat8E4M3FN, {2})},
      {"../evil", Whole(DType::kFloat32, {2})},
      {std::string("n\0l", 3), Whole(DType::kFloat32, {2})}};
  const absl::Status refusal = Refusal(DictOf(entries));
  EXPECT_EQ(refusal.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part :
       {"1 tensors of a dtype that numpy lacks: \"w (bfloat16)\"; --dtype f32",
        "\"scale (bfloat16)\", \"q (float8_e4m3fn)\"; --drop", "\"../evil\"",
        "\"n\\x00l\"", "--rename"}) {
    EXPECT_TRUE(absl::StrContains(refusal.message(), part)) << refusal;
  }
  EXPECT_FALSE(absl::StrContains(refusal.message(), "good"));
  int num_refused = 0;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = static_cast<DType>(code);
    num_refused += Refusal(DictOf({{"t", Whole(dtype, {4})}})).ok() ? 0 : 1;
  }
  EXPECT_EQ(num_refused, kNumDTypes - 14);
  EXPECT_EQ(Refusal(DictOf({})).code(), absl::StatusCode::kInvalidArgument);
}

TEST(NpzSinkTest, SaysWhichValuesAreLeftOut) {
  GraphBuilder builder;
  const NodeId root = builder.Dict();
  const NodeId inner = builder.OrderedDict();
  const NodeId tensor = builder.Tensor(Whole(DType::kFloat32, {2}));
  const NodeId list[] = {builder.Int(1), tensor};
  ASSERT_TRUE(builder.SetItem(inner, builder.Str("w"), tensor).ok());
  ASSERT_TRUE(builder.SetItem(inner, builder.Int(5), builder.None()).ok());
  ASSERT_TRUE(builder.SetItem(root, builder.Str("model"), inner).ok());
  ASSERT_TRUE(builder.SetItem(root, builder.Str("l"), builder.List(list)).ok());
  ASSERT_TRUE(builder.SetItem(root, builder.Str("epoch"), builder.Int(3)).ok());
  ASSERT_TRUE(builder.SetItem(root, builder.Str("me"), root).ok());
  MemoryFileSystem files;
  auto file = files.Create("a.npz", CreateOptions()).value();
  const auto sink =
      NpzSink::Create(*file, std::move(builder).Finish(root).value()).value();
  ASSERT_GE(sink->warnings().size(), 1u);
  EXPECT_EQ(sink->warnings()[0],
            "an .npz file holds tensors only; 3 other values are left out: "
            "\"model.5\", \"l.0\", \"epoch\"");
}

}  // namespace
}  // namespace penstock
