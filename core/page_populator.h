// PagePopulator: pages for new memory, got in the way that is fastest just now.

#ifndef PENSTOCK_CORE_PAGE_POPULATOR_H_
#define PENSTOCK_CORE_PAGE_POPULATOR_H_

#include <array>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "core/mutex.h"

namespace penstock {

// New memory has no pages until it is touched, and being given them one fault
// at a time costs more than what is then written to them. This asks for them in
// runs, before they are written to. Huge pages come many times faster than
// small ones, or many times slower where the system has to look for them, and
// which of the two it is changes by the minute: so both are timed while the
// work goes on. To say which locks out all threads that get pages, so it is
// said rarely. Advice only: without it filling is slower, not wrong.
// Thread-safe; one for each job.
class PagePopulator {
 public:
  // Smaller memory is no place for huge pages. It comes from the heap, which
  // may have its pages already; asking costs little then.
  static constexpr int64_t kLeastBytes = int64_t{4} << 20;
  // Less at once is left to faults.
  static constexpr int64_t kLeastRunBytes = int64_t{32} << 10;

  // Before `bytes`, a part of the new memory `all`, is written to by this
  // thread. May get pages for what lies around and behind it too.
  void Populate(absl::Span<uint8_t> all, absl::Span<uint8_t> bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum Mode { kSmall = 0, kHuge = 1 };
  enum class Region { kClaimed, kDone };
  // A part of new memory whose pages come in one way.
  enum class Zone { kPresent, kHuge, kSmall, kGivenUp };

  Zone ZoneOf(absl::Span<uint8_t> all, uintptr_t address)
      ABSL_LOCKS_EXCLUDED(mutex_);
  Mode Choose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Claim(uintptr_t region) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GetHuge(absl::Span<uint8_t> all, absl::Span<uint8_t> bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void GetRegion(uintptr_t region, absl::Span<uint8_t> all)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Note(Mode mode, double seconds, int64_t size_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  // By address of their first byte.
  absl::flat_hash_map<uintptr_t, Zone> zones_ ABSL_GUARDED_BY(mutex_);
  // Of zones that get huge pages, by address.
  absl::flat_hash_map<uintptr_t, Region> regions_ ABSL_GUARDED_BY(mutex_);
  // Seconds a byte, of late; 0: not tried yet.
  std::array<double, 2> costs_ ABSL_GUARDED_BY(mutex_) = {};
  int64_t until_trial_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_PAGE_POPULATOR_H_
