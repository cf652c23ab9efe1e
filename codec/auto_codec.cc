#include "codec/auto_codec.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/compressor.h"
#include "core/aligned_buffer.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

// As a save writes: several blocks in flight.
constexpr int kProbeWriters = 4;
constexpr int64_t kProbeBlock = 4 << 20;
constexpr int64_t kProbeStart = 16 << 20;
constexpr int64_t kProbeMiddle = 32 << 20;
constexpr int64_t kProbeEnd = 64 << 20;

constexpr int kSampledStorages = 8;
// Each takes some MiB; more are assumed to scale.
constexpr int kMostEncoders = 8;

// Chunks that shrink about alike take about as long to encode.
constexpr double kAlike = 0.1;
// A save that takes so much of what the disk takes was held up by it.
constexpr double kNearLimit = 0.9;

double CodedRate(const CodecRates& rates) {
  return std::min(rates.encode, rates.ratio * rates.disk);
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

// What AlignedBuffer throws, as a Status.
template <typename Work>
auto CatchBadAlloc(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while measuring");
  }
}

// Calls work() on this thread and on as many others, up to `threads` together,
// as there are to be had; each call takes what work is left.
template <typename Work>
void OnThreads(int threads, Work work) {
  std::vector<std::thread> others;
  others.reserve(threads - 1);
  try {
    while (static_cast<int>(others.size()) + 1 < threads) {
      others.emplace_back(work);
    }
  } catch (const std::exception&) {
    // Fewer, then, as the save would have.
  }
  work();
  for (std::thread& other : others) other.join();
}

// Incompressible: some disks and file systems shrink what they can.
void FillNoise(absl::Span<uint8_t> bytes) {
  uint64_t state = 0x9e3779b97f4a7c15;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(bytes.data() + i, &state, 8);
  }
}

// Times the writing of noise to a file, range by range.
class DiskProbe {
 public:
  explicit DiskProbe(WritableFile& file) : file_(file) {
    noise_.Reserve(kProbeBlock);
    FillNoise(absl::MakeSpan(noise_.data(), kProbeBlock));
  }

  // Writes [end of the last range, end), and waits for it: bytes a second.
  absl::StatusOr<double> WriteTo(int64_t end) ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t written_bytes() const { return written_bytes_; }
  // Of processor time, per byte.
  double SecondsPerByte() const ABSL_LOCKS_EXCLUDED(mutex_) {
    const MutexLock lock(mutex_);
    return cpu_seconds_ / static_cast<double>(written_bytes_);
  }

 private:
  void WriteBlocks(std::atomic<int64_t>& next, int64_t end)
      ABSL_LOCKS_EXCLUDED(mutex_);

  WritableFile& file_;
  AlignedBuffer noise_;
  int64_t written_bytes_ = 0;
  mutable Mutex mutex_;
  double cpu_seconds_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<double> DiskProbe::WriteTo(int64_t end) {
  const double size = static_cast<double>(end - written_bytes_);
  std::atomic<int64_t> next(written_bytes_);
  const Clock::time_point start = Clock::now();
  OnThreads(kProbeWriters, [&] { WriteBlocks(next, end); });
  {
    const MutexLock lock(mutex_);
    PENSTOCK_RETURN_IF_ERROR(error_);
  }
  // What went around the page cache is on the device; what its cache's flush
  // costs, it costs once.
  if (!file_.direct()) PENSTOCK_RETURN_IF_ERROR(file_.Sync());
  written_bytes_ = end;
  return size / SecondsSince(start);
}

void DiskProbe::WriteBlocks(std::atomic<int64_t>& next, int64_t end) {
  const double start = ThreadSeconds();
  absl::Status status;
  while (status.ok()) {
    const int64_t offset = next.fetch_add(kProbeBlock);
    if (offset >= end) break;
    status =
        file_.Write(offset, absl::MakeConstSpan(noise_.data(), kProbeBlock));
  }
  const double seconds = ThreadSeconds() - start;
  const MutexLock lock(mutex_);
  cpu_seconds_ += seconds;
  error_.Update(status);
}

// A chunk's bytes out of a storage.
struct Sample {
  AlignedBuffer bytes;
  int64_t size_bytes = 0;
  DType dtype = DType::kUInt8;

