#include "codec/native_test_file.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "codec/format.h"
#include "codec/native_source.h"
#include "codec/pipeline.h"
#include "codec/sink.h"
#include "core/checksum.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  PENSTOCK_CHECK(value.ok());
  return *std::move(value);
}

void SetHash(std::string& bytes, size_t begin, size_t end, size_t at) {
  const Hash128 hash = HashOf(ByteSpan(bytes).subspan(begin, end - begin));
  std::memcpy(&bytes[at], hash.bytes.data(), hash.bytes.size());
}

TestFile MakeFile(std::string name, const TestTensors& tensors,
                  NativeCodec codec) {
  TestFile file;
  file.name = std::move(name);
  file.checkpoint = TestCheckpoint(tensors);
  file.bytes = SaveNativeOrDie(file.checkpoint, codec);
  return file;
}

// Ties, views, scalars, a cycle, text: a tree rather than tensors.
Value TreeCheckpoint() {
  GraphBuilder b;
  const std::shared_ptr<const Storage> storage =
      TestStorage(96, 7, Fill::kNoise);
  const NodeId root = b.Dict();
  const NodeId list = b.List();
  const NodeId tied =
      b.Tensor(OrDie(Tensor::Make(storage, DType::kFloat32, {4, 6})));
  const NodeId view = b.Tensor(
      OrDie(Tensor::Make(storage, DType::kFloat32, {6, 2}, {1, 12}, 3)));
  PENSTOCK_CHECK(
      b.SetItem(root, b.Str("tied"), b.Tuple({tied, tied, view})).ok());
  PENSTOCK_CHECK(b.Append(list, root).ok());
  PENSTOCK_CHECK(b.Append(list, b.Float(1e-3)).ok());
  PENSTOCK_CHECK(b.SetItem(root, b.Int(-3), list).ok());
  PENSTOCK_CHECK(b.SetItem(root, b.Str("n"), b.None()).ok());
  return OrDie(std::move(b).Finish(root));
}

}  // namespace

std::shared_ptr<Storage> TestStorage(int64_t size_bytes, uint64_t seed,
                                     Fill fill) {
  std::shared_ptr<Storage> storage = OrDie(Storage::Allocate(size_bytes));
  const absl::Span<uint8_t> bytes = storage->mutable_bytes();
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint64_t number = fill == Fill::kZeros ? 0 : random() >> 32;
    const bool exponent = fill == Fill::kWeights && i % 2 == 1;
    bytes[i] = static_cast<uint8_t>(
        exponent ? (number & 128) + 60 - __builtin_ctz(number | 64) : number);
  }
  return storage;
}

Value TestCheckpoint(const TestTensors& tensors) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t size = tensors[i].second->size_bytes();
    const int64_t count = size / InfoOf(tensors[i].first).size_bytes;
    const NodeId tensor = b.Tensor(
        OrDie(Tensor::Make(tensors[i].second, tensors[i].first, {count})));
    PENSTOCK_CHECK(b.SetItem(root, b.Str(absl::StrCat("t", i)), tensor).ok());
  }
  return OrDie(std::move(b).Finish(root));
}

std::vector<TestFile> SmallTestFiles() {
  std::vector<TestFile> files;
  files.push_back(MakeFile("empty", {}, NativeCodec::kZstd));
  files.push_back(
      MakeFile("raw",
               {{DType::kFloat32, TestStorage(400, 1, Fill::kNoise)},
                {DType::kUInt8, TestStorage(77, 2, Fill::kNoise)},
                {DType::kInt64, TestStorage(0, 3, Fill::kNoise)},
                {DType::kFloat32, TestStorage(4, 4, Fill::kNoise)}},
               NativeCodec::kNone));
  files.push_back(
      MakeFile("group_of_weights",
               {{DType::kBFloat16, TestStorage(1500, 1, Fill::kWeights)},
                {DType::kBFloat16, TestStorage(602, 2, Fill::kWeights)},
                {DType::kBFloat16, TestStorage(900, 3, Fill::kWeights)}},
               NativeCodec::kZstd));
  files.push_back(MakeFile(
      "long_zeros",
      {{DType::kFloat32, TestStorage((1 << 20) + 4000, 1, Fill::kZeros)}},
      NativeCodec::kZstd));
  files.push_back(
      MakeFile("raw_and_coded",
               {{DType::kBFloat16, TestStorage(70000, 1, Fill::kZeros)},
                {DType::kUInt8, TestStorage(1000, 2, Fill::kNoise)},
                {DType::kBool, TestStorage(999, 3, Fill::kZeros)},
                {DType::kInt64, TestStorage(1 << 17, 4, Fill::kZeros)}},
               NativeCodec::kZstd));
  TestTensors tiny;
  for (int i = 0; i < 40; ++i) {
    const DType dtype = i % 3 == 0 ? DType::kInt64 : DType::kFloat32;
    tiny.emplace_back(dtype, TestStorage(8 * (i % 5), i, Fill::kWeights));
  }
  files.push_back(MakeFile("tiny_tensors", tiny, NativeCodec::kZstd));
  TestFile tree;
  tree.name = "tree";
  tree.checkpoint = TreeCheckpoint();
  tree.bytes = SaveNativeOrDie(tree.checkpoint, NativeCodec::kZstd);
  files.push_back(tree);
  return files;
}

