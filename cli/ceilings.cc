#include "cli/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/file.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kBlock = 4 << 20;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

// Random bytes that no disk can shrink. SplitMix64.
void FillRandom(absl::Span<uint8_t> bytes) {
  uint64_t state = 1;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    std::memcpy(&bytes[i], &z, 8);
  }
}

// Bytes per second of one durable write; 0 where `caching` is refused.
absl::StatusOr<double> TimeWrite(const std::string& path, int64_t size_bytes,
                                 Caching caching,
                                 absl::Span<const uint8_t> block) {
  FileSystem& files = PosixFileSystem();
  CreateOptions options;
  options.caching = caching;
  PENSTOCK_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file,
                            files.Create(path, options));
  const auto remove = absl::MakeCleanup([&files, &path] {
    files.Unlink(path).IgnoreError();  // a leftover of a failed measurement
  });
  if (caching == Caching::kDirect && !file->direct()) return 0.0;
  const auto start = std::chrono::steady_clock::now();
  PENSTOCK_RETURN_IF_ERROR(file->Allocate(size_bytes));
  for (int64_t done = 0; done < size_bytes; done += kBlock) {
    PENSTOCK_RETURN_IF_ERROR(file->Write(done, block));
  }
  PENSTOCK_RETURN_IF_ERROR(file->Sync());
  PENSTOCK_RETURN_IF_ERROR(file->Close());
  return static_cast<double>(size_bytes) / SecondsSince(start);
}

double TimeMemcpy(int64_t size_bytes, AlignedBuffer& from, AlignedBuffer& to) {
  const int64_t buffer_bytes = from.capacity();
  const auto start = std::chrono::steady_clock::now();
  for (int64_t done = 0; done < size_bytes; done += buffer_bytes) {
    std::memcpy(to.data(), from.data(), buffer_bytes);
  }
  return static_cast<double>(size_bytes) / SecondsSince(start);
}

}  // namespace

double Ceiling::Median() const {
  std::vector<double> sorted = rates;
  std::sort(sorted.begin(), sorted.end());
  return sorted.empty() ? 0 : sorted[sorted.size() / 2];
}

absl::StatusOr<std::vector<Ceiling>> MeasureCeilings(
    const std::string& directory, int64_t size_bytes, int rounds) {
  size_bytes = std::max<int64_t>(size_bytes / kBlock, 1) * kBlock;
  AlignedBuffer from;
  AlignedBuffer to;
  from.Reserve(std::min<int64_t>(size_bytes, 64 << 20));  // beyond any cache
  to.Reserve(from.capacity());
  FillRandom(absl::MakeSpan(from.data(), from.capacity()));
  std::memset(to.data(), 1, to.capacity());
  const absl::Span<const uint8_t> block(from.data(), kBlock);
  const std::string path = absl::StrCat(directory, "/.penstock-ceiling.tmp");

  Ceiling plain{"plain write + fsync", {}};
  Ceiling direct{"O_DIRECT write + fsync", {}};
  Ceiling copy{"memcpy", {}};
  for (int round = 0; round < rounds; ++round) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const double buffered,
        TimeWrite(path, size_bytes, Caching::kBuffered, block));
    plain.rates.push_back(buffered);
    PENSTOCK_ASSIGN_OR_RETURN(
        const double around,
        TimeWrite(path, size_bytes, Caching::kDirect, block));
    if (around > 0) direct.rates.push_back(around);
    copy.rates.push_back(TimeMemcpy(size_bytes, from, to));
  }
  std::vector<Ceiling> result = {std::move(plain)};
  if (!direct.rates.empty()) result.push_back(std::move(direct));
  result.push_back(std::move(copy));
  return result;
}

}  // namespace penstock
