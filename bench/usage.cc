#include "bench/usage.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

namespace penstock::bench {
namespace {

constexpr char kStatus[] = "/proc/self/status";

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// 5: the peak becomes what is resident now.
void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace

double Now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t StatusBytes(const char* status_path, const char* key) {
  std::ifstream status(status_path);
  const std::string wanted = std::string(key) + ":";
  std::string word;
  while (status >> word) {
    int64_t kibibytes = 0;
    if (word == wanted && status >> kibibytes) return kibibytes << 10;
    std::getline(status, word);
  }
  return 0;
}

UsageMeter::UsageMeter() {
  malloc_trim(0);
  ResetPeak();
  resident_bytes_ = StatusBytes(kStatus, "VmHWM");
  cpu_seconds_ = CpuSeconds();
  start_ = Now();
}

Usage UsageMeter::Stop() const {
  Usage usage;
  usage.seconds = Now() - start_;
  usage.cpu_seconds = CpuSeconds() - cpu_seconds_;
  usage.peak_bytes =
      std::max<int64_t>(0, StatusBytes(kStatus, "VmHWM") - resident_bytes_);
  return usage;
}

}  // namespace penstock::bench
