#include "core/page_populator.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uintptr_t kHugePageBytes = uintptr_t{2} << 20;
constexpr uintptr_t kSmallPageBytes = 4096;
// What is settled at once.
constexpr uintptr_t kZoneBytes = uintptr_t{16} << 20;
// Zones between two trials of the way that was slower. Where it is slower by
// more, it waits longer.
constexpr double kTrialInterval = 8;
// A zone's huge pages are given up where they are slower by this.
constexpr double kTooSlow = 2;
// Linux 5.14; the headers may be older than the system.
constexpr int kPopulateWrite = 23;

uint8_t* At(uintptr_t address) { return reinterpret_cast<uint8_t*>(address); }
uintptr_t Begin(absl::Span<uint8_t> bytes) {
  return reinterpret_cast<uintptr_t>(bytes.data());
}
uintptr_t End(absl::Span<uint8_t> bytes) { return Begin(bytes) + bytes.size(); }

// What of [begin, begin + size) lies in `all`.
absl::Span<uint8_t> Within(absl::Span<uint8_t> all, uintptr_t begin,
                           uintptr_t size) {
  const uintptr_t first = std::max(begin, Begin(all));
  return absl::MakeSpan(At(first), std::min(begin + size, End(all)) - first);
}

// Whole pages that begin in these bytes: the one before is somebody's else.
absl::Span<uint8_t> PagesOf(absl::Span<uint8_t> bytes) {
  const uintptr_t first =
      (Begin(bytes) + kSmallPageBytes - 1) / kSmallPageBytes * kSmallPageBytes;
  const uintptr_t end = End(bytes) / kSmallPageBytes * kSmallPageBytes;
  return absl::MakeSpan(At(first), first < end ? end - first : 0);
}

void Advise(absl::Span<uint8_t> bytes, int advice) {
  const absl::Span<uint8_t> pages = PagesOf(bytes);
  if (!pages.empty()) (void)madvise(pages.data(), pages.size(), advice);
}

double SecondsToPopulate(absl::Span<uint8_t> bytes) {
  const Clock::time_point start = Clock::now();
  Advise(bytes, kPopulateWrite);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// As much of the heap is that was in use before.
bool IsPresent(absl::Span<uint8_t> bytes) {
  const absl::Span<uint8_t> pages = PagesOf(bytes);
  std::vector<unsigned char> present(pages.size() / kSmallPageBytes);
  if (mincore(pages.data(), pages.size(), present.data()) != 0) return false;
  const auto count = std::count_if(present.begin(), present.end(),
                                   [](unsigned char page) { return page & 1; });
  return 2 * count > static_cast<int64_t>(present.size());
}

}  // namespace

void PagePopulator::Populate(absl::Span<uint8_t> all,
                             absl::Span<uint8_t> bytes) {
  if (bytes.empty()) return;
  if (static_cast<int64_t>(all.size()) < kLeastBytes) {
    if (static_cast<int64_t>(bytes.size()) >= kLeastRunBytes) {
      Advise(bytes, kPopulateWrite);
    }
    return;
  }
  for (uintptr_t zone = Begin(bytes) / kZoneBytes * kZoneBytes;
       zone < End(bytes); zone += kZoneBytes) {
    const absl::Span<uint8_t> part = Within(bytes, zone, kZoneBytes);
    switch (ZoneOf(all, zone)) {
      case Zone::kPresent:
        break;
      case Zone::kHuge:
        GetHuge(all, part);
        break;
      case Zone::kGivenUp:  // some of it is there: tells nothing
        Advise(part, kPopulateWrite);
        break;
      case Zone::kSmall: {
        const double seconds = SecondsToPopulate(part);
        MutexLock lock(mutex_);
        Note(kSmall, seconds, static_cast<int64_t>(part.size()));
        break;
      }
    }
  }
}

PagePopulator::Zone PagePopulator::ZoneOf(absl::Span<uint8_t> all,
                                          uintptr_t address) {
  const absl::Span<uint8_t> bytes = Within(all, address, kZoneBytes);
  MutexLock lock(mutex_);
  const auto [it, is_new] = zones_.try_emplace(Begin(bytes), Zone::kPresent);
  // Under the lock: whoever populates must find it settled.
  if (is_new && !IsPresent(bytes)) {
    const Mode mode = Choose();
    it->second = mode == kHuge ? Zone::kHuge : Zone::kSmall;
    Advise(bytes, mode == kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  return it->second;
}

PagePopulator::Mode PagePopulator::Choose() {
  if (costs_[kSmall] == 0) return kSmall;
  if (costs_[kHuge] == 0) return kHuge;
  const Mode best = costs_[kHuge] <= costs_[kSmall] ? kHuge : kSmall;
  if (--until_trial_ > 0) return best;
  const Mode other = best == kHuge ? kSmall : kHuge;
  until_trial_ = static_cast<int64_t>(
      kTrialInterval * std::min(costs_[other] / costs_[best], 1000.0));
  return other;
}

void PagePopulator::GetHuge(absl::Span<uint8_t> all,
                            absl::Span<uint8_t> bytes) {
  const uintptr_t first = Begin(bytes) / kHugePageBytes * kHugePageBytes;
  const uintptr_t end = End(bytes);
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
  if (behind % kZoneBytes != 0 && behind < End(all)) {
    bool claimed;
    {
      MutexLock lock(mutex_);
      claimed = Claim(behind);
    }
    if (claimed) GetRegion(behind, all);
  }
  MutexLock lock(mutex_);
  for (uintptr_t region = first; region < end; region += kHugePageBytes) {
    while (regions_[region] == Region::kClaimed) changed_.Wait(mutex_);
  }
}

bool PagePopulator::Claim(uintptr_t region) {
  return regions_.try_emplace(region, Region::kClaimed).second;
}

void PagePopulator::GetRegion(uintptr_t region, absl::Span<uint8_t> all) {
  const absl::Span<uint8_t> bytes = Within(all, region, kHugePageBytes);
  const double seconds = SecondsToPopulate(bytes);
  const uintptr_t zone = region / kZoneBytes * kZoneBytes;
  const absl::Span<uint8_t> whole = Within(all, zone, kZoneBytes);
  MutexLock lock(mutex_);
  Note(kHuge, seconds, static_cast<int64_t>(bytes.size()));
  regions_[region] = Region::kDone;
  changed_.NotifyAll();
  Zone& state = zones_[Begin(whole)];
  if (state == Zone::kHuge && costs_[kSmall] > 0 &&
      seconds > kTooSlow * costs_[kSmall] * static_cast<double>(bytes.size())) {
    state = Zone::kGivenUp;
    Advise(whole, MADV_NOHUGEPAGE);
  }
}

void PagePopulator::Note(Mode mode, double seconds, int64_t size_bytes) {
  const double cost = seconds / static_cast<double>(size_bytes);
  costs_[mode] = costs_[mode] == 0 ? cost : (3 * costs_[mode] + cost) / 4;
}

}  // namespace penstock
