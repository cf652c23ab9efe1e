// Round trips: what NativeSink writes, NativeSource reads.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/native_sink.h"
#include "codec/native_source.h"
#include "codec/native_test_file.h"
#include "codec/pipeline.h"
#include "codec/sink.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/tensor.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

// Storages of all kinds of size, of two dtypes, some worth coding.
Value LargeCheckpoint() {
  TestTensors tensors;
  const std::vector<int64_t> sizes = {5 << 20,        64 << 10, (64 << 10) - 2,
                                      (1 << 20) + 2,  30000,    2 << 20,
                                      (5 << 20) + 38, 2,        0,
                                      700000,         1 << 20,  400};
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Fill fill = i % 3 == 0 ? Fill::kNoise : Fill::kWeights;
    tensors.emplace_back(i % 2 == 0 ? DType::kBFloat16 : DType::kInt16,
                         TestStorage(sizes[i], i, fill));
  }
  return TestCheckpoint(tensors);
}

void ExpectRoundTrip(const Value& checkpoint, const NativeOptions& options) {
  MemorySource source;
  const auto bytes = SaveNative(checkpoint, options, source);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  Slot slot;
  EXPECT_TRUE(VerifyNative(*bytes, slot).ok()) << VerifyNative(*bytes, slot);
  const auto loaded = LoadNative(*bytes, 2);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(CompareValues(checkpoint, *loaded).ok())
      << CompareValues(checkpoint, *loaded);
}

class NativeFileTest : public testing::TestWithParam<NativeCodec> {
 protected:
  static NativeOptions Options() {
    NativeOptions options;
    options.codec = GetParam();
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Codecs, NativeFileTest,
                         testing::Values(NativeCodec::kNone,
                                         NativeCodec::kZstd));

TEST_P(NativeFileTest, KeepsSmallCheckpoints) {
  for (const TestFile& file : SmallTestFiles()) {
    SCOPED_TRACE(file.name);
    ExpectRoundTrip(file.checkpoint, Options());
    EXPECT_LT(file.bytes.size(), 16 << 10);
  }
}

TEST_P(NativeFileTest, KeepsStoragesOfEverySize) {
  ExpectRoundTrip(LargeCheckpoint(), Options());
}

TEST_P(NativeFileTest, KeepsEveryDType) {
  TestTensors tensors;
  for (int code = 0; code < kNumDTypes; ++code) {
    for (const int64_t count : {0, 1, 3, 1000, 40000}) {
      const DType dtype = static_cast<DType>(code);
      tensors.emplace_back(dtype, TestStorage(count * InfoOf(dtype).size_bytes,
                                              code, Fill::kWeights));
    }
  }
  ExpectRoundTrip(TestCheckpoint(tensors), Options());
}

TEST_P(NativeFileTest, KeepsTiesViewsShapesAndLocations) {
  GraphBuilder b;
  const auto storage = TestStorage(4096, 1, Fill::kNoise);
  storage->set_location("cuda:1");
  const auto other = TestStorage(64, 2, Fill::kNoise);
  const auto tensor = [&](const auto& of, std::vector<int64_t> shape,
                          std::vector<int64_t> strides, int64_t offset) {
    return b.Tensor(*Tensor::Make(of, DType::kFloat32, std::move(shape),
                                  std::move(strides), offset));
  };
  const std::vector<int64_t> highest_rank(kMaxRank, 1);
  const NodeId root = b.List(
      {tensor(storage, {}, {}, 1023), tensor(storage, {0}, {}, 5),
       tensor(other, {3, 0, 2}, {}, 0), tensor(storage, highest_rank, {}, 0),
       tensor(storage, {32, 32}, {1, 32}, 0),
       tensor(storage, {7, 5}, {0, 3}, 2)});
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok()) << value.status();
  ExpectRoundTrip(*value, Options());
  const auto source = OpenNative(SaveNativeOrDie(*value, GetParam()));
  ASSERT_TRUE(source.ok());
  EXPECT_EQ((*source)->root().graph()->storages()[0]->location(), "cuda:1");
  EXPECT_EQ((*source)->root().graph()->storages()[1]->location(), "cpu");
}

TEST_P(NativeFileTest, KeepsAThousandTinyTensors) {
  TestTensors tensors;
  for (int i = 0; i < 1000; ++i) {
    const DType dtype = i % 2 == 0 ? DType::kFloat32 : DType::kInt64;
    tensors.emplace_back(dtype,
                         TestStorage(8 + 8 * (i % 200), i, Fill::kNoise));
  }
  ExpectRoundTrip(TestCheckpoint(tensors), Options());
}

