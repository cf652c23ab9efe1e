// How the command talks to people: numbers, progress, errors, interrupts.

#ifndef PENSTOCK_CLI_CONSOLE_H_
#define PENSTOCK_CLI_CONSOLE_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/progress.h"

namespace penstock {

// Exit codes of every verb.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFinding = 1;  // damage, a difference
inline constexpr int kExitError = 2;    // usage, input or output
inline constexpr int kExitInterrupted = 130;

// "1.50 GB", "640 B": decimal units, three digits.
std::string HumanBytes(int64_t bytes);
// "1.25 GB/s".
std::string HumanRate(int64_t bytes, double seconds);
// "1.2 s", "3:07", "1:02:03".
std::string HumanTime(double seconds);

// "256MiB", "1.5GB", "64k", "4096": decimal and binary units, a bare letter is
// binary. Errors: kInvalidArgument.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// Text from a file, fit for a terminal: control characters, those that turn the
// direction of writing, and invalid UTF-8 as \xNN.
std::string Printable(absl::string_view text);

// Prints "penstock: message" on stderr and returns the exit code that fits.
int Fail(const absl::Status& status);

// From now on SIGINT and SIGTERM only set a flag, the first time; the second
// kills. SIGPIPE becomes an error of the write.
void CatchInterrupts();
bool Interrupted();

// While one lives there is nothing to clean up, and an interrupt ends the
// process at once, with kExitInterrupted: a pipe may keep it waiting for ever.
class InterruptsEndAll {
 public:
  InterruptsEndAll();
  ~InterruptsEndAll();
  InterruptsEndAll(const InterruptsEndAll&) = delete;
  InterruptsEndAll& operator=(const InterruptsEndAll&) = delete;
};

// Shows progress on stderr, where that is a terminal: share, rate, time left.
// Silent otherwise. Its callback also cancels after an interrupt.
class ProgressMeter {
 public:
  // `verb`: "converting".
  explicit ProgressMeter(absl::string_view verb);
  ~ProgressMeter();  // wipes the line
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;

  // Lives as long as the meter.
  ProgressCallback callback();

 private:
  using Clock = std::chrono::steady_clock;

  void Show(const Progress& progress);

  std::string verb_;
  bool visible_;
  bool shown_ = false;
  int64_t done_bytes_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
};

}  // namespace penstock

#endif  // PENSTOCK_CLI_CONSOLE_H_