  absl::Span<const uint8_t> span() const {
    return absl::MakeConstSpan(bytes.data(), size_bytes);
  }
};

// A chunk from the middle of each of the largest storages.
absl::StatusOr<std::vector<Sample>> TakeSamples(
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source) {
  std::vector<size_t> order(storages.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return storages[a]->size_bytes() > storages[b]->size_bytes();
  });
  if (order.size() > kSampledStorages) order.resize(kSampledStorages);
  std::vector<Sample> samples(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const Storage& storage = *storages[order[i]];
    Sample& sample = samples[i];
    sample.dtype = dtypes[order[i]];
    sample.size_bytes = std::min(kChunkBytes, storage.size_bytes());
    sample.bytes.Reserve(sample.size_bytes);
    const int64_t begin = (storage.size_bytes() - sample.size_bytes) / 2 /
                          kChunkBytes * kChunkBytes;
    PENSTOCK_RETURN_IF_ERROR(
        source.Sample(storage, begin,
                      absl::MakeSpan(sample.bytes.data(), sample.size_bytes)));
  }
  return samples;
}

struct Encoded {
  double raw_bytes = 0;
  double stored_bytes = 0;
  double rate = 0;  // raw bytes a second
};

// Encodes as a save does: both hashes, and the copy to where it is written.
// Takes one sample after the other, in turns with other threads, until `next`
// has come to `end`.
absl::StatusOr<Encoded> EncodeSamples(const std::vector<Sample>& samples,
                                      std::atomic<int64_t>& next, int64_t end) {
  Compressor compressor;
  AlignedBuffer planes;
  AlignedBuffer record;
  AlignedBuffer out;
  out.Reserve(MaxRecordBytes(kChunkBytes));
  const auto encode = [&](const Sample& sample) -> absl::StatusOr<int64_t> {
    ChunkCoding coding;
    static_cast<void>(HashOf(sample.span(), 0));
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t stored,
                              EncodeChunk(sample.span(), sample.dtype,
                                          compressor, planes, record, coding));
    static_cast<void>(HashOf(absl::MakeConstSpan(record.data(), stored), 0));
    std::memcpy(out.data(), record.data(), stored);
    return stored;
  };
  // Untimed: the first one pays for contexts and pages.
  PENSTOCK_RETURN_IF_ERROR(encode(samples[0]).status());
  Encoded encoded;
  const Clock::time_point start = Clock::now();
  for (int64_t i; (i = next.fetch_add(1)) < end;) {
    const Sample& sample = samples[i % samples.size()];
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t stored, encode(sample));
    encoded.raw_bytes += static_cast<double>(sample.size_bytes);
    encoded.stored_bytes += static_cast<double>(stored);
  }
  // One that came too late took none, in no time.
  if (encoded.raw_bytes > 0) {
    encoded.rate = encoded.raw_bytes / SecondsSince(start);
  }
  return encoded;
}

// All of `threads` at once, and to the end: they may share a core, and one that
// had it for itself would be too fast. Whoever has to wait for a core takes
// fewer.
absl::StatusOr<CodecRates> ProbeEncoder(const std::vector<Sample>& samples,
                                        int threads) {
  const int encoders = std::min(threads, kMostEncoders);
  const int64_t end = static_cast<int64_t>(samples.size()) * encoders;
  std::atomic<int64_t> next = 0;
  Mutex mutex;
  absl::Status error;
  Encoded all;
  OnThreads(encoders, [&] {
    const absl::StatusOr<Encoded> mine =
        CatchBadAlloc([&] { return EncodeSamples(samples, next, end); });
    const MutexLock lock(mutex);
    error.Update(mine.status());
    if (!mine.ok()) return;
    all.raw_bytes += mine->raw_bytes;
    all.stored_bytes += mine->stored_bytes;
    all.rate += mine->rate;
  });
  PENSTOCK_RETURN_IF_ERROR(error);
  CodecRates rates;
  rates.encode = all.rate * threads / encoders;
  rates.ratio = all.raw_bytes / all.stored_bytes;
  return rates;
}

// What is left of the encoder's rate while the same cores write.
double WhileWriting(const CodecRates& rates, double write_seconds_per_byte,
                    int threads) {
  const double encoding = threads / rates.encode;
  return threads / (encoding + write_seconds_per_byte / rates.ratio);
}

// Whether the answer is the same for any disk between `low` and `high`.
bool IsClear(CodecRates rates, double low, double high) {
  rates.disk = low;
  const bool coded = CodingPays(rates);
  rates.disk = high;
  return CodingPays(rates) == coded;
}

// Fills in rates.disk, and takes from rates.encode what writing needs.
absl::Status ProbeDisk(DiskProbe& probe, int threads, CodecRates& rates) {
  const double encode = rates.encode;
  const auto write_to = [&](int64_t end) -> absl::Status {
    PENSTOCK_ASSIGN_OR_RETURN(rates.disk, probe.WriteTo(end));
    CodecRates alone = rates;
    alone.encode = encode;
    rates.encode = WhileWriting(alone, probe.SecondsPerByte(), threads);
    return absl::OkStatus();
  };
  PENSTOCK_RETURN_IF_ERROR(write_to(kProbeStart));
  // The start reads a half to a quarter of what follows, never more.
  if (IsClear(rates, rates.disk, 4 * rates.disk)) return absl::OkStatus();
  PENSTOCK_RETURN_IF_ERROR(write_to(kProbeMiddle));
  if (IsClear(rates, rates.disk / 1.3, rates.disk * 1.3)) {
    return absl::OkStatus();
  }
  const double until_middle = rates.disk;
  PENSTOCK_RETURN_IF_ERROR(write_to(kProbeEnd));
  // The slope from the start to the end.
  rates.disk = static_cast<double>(kProbeEnd - kProbeStart) /
               (static_cast<double>(kProbeMiddle - kProbeStart) / until_middle +
                static_cast<double>(kProbeEnd - kProbeMiddle) / rates.disk);
  return absl::OkStatus();
}

