#include "cli/console.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace penstock {
namespace {

constexpr char kInterrupted[] = "penstock: interrupted\n";

// Set by the handler on whichever thread takes the signal, read by the pump's.
std::atomic<bool> interrupted = false;
std::atomic<bool> interrupts_end_all = false;
static_assert(std::atomic<bool>::is_always_lock_free, "for a signal handler");

void OnSignal(int) {
  interrupted = true;
  if (!interrupts_end_all) return;
  const ssize_t ignored =
      write(STDERR_FILENO, kInterrupted, sizeof kInterrupted - 1);
  static_cast<void>(ignored);
  _exit(kExitInterrupted);
}

// Length of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t Utf8Length(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = length > 1 ? static_cast<uint8_t>(text[1]) : 0;
  if (lead == 0xe0 && second < 0xa0) return 0;
  if (lead == 0xed && second >= 0xa0) return 0;  // a surrogate
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second >= 0x90) return 0;
  if (lead == 0xc2 && second < 0xa0) return 0;  // a C1 control character
  return length;
}

// U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069: they end lines, or show
// what follows in another order.
bool IsTurning(absl::string_view character) {
  if (character.size() != 3 || character[0] != '\xe2') return false;
  const auto last = static_cast<uint8_t>(character[2]);
  if (character[1] == '\x80') {
    return last == 0x8e || last == 0x8f || (last >= 0xa8 && last <= 0xae);
  }
  return character[1] == '\x81' && last >= 0xa6 && last <= 0xa9;
}

}  // namespace

std::string HumanBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%d B", bytes);
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string HumanRate(int64_t bytes, double seconds) {
  if (seconds <= 0) return "-";
  return absl::StrCat(HumanBytes(std::llround(bytes / seconds)), "/s");
}

std::string HumanTime(double seconds) {
  if (seconds < 60) return absl::StrFormat("%.1f s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60,
                         whole % 60);
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  const size_t digits = lower.find_first_not_of("0123456789.");
  const std::string unit =
      digits == std::string::npos ? "" : lower.substr(digits);
  constexpr struct {
    const char* name;
    double factor;
  } kUnits[] = {
      {"", 1},         {"b", 1},        {"kb", 1e3},     {"mb", 1e6},
      {"gb", 1e9},     {"tb", 1e12},    {"k", 0x1p10},   {"m", 0x1p20},
      {"g", 0x1p30},   {"t", 0x1p40},   {"kib", 0x1p10}, {"mib", 0x1p20},
      {"gib", 0x1p30}, {"tib", 0x1p40},
  };
  double value = 0;
  if (absl::SimpleAtod(lower.substr(0, digits), &value)) {
    for (const auto& [name, factor] : kUnits) {
      const double bytes = value * factor;
      if (unit == name && bytes >= 1 && bytes < 0x1p62) {
        return static_cast<int64_t>(bytes);
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", Printable(text), "\" is no size: write 256MiB, 1.5GB or 4096"));
}

std::string Printable(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto first = static_cast<uint8_t>(text[0]);
    if (length == 0 || first < 0x20 || first == 0x7f ||
        IsTurning(text.substr(0, length))) {
      absl::StrAppendFormat(&result, "\\x%02x", first);
      text.remove_prefix(1);
    } else {
      result.append(text.data(), length);
      text.remove_prefix(length);
    }
  }
  return result;
}

int Fail(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kCancelled) {
    std::fputs(kInterrupted, stderr);
    return kExitInterrupted;
  }
  std::fprintf(stderr, "penstock: %s\n", Printable(status.message()).c_str());
  return kExitError;
}

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

bool Interrupted() { return interrupted; }

InterruptsEndAll::InterruptsEndAll() { interrupts_end_all = true; }
InterruptsEndAll::~InterruptsEndAll() { interrupts_end_all = false; }

ProgressMeter::ProgressMeter(absl::string_view verb)
    : verb_(verb), visible_(isatty(STDERR_FILENO) == 1) {}

ProgressMeter::~ProgressMeter() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

ProgressCallback ProgressMeter::callback() {
  return [this](const Progress& progress) {
    if (visible_) Show(progress);
    return Interrupted() ? Proceed::kCancel : Proceed::kContinue;
  };
}

void ProgressMeter::Show(const Progress& progress) {
  const Clock::time_point now = Clock::now();
  // What goes through a file twice begins again.
  if (progress.done_bytes < done_bytes_) start_ = now;
  done_bytes_ = progress.done_bytes;
  // The first half second is silent: short work needs no meter.
  if (now - start_ < std::chrono::milliseconds(500)) return;
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share =
      progress.total_bytes > 0
          ? static_cast<double>(progress.done_bytes) / progress.total_bytes
          : 1;
  const double left = share > 0 ? seconds / share - seconds : 0;
  std::fprintf(
      stderr, "\r%s %3.0f %%  %s of %s  %s  %s left\033[K", verb_.c_str(),
      100 * share, HumanBytes(progress.done_bytes).c_str(),
      HumanBytes(progress.total_bytes).c_str(),
      HumanRate(progress.done_bytes, seconds).c_str(), HumanTime(left).c_str());
  std::fflush(stderr);
}

}  // namespace penstock
