#include "core/page_populator.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>

namespace penstock {
namespace {

constexpr uintptr_t kHugePageBytes = uintptr_t{2} << 20;
constexpr uintptr_t kSmallPageBytes = 4096;
// Between two trials of the way that was slower. Where it is slower by more,
// it waits longer, so that a trial never costs more than 1/64 of the whole.
constexpr double kTrialInterval = 64;
// Linux 5.14; the headers may be older than the system.
constexpr int kPopulateWrite = 23;

uint8_t* At(uintptr_t address) { return reinterpret_cast<uint8_t*>(address); }

}  // namespace

void PagePopulator::Populate(absl::Span<uint8_t> all,
                             absl::Span<uint8_t> bytes) {
  if (static_cast<int64_t>(all.size()) < kLeastBytes || bytes.empty()) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = begin / kHugePageBytes * kHugePageBytes;
  const uintptr_t end = begin + bytes.size();
  Mode mode;
  {
    MutexLock lock(mutex_);
    mode = Choose();
  }
  if (mode == kSmall) {
    Get(kSmall, bytes.data(), static_cast<int64_t>(bytes.size()));
    return;
  }
  bool waits = false;
  for (uintptr_t region = first; region < end; region += kHugePageBytes) {
    bool claimed;
    {
      MutexLock lock(mutex_);
      claimed = Claim(region);
      waits = waits || (!claimed && regions_[region] == Region::kClaimed);
    }
    if (claimed) GetRegion(region, all);
  }
  if (!waits) return;
  // Rather than only wait for the thread that is at it, the one behind.
  const uintptr_t behind =
      (end - 1) / kHugePageBytes * kHugePageBytes + kHugePageBytes;
  bool claimed;
  {
    MutexLock lock(mutex_);
    claimed = behind < reinterpret_cast<uintptr_t>(all.data()) + all.size() &&
              Claim(behind);
  }
  if (claimed) GetRegion(behind, all);
  MutexLock lock(mutex_);
  for (uintptr_t region = first; region < end; region += kHugePageBytes) {
    while (regions_[region] == Region::kClaimed) changed_.Wait(mutex_);
  }
}

PagePopulator::Mode PagePopulator::Choose() {
  if (costs_[kHuge] == 0) return kHuge;
  if (costs_[kSmall] == 0) return kSmall;
  const Mode best = costs_[kHuge] <= costs_[kSmall] ? kHuge : kSmall;
  if (--until_trial_ > 0) return best;
  const Mode other = best == kHuge ? kSmall : kHuge;
  until_trial_ = static_cast<int64_t>(
      kTrialInterval * std::min(costs_[other] / costs_[best], 1000.0));
  return other;
}

bool PagePopulator::Claim(uintptr_t region) {
  return regions_.try_emplace(region, Region::kClaimed).second;
}

void PagePopulator::GetRegion(uintptr_t region, absl::Span<uint8_t> all) {
  const uintptr_t begin =
      std::max(region, reinterpret_cast<uintptr_t>(all.data()));
  const uintptr_t end =
      std::min(region + kHugePageBytes,
               reinterpret_cast<uintptr_t>(all.data()) + all.size());
  Get(kHuge, At(begin), static_cast<int64_t>(end - begin));
  MutexLock lock(mutex_);
  regions_[region] = Region::kDone;
  changed_.NotifyAll();
}

// Whole pages that begin in these bytes: the one before is somebody's else.
void PagePopulator::Get(Mode mode, uint8_t* begin, int64_t size_bytes) {
  using Clock = std::chrono::steady_clock;
  const uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first =
      (address + kSmallPageBytes - 1) / kSmallPageBytes * kSmallPageBytes;
  const uintptr_t end =
      (address + size_bytes) / kSmallPageBytes * kSmallPageBytes;
  if (first >= end) return;
  const Clock::time_point start = Clock::now();
  (void)madvise(At(first), end - first,
                mode == kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  (void)madvise(At(first), end - first, kPopulateWrite);
  const double cost =
      std::chrono::duration<double>(Clock::now() - start).count() /
      static_cast<double>(end - first);
  MutexLock lock(mutex_);
  costs_[mode] = costs_[mode] == 0 ? cost : (3 * costs_[mode] + cost) / 4;
}

}  // namespace penstock