std::string ReasonOf(const CodecChoice& choice, const std::string& disk_from,
                     const std::string& encoder_from, int64_t total_bytes) {
  const CodecRates& rates = choice.rates;
  const double total = static_cast<double>(total_bytes);
  return absl::StrFormat(
      "auto settled on %s: disk %.2f GB/s (%s), encoder %.2f GB/s (%s) at "
      "ratio %.3f, so about %.2f s raw against %.2f s coded",
      choice.coded ? "zstd" : "none", rates.disk / 1e9, disk_from,
      rates.encode / 1e9, encoder_from, rates.ratio, total / rates.disk,
      total / CodedRate(rates));
}

absl::StatusOr<CodecChoice> Settle(
    WritableFile& file, const CodecRates& known,
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source, int threads) {
  CodecChoice choice;
  int64_t total_bytes = 0;
  for (const auto& storage : storages) total_bytes += storage->size_bytes();
  if (total_bytes < kAutoProbeFrom) {
    choice.reason = "auto settled on none: too small for measuring to pay";
    return choice;
  }
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (cores > 0) threads = std::min(threads, cores);
  CodecRates& rates = choice.rates;
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Sample> samples,
                            TakeSamples(storages, dtypes, source));
  PENSTOCK_ASSIGN_OR_RETURN(rates, ProbeEncoder(samples, threads));
  std::string disk_from = "last save";
  rates.disk = known.disk;
  if (known.disk <= 0) {
    DiskProbe probe(file);
    PENSTOCK_RETURN_IF_ERROR(file.Allocate(kProbeEnd));
    PENSTOCK_RETURN_IF_ERROR(ProbeDisk(probe, threads, rates));
    choice.probed_bytes = probe.written_bytes();
    disk_from = absl::StrFormat("%d MiB probed", choice.probed_bytes >> 20);
  }
  const bool seen =
      known.encode > 0 && std::abs(rates.ratio / known.ratio - 1) < kAlike;
  if (seen) rates.encode = known.encode;
  choice.coded = CodingPays(rates);
  choice.reason =
      ReasonOf(choice, disk_from, seen ? "last save" : "sampled", total_bytes);
  return choice;
}

}  // namespace

bool CodingPays(const CodecRates& rates) {
  return 0.95 * CodedRate(rates) > rates.disk;
}

CodecRates Learn(const CodecRates& known, const FinishedSave& save) {
  if (save.raw_bytes < kAutoProbeFrom) return known;
  const double raw_rate = static_cast<double>(save.raw_bytes) / save.seconds;
  const double disk = static_cast<double>(save.file_bytes) / save.seconds;
  CodecRates learned = known;
  if (!save.coded) {
    if (known.encode > kNearLimit * known.ratio * disk) learned.encode = 0;
    learned.disk = disk;
    return learned;
  }
  // Nothing tells which of the two was the limit.
  if (known.disk <= 0) return known;
  if (disk < kNearLimit * known.disk) {
    learned.encode = raw_rate;
    learned.ratio = raw_rate / disk;
    return learned;
  }
  learned.disk = disk;
  return learned;
}

CodecRates RateMemory::Find(uint64_t disk) const {
  const MutexLock lock(mutex_);
  const auto found = rates_.find(disk);
  return found == rates_.end() ? CodecRates() : found->second;
}

void RateMemory::Put(uint64_t disk, const CodecRates& rates) {
  if (disk == 0) return;
  const MutexLock lock(mutex_);
  rates_[disk] = rates;
}

void RateMemory::Learn(uint64_t disk, const FinishedSave& save) {
  if (disk == 0) return;
  const MutexLock lock(mutex_);
  rates_[disk] = penstock::Learn(rates_[disk], save);
}

RateMemory& ProcessRates() {
  static RateMemory* const rates = new RateMemory;
  return *rates;
}

absl::StatusOr<CodecChoice> SettleCodec(
    WritableFile& file, const CodecRates& known,
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source, int threads) {
  return CatchBadAlloc(
      [&] { return Settle(file, known, storages, dtypes, source, threads); });
}

}  // namespace penstock