absl::StatusOr<std::string> SaveNative(const Value& checkpoint,
                                       const NativeOptions& options,
                                       Source& source, int threads) {
  MemoryFileSystem files;
  PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file,
                            files.Create("file", {}));
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::unique_ptr<NativeSink> sink,
      NativeSink::Create(*file, checkpoint.graph(), source, options));
  PumpOptions pump;
  pump.threads = threads;
  PENSTOCK_ASSIGN_OR_RETURN(const PumpStats stats,
                            Pump(sink->plan(), source, *sink, pump));
  PENSTOCK_CHECK(stats.slots >= 2);
  PENSTOCK_RETURN_IF_ERROR(file->Close());
  PENSTOCK_ASSIGN_OR_RETURN(std::string bytes, files.Get("file"));
  PENSTOCK_CHECK(static_cast<int64_t>(bytes.size()) == sink->FileBytes());
  PENSTOCK_CHECK(sink->FileBytes() <= sink->MaxFileBytes());
  return bytes;
}

std::string SaveNativeOrDie(const Value& checkpoint, NativeCodec codec) {
  MemorySource source;
  NativeOptions options;
  options.codec = codec;
  return OrDie(SaveNative(checkpoint, options, source));
}

absl::StatusOr<std::unique_ptr<NativeFile>> OpenNative(
    const std::string& bytes) {
  return NativeFile::Open(FileFromString(bytes, "test.pstk"));
}

absl::StatusOr<Value> LoadNative(const std::string& bytes, int threads) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<NativeFile> file,
                            OpenNative(bytes));
  std::vector<MemorySink::Window> windows;
  std::vector<std::shared_ptr<const Storage>> storages;
  for (const auto& in_file : file->root().graph()->storages()) {
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> storage,
                              Storage::Allocate(in_file->size_bytes()));
    storage->set_location(in_file->location());
    storages.push_back(storage);
    windows.push_back({storage, 0});
  }
  NativeSource source(*file);
  MemorySink sink(std::move(windows));
  PumpOptions options;
  options.threads = threads;
  PENSTOCK_RETURN_IF_ERROR(
      Pump(file->FilePlan(), source, sink, options).status());
  PENSTOCK_ASSIGN_OR_RETURN(
      std::shared_ptr<const Graph> graph,
      file->root().graph()->WithStorages(std::move(storages)));
  return Value(std::move(graph), 0);
}

absl::StatusOr<std::vector<std::string>> ReadNative(const NativeFile& file,
                                                    Slot& slot) {
  NativeSource source(file);
  std::vector<std::string> storages;
  for (const FileStorage& storage : file.index().storages) {
    storages.emplace_back(storage.size_bytes, '\xA5');
  }
  const Plan plan = file.FilePlan();
  for (const Chunk& chunk : plan.chunks) {
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes,
                              source.Bytes(plan, chunk, slot, nullptr));
    for (const Piece& piece : plan.pieces_of(chunk)) {
      std::memcpy(&storages[piece.storage][piece.begin],
                  bytes.data() + piece.offset, piece.size);
    }
  }
  return storages;
}

absl::Status VerifyNative(const std::string& bytes, Slot& slot) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::unique_ptr<NativeFile> file,
                            OpenNative(bytes));
  PENSTOCK_RETURN_IF_ERROR(file->VerifyGlue());
  return ReadNative(*file, slot).status();
}

std::string FixHashes(std::string bytes) {
  if (bytes.size() < kHeaderBytes + kFooterBytes) return bytes;
  SetHash(bytes, 0, kHeaderBytes - 16, kHeaderBytes - 16);
  const size_t footer = bytes.size() - kFooterBytes;
  const uint64_t begin = LoadLittleEndian<uint64_t>(&bytes[footer + 32]);
  const uint64_t size = LoadLittleEndian<uint64_t>(&bytes[footer + 40]);
  if (begin <= footer && size <= footer - begin && size >= 8) {
    const uint64_t count = LoadLittleEndian<uint32_t>(&bytes[begin]);
    const uint64_t end = begin + size;
    uint64_t body = begin + 8 + 32 * count;
    for (uint64_t i = 0; i < count && body <= end; ++i) {
      const uint64_t entry = begin + 8 + 32 * i;
      const uint64_t length = LoadLittleEndian<uint64_t>(&bytes[entry + 8]);
      if (length > end - body) break;
      SetHash(bytes, body, body + length, entry + 16);
      body += (length + 7) / 8 * 8;
    }
    SetHash(bytes, begin, end, footer + 48);
  }
  SetHash(bytes, footer, bytes.size() - 16, bytes.size() - 16);
  return bytes;
}

}  // namespace penstock
