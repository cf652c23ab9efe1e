// Progress and cancellation of long work.

#ifndef PENSTOCK_CORE_PROGRESS_H_
#define PENSTOCK_CORE_PROGRESS_H_

#include <cstdint>
#include <functional>

namespace penstock {

struct Progress {
  int64_t done_bytes = 0;   // raw bytes that went through
  int64_t total_bytes = 0;  // known from the start
};

enum class Proceed { kContinue, kCancel };

// Called now and then while work runs, never by two threads at once, but not
// always by the same one. kCancel ends the work with kCancelled. May be null.
using ProgressCallback = std::function<Proceed(const Progress&)>;

}  // namespace penstock

#endif  // PENSTOCK_CORE_PROGRESS_H_