TEST_P(NativeFileTest, SplitsRawPayloadOverFrames) {
  NativeOptions options = Options();
  options.max_frame_bytes = 5 << 20;
  TestTensors tensors;
  for (const int64_t size : {3 << 20, 9 << 20, 3 << 20, (8 << 20) + 6}) {
    tensors.emplace_back(DType::kUInt8, TestStorage(size, size, Fill::kNoise));
  }
  ExpectRoundTrip(TestCheckpoint(tensors), options);
}

TEST_P(NativeFileTest, AlignsRawPayloadAndKeepsItContiguous) {
  const Value checkpoint = LargeCheckpoint();
  const std::string bytes = SaveNativeOrDie(checkpoint, GetParam());
  const auto source = OpenNative(bytes);
  ASSERT_TRUE(source.ok()) << source.status();
  const NativeIndex& index = (*source)->index();
  int num_raw = 0;
  for (size_t i = 0; i < index.storages.size(); ++i) {
    const FileStorage& row = index.storages[i];
    const FileChunk& chunk = index.chunks[row.first_chunk];
    if (row.size_bytes == 0 || chunk.coded != 0) continue;
    ++num_raw;
    const int64_t offset = chunk.offset + row.offset_in_chunk;
    EXPECT_EQ(offset % (row.size_bytes >= kLargeRawBytes ? 4096 : 64), 0);
    const absl::Span<const uint8_t> expected =
        checkpoint.graph()->storages()[i]->bytes();
    EXPECT_EQ(ByteSpan(bytes).subspan(offset, row.size_bytes), expected) << i;
  }
  EXPECT_GT(num_raw, 3);
}

TEST_P(NativeFileTest, IsNeverMuchLargerThanRaw) {
  TestTensors tensors;
  int64_t limit = 0;
  for (int i = 0; i < 300; ++i) {
    const int64_t size = i < 4 ? (4 << 20) + i : 1 + 397 * i;
    tensors.emplace_back(i % 2 == 0 ? DType::kFloat32 : DType::kUInt8,
                         TestStorage(size / 4 * 4, i, Fill::kNoise));
    limit += size + size / 1000 + 64;
  }
  const std::string bytes =
      SaveNativeOrDie(TestCheckpoint(tensors), GetParam());
  const size_t footer = bytes.size() - kFooterBytes;
  EXPECT_LE(LoadLittleEndian<int64_t>(&bytes[footer + 32]), limit);
}

TEST_P(NativeFileTest, GivesTheSameBytesAtAnyThreadCount) {
  const Value checkpoint = LargeCheckpoint();
  MemorySource source;
  const NativeOptions options = Options();
  const auto one = SaveNative(checkpoint, options, source, 1);
  ASSERT_TRUE(one.ok()) << one.status();
  for (const int threads : {2, 8}) {
    const auto many = SaveNative(checkpoint, options, source, threads);
    ASSERT_TRUE(many.ok()) << many.status();
    EXPECT_TRUE(*one == *many) << threads;
  }
}

// Saving what was opened, not loaded: the bytes come out of the other file,
// which may be coded, raw, or written in other chunks.
TEST_P(NativeFileTest, GivesTheSameBytesFromAFileAsFromMemory) {
  const Value checkpoint = LargeCheckpoint();
  const std::string direct = SaveNativeOrDie(checkpoint, GetParam());
  for (const NativeCodec codec : {NativeCodec::kNone, NativeCodec::kZstd}) {
    const auto file = OpenNative(SaveNativeOrDie(checkpoint, codec));
    ASSERT_TRUE(file.ok()) << file.status();
    NativeSource source(**file);
    const auto again = SaveNative((*file)->root(), Options(), source);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(*again == direct);
  }
}

TEST_P(NativeFileTest, ReadsInStorageOrder) {
  const Value checkpoint = LargeCheckpoint();
  const auto file = OpenNative(SaveNativeOrDie(checkpoint, GetParam()));
  ASSERT_TRUE(file.ok()) << file.status();
  const Plan plan = PlanInOrder((*file)->root().graph()->storages());
  NativeSource source(**file);
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    const auto bytes = source.Bytes(plan, chunk, slot, nullptr);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    int64_t end = 0;
    for (const Piece& piece : plan.pieces_of(chunk)) {
      EXPECT_EQ(bytes->subspan(piece.offset, piece.size),
                checkpoint.graph()->storages()[piece.storage]->bytes().subspan(
                    piece.begin, piece.size));
      for (; end < piece.offset; ++end) EXPECT_EQ((*bytes)[end], 0);
      end = piece.offset + piece.size;
    }
  }
}

