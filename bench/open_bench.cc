// Opening a checkpoint of many tensors, one storage each, from a warm page
// cache: Checkpoint::Open until it returns, and the first look at the names.
// Beside it what no reader can do without: reading the index and hashing it.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "api/penstock.h"
#include "codec/format.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_surroundings.h"
#include "compat/zip_reader.h"
#include "core/checksum.h"
#include "core/graph_builder.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {
namespace {

constexpr int64_t kRows = 16;
constexpr int64_t kColumns = 8;

// A checkpoint of `num_tensors` small matrices, as a file that goes with this
// object.
class TemporaryCheckpoint {
 public:
  TemporaryCheckpoint(Format format, int64_t num_tensors)
      : path_((std::filesystem::temp_directory_path() /
               absl::StrCat("open_bench.", getpid()))
                  .string()) {
    status_ = Write(format, num_tensors);
  }
  ~TemporaryCheckpoint() { (void)PosixFileSystem().Unlink(path_); }

  const absl::Status& status() const { return status_; }
  const std::string& path() const { return path_; }

 private:
  absl::Status Write(Format format, int64_t num_tensors) const {
    GraphBuilder b;
    const NodeId root = b.OrderedDict();
    for (int64_t i = 0; i < num_tensors; ++i) {
      PENSTOCK_ASSIGN_OR_RETURN(
          std::shared_ptr<Storage> storage,
          Storage::Allocate(kRows * kColumns * sizeof(float)));
      for (uint8_t& byte : storage->mutable_bytes()) byte = i % 251;
      PENSTOCK_ASSIGN_OR_RETURN(
          const Tensor tensor,
          Tensor::Make(storage, DType::kFloat32, {kRows, kColumns}));
      PENSTOCK_RETURN_IF_ERROR(
          b.SetItem(root,
                    b.Str(absl::StrCat("model.layers.", i / 1000,
                                       ".mlp.experts.", i % 1000, ".weight")),
                    b.Tensor(tensor)));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const Value tree, std::move(b).Finish(root));
    SaveOptions options;
    options.format = format;
    return Save(tree, path_, options).status();
  }

  const std::string path_;
  absl::Status status_;
};

void Fail(benchmark::State& state, const absl::Status& status) {
  state.SkipWithError(status.ToString().c_str());
}

// `then`: the first use, which is timed, too.
template <typename Use>
void OpenRepeatedly(benchmark::State& state, Format format, Use use) {
  const TemporaryCheckpoint file(format, state.range(0));
  if (!file.status().ok()) return Fail(state, file.status());
  std::optional<Checkpoint> checkpoint;
  for (auto _ : state) {
    absl::StatusOr<Checkpoint> opened = Checkpoint::Open(file.path());
    if (!opened.ok()) return Fail(state, opened.status());
    checkpoint.emplace(*std::move(opened));
    use(*checkpoint);
    state.PauseTiming();
    if (checkpoint->state_dict().size() != state.range(0)) {
      return state.SkipWithError("another number of tensors");
    }
    checkpoint.reset();
    state.ResumeTiming();
  }
}

void BM_Open(benchmark::State& state, Format format) {
  OpenRepeatedly(state, format, [](const Checkpoint&) {});
}

void BM_OpenAndName(benchmark::State& state, Format format) {
  OpenRepeatedly(state, format, [](const Checkpoint& checkpoint) {
    benchmark::DoNotOptimize(checkpoint.state_dict().entries().data());
  });
}

struct IndexPlace {
  int64_t offset = 0;
  int64_t size = 0;
};

absl::StatusOr<std::vector<IndexPlace>> NativeIndexPlaces(
    const RandomAccessFile& file) {
  std::vector<uint8_t> bytes(kFooterBytes);
  PENSTOCK_RETURN_IF_ERROR(
      file.Read(file.size_bytes() - kFooterBytes, absl::MakeSpan(bytes)));
  PENSTOCK_ASSIGN_OR_RETURN(const Footer footer,
                            ParseFooter(bytes, file.size_bytes()));
  return std::vector<IndexPlace>{{footer.index_offset, footer.index_bytes}};
}

// The pickle, and the directory behind the last record.
absl::StatusOr<std::vector<IndexPlace>> PtIndexPlaces(
    const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const ZipDirectory directory,
                            ReadZipDirectory(file));
  std::vector<IndexPlace> places(2);
  for (const ZipEntry& entry : directory.entries()) {
    const int64_t end = entry.header_offset + entry.stored_bytes;
    if (end > places[1].offset) places[1].offset = end;
    if (absl::EndsWith(entry.name, "/data.pkl")) {
      places[0] = {entry.payload_offset, entry.stored_bytes};
    }
  }
  places[1].size = file.size_bytes() - places[1].offset;
  return places;
}

