#include "codec/auto_codec.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/compressor.h"
#include "core/aligned_buffer.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kProbeBlock = 4 << 20;
constexpr int64_t kProbeStart = 16 << 20;
constexpr int64_t kProbeEnd = 64 << 20;
constexpr int kSampledStorages = 8;

using Clock = std::chrono::steady_clock;

double SecondsBetween(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

// Incompressible: some disks and file systems shrink what they can.
void FillNoise(AlignedBuffer& buffer, int64_t size_bytes) {
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int64_t i = 0; i < size_bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(buffer.data() + i, &state, 8);
  }
}

absl::StatusOr<double> ProbeDisk(FileSystem& files,
                                 const std::string& directory) {
  const std::string path =
      absl::StrFormat("%s/.penstock-probe.%d.tmp", directory,
                      Clock::now().time_since_epoch().count());
  CreateOptions options;
  options.caching = Caching::kDirect;
  PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file,
                            files.Create(path, options));
  const auto remove = absl::MakeCleanup([&files, &path] {
    files.Unlink(path).IgnoreError();  // a probe: nothing depends on it
  });
  AlignedBuffer block;
  block.Reserve(kProbeBlock);
  FillNoise(block, kProbeBlock);
  PENSTOCK_RETURN_IF_ERROR(file->Allocate(kProbeEnd));
  Clock::time_point start;
  for (int64_t done = 0; done < kProbeEnd; done += kProbeBlock) {
    if (done == kProbeStart) {
      PENSTOCK_RETURN_IF_ERROR(file->Sync());
      start = Clock::now();
    }
    PENSTOCK_RETURN_IF_ERROR(
        file->Write(done, absl::MakeConstSpan(block.data(), kProbeBlock)));
  }
  PENSTOCK_RETURN_IF_ERROR(file->Sync());
  const double seconds = SecondsBetween(start, Clock::now());
  PENSTOCK_RETURN_IF_ERROR(file->Close());
  return static_cast<double>(kProbeEnd - kProbeStart) / seconds;
}

// Encodes a chunk from the middle of each of the largest storages.
absl::StatusOr<CodecRates> ProbeEncoder(
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source) {
  std::vector<size_t> order(storages.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return storages[a]->size_bytes() > storages[b]->size_bytes();
  });
  if (order.size() > kSampledStorages) order.resize(kSampledStorages);

  Compressor compressor;
  AlignedBuffer raw;
  AlignedBuffer planes;
  AlignedBuffer record;
  raw.Reserve(kChunkBytes);
  double raw_bytes = 0;
  double stored_bytes = 0;
  double seconds = 0;
  for (const size_t i : order) {
    const Storage& storage = *storages[i];
    const int64_t size = std::min(kChunkBytes, storage.size_bytes());
    const int64_t begin =
        (storage.size_bytes() - size) / 2 / kChunkBytes * kChunkBytes;
    const absl::Span<uint8_t> chunk(raw.data(), size);
    PENSTOCK_RETURN_IF_ERROR(source.Sample(storage, begin, chunk));
    const Clock::time_point start = Clock::now();
    ChunkCoding coding;
    PENSTOCK_ASSIGN_OR_RETURN(
        const int64_t stored,
        EncodeChunk(chunk, dtypes[i], compressor, planes, record, coding));
    seconds += SecondsBetween(start, Clock::now());
    raw_bytes += static_cast<double>(size);
    stored_bytes += static_cast<double>(stored);
  }
  CodecRates rates;
  if (seconds > 0) rates.encode = raw_bytes / seconds;
  if (stored_bytes > 0) rates.ratio = raw_bytes / stored_bytes;
  return rates;
}

}  // namespace

CodecChoice ChooseCodec(const CodecRates& rates, int64_t total_bytes) {
  const double total = static_cast<double>(total_bytes);
  const double raw_seconds = total / rates.disk;
  // Encoding and writing overlap: the slower one decides.
  const double coded_seconds =
      std::max(total / rates.encode, total / rates.ratio / rates.disk);
  CodecChoice choice;
  choice.coded = coded_seconds < 0.95 * raw_seconds;
  choice.reason = absl::StrFormat(
      "auto settled on %s: disk %.2f GB/s, encoder %.2f GB/s at ratio %.3f, so "
      "about %.1f s raw against %.1f s coded",
      choice.coded ? "zstd" : "none", rates.disk / 1e9, rates.encode / 1e9,
      rates.ratio, raw_seconds, coded_seconds);
  return choice;
}

absl::StatusOr<CodecChoice> SettleCodec(
    FileSystem& files, const std::string& directory,
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source, int threads) {
  int64_t total_bytes = 0;
  for (const auto& storage : storages) total_bytes += storage->size_bytes();
  if (total_bytes < kAutoProbeFrom) {
    return CodecChoice{false,
                       "auto settled on none: too small for measuring to pay"};
  }
  PENSTOCK_ASSIGN_OR_RETURN(CodecRates rates,
                            ProbeEncoder(storages, dtypes, source));
  PENSTOCK_ASSIGN_OR_RETURN(rates.disk, ProbeDisk(files, directory));
  rates.encode *= threads;
  return ChooseCodec(rates, total_bytes);
}

}  // namespace penstock