TEST(NativeSourceTest, DecodesEachSharedChunkOnceInStorageOrder) {
  TestTensors tensors;
  for (int i = 0; i < 300; ++i) {
    const DType dtype = i % 2 == 0 ? DType::kBFloat16 : DType::kInt16;
    tensors.emplace_back(dtype, TestStorage(20000, i, Fill::kWeights));
  }
  const auto file =
      OpenNative(SaveNativeOrDie(TestCheckpoint(tensors), NativeCodec::kZstd));
  ASSERT_TRUE(file.ok()) << file.status();
  const Plan plan = PlanInOrder((*file)->root().graph()->storages());
  NativeSource source(**file);
  NullSink sink;
  PumpOptions options;
  options.threads = 4;
  ASSERT_TRUE(Pump(plan, source, sink, options).ok());
  const int64_t num_chunks = (*file)->index().chunks.size();
  EXPECT_GE(num_chunks, 6);
  EXPECT_LE((*file)->cache().num_decoded(), num_chunks + 2);
}

TEST(NativeSourceTest, ReadsAPartFromTheChunksThatHoldItOnly) {
  const Value checkpoint = LargeCheckpoint();
  std::string bytes = SaveNativeOrDie(checkpoint, NativeCodec::kZstd);
  auto whole = OpenNative(bytes);
  ASSERT_TRUE(whole.ok());
  const int64_t storage = 6;  // 5 MiB and a bit
  // All other chunks are ruined: reading them would fail.
  const NativeIndex& index = (*whole)->index();
  const int64_t wanted = index.storages[storage].first_chunk + 2;
  for (size_t i = 0; i < index.chunks.size(); ++i) {
    if (static_cast<int64_t>(i) == wanted) continue;
    bytes[index.chunks[i].offset + index.chunks[i].stored_bytes / 2] ^= 1;
  }
  const auto file = OpenNative(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  const int64_t begin = (2 << 20) + 100;
  const Plan plan = (*file)->PlanFor({{storage, begin, begin + 70001}});
  EXPECT_EQ(plan.total_bytes, 70001);
  ASSERT_EQ(plan.chunks.size(), 1);
  auto target = Storage::Allocate(70001);
  ASSERT_TRUE(target.ok());
  MemorySink sink({{*target, begin}});
  NativeSource source(**file);
  const auto stats = Pump(plan, source, sink, {});
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(
      absl::Span<const uint8_t>((*target)->mutable_bytes()),
      checkpoint.graph()->storages()[storage]->bytes().subspan(begin, 70001));
}

TEST(NativeSourceTest, NamesTheDamagedChunk) {
  std::string bytes = SaveNativeOrDie(LargeCheckpoint(), NativeCodec::kZstd);
  const auto whole = OpenNative(bytes);
  ASSERT_TRUE(whole.ok());
  const FileChunk& chunk = (*whole)->index().chunks[5];
  bytes[chunk.offset + 17] ^= 4;
  Slot slot;
  const absl::Status status = VerifyNative(bytes, slot);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(
                  "test.pstk: chunk 5 at offset ", chunk.offset, ", storage ",
                  chunk.first_storage, ": stored hash mismatch: expected ")));
}

TEST(NativeSourceTest, TellsStoredBytes) {
  const Value checkpoint =
      TestCheckpoint({{DType::kFloat32, TestStorage(4 << 20, 1, Fill::kNoise)},
                      {DType::kFloat32, TestStorage(4 << 20, 2, Fill::kZeros)},
                      {DType::kFloat32, TestStorage(0, 3, Fill::kZeros)}});
  const auto source =
      OpenNative(SaveNativeOrDie(checkpoint, NativeCodec::kZstd));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->StoredBytes(0), 4 << 20);
  EXPECT_LT((*source)->StoredBytes(1), 4 << 10);
  EXPECT_EQ((*source)->StoredBytes(2), 0);
}

TEST(NativeSinkTest, KeepsExtensionsAndRefusesTheFormatsOwnTypes) {
  MemorySource source;
  NativeOptions options;
  options.extensions = {{256, 0, "origin"}, {900, 0, ""}};
  const auto bytes = SaveNative(TestCheckpoint({}), options, source);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto opened = OpenNative(*bytes);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_EQ((*opened)->index().extensions.size(), 2);
  EXPECT_EQ((*opened)->index().extensions[0].type, 256);
  EXPECT_EQ((*opened)->index().extensions[0].body, "origin");
  options.extensions = {{13, 0, "meta"}};
  EXPECT_EQ(SaveNative(TestCheckpoint({}), options, source).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.extensions = {{300, 0, ""}, {300, 0, ""}};
  EXPECT_EQ(SaveNative(TestCheckpoint({}), options, source).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(NativeSinkTest, PassesOnThatTheDiskIsFull) {
  MemoryFileSystem::Options full;
  full.capacity_bytes = 3 << 20;
  MemoryFileSystem files(full);
  auto file = files.Create("file", {});
  ASSERT_TRUE(file.ok());
  MemorySource source;
  const Value checkpoint = LargeCheckpoint();
  auto sink = NativeSink::Create(**file, checkpoint.graph(), source);
  ASSERT_TRUE(sink.ok()) << sink.status();
  EXPECT_EQ(Pump((*sink)->plan(), source, **sink, {}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace penstock