void BM_ReadAndHashIndex(benchmark::State& state, Format format) {
  const TemporaryCheckpoint checkpoint(format, state.range(0));
  if (!checkpoint.status().ok()) return Fail(state, checkpoint.status());
  auto file = PosixFileSystem().OpenRead(checkpoint.path());
  if (!file.ok()) return Fail(state, file.status());
  const auto places = format == Format::kNative ? NativeIndexPlaces(**file)
                                                : PtIndexPlaces(**file);
  if (!places.ok()) return Fail(state, places.status());
  int64_t total = 0;
  for (const IndexPlace& place : *places) total += place.size;
  for (auto _ : state) {
    for (const IndexPlace& place : *places) {
      // Fresh memory, as a reader has it.
      std::vector<uint8_t> bytes(place.size);
      const absl::Status read =
          (*file)->Read(place.offset, absl::MakeSpan(bytes));
      if (!read.ok()) return Fail(state, read);
      benchmark::DoNotOptimize(HashOf(bytes, 0));
    }
  }
  state.counters["index_bytes"] = static_cast<double>(total);
}

// The parts of opening a .pt: the zip file's headers, then the pickle's graph.
void BM_ReadZipDirectory(benchmark::State& state) {
  const TemporaryCheckpoint checkpoint(Format::kPt, state.range(0));
  if (!checkpoint.status().ok()) return Fail(state, checkpoint.status());
  auto file = PosixFileSystem().OpenRead(checkpoint.path());
  if (!file.ok()) return Fail(state, file.status());
  for (auto _ : state) {
    const auto directory = ReadZipDirectory(**file);
    if (!directory.ok()) return Fail(state, directory.status());
    benchmark::DoNotOptimize(directory->entries().data());
  }
}

void BM_ReadPickle(benchmark::State& state) {
  const TemporaryCheckpoint checkpoint(Format::kPt, state.range(0));
  if (!checkpoint.status().ok()) return Fail(state, checkpoint.status());
  auto file = PosixFileSystem().OpenRead(checkpoint.path());
  if (!file.ok()) return Fail(state, file.status());
  const auto places = PtIndexPlaces(**file);
  if (!places.ok()) return Fail(state, places.status());
  std::vector<uint8_t> pickle(places->front().size);
  const absl::Status read =
      (*file)->Read(places->front().offset, absl::MakeSpan(pickle));
  if (!read.ok()) return Fail(state, read);
  const StorageResolver resolver = [](const StorageReference& reference) {
    return Storage::InFile(reference.size_bytes, 0);
  };
  for (auto _ : state) {
    const auto result = ReadPickle(pickle, resolver);
    if (!result.ok()) return Fail(state, result.status());
    if (result->root.graph()->num_tensors() != state.range(0)) {
      return state.SkipWithError("another number of tensors");
    }
  }
  state.counters["pickle_bytes"] = static_cast<double>(pickle.size());
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("tensors")
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->Arg(10)
      ->Arg(1'000)
      ->Arg(100'000);
}

BENCHMARK_CAPTURE(BM_Open, pstk, Format::kNative)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Open, pt, Format::kPt)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_OpenAndName, pstk, Format::kNative)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_OpenAndName, pt, Format::kPt)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_ReadAndHashIndex, pstk, Format::kNative)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_ReadAndHashIndex, pt, Format::kPt)->Apply(Sizes);
BENCHMARK(BM_ReadZipDirectory)->Apply(Sizes);
BENCHMARK(BM_ReadPickle)->Apply(Sizes);

}  // namespace
}  // namespace penstock
