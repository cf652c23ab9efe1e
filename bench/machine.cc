#include "bench/machine.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/usage.h"

namespace penstock::bench {
namespace {

std::string ModelName() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    const size_t colon = line.find(": ");
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "?";
}

// A line of mountinfo: id, parent, major:minor, root, mount point, options,
// optional fields, "-", type, device, options of the file system.
void DescribeMount(const std::string& directory, Machine& machine) {
  struct stat info;
  if (stat(directory.c_str(), &info) != 0) return;
  const std::string device =
      absl::StrCat(major(info.st_dev), ":", minor(info.st_dev));
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string id, parent, number, root, point, options, word, type, from;
    std::string more;
    words >> id >> parent >> number >> root >> point >> options;
    if (number != device) continue;
    while (words >> word && word != "-") {
    }
    words >> type >> from >> more;
    machine.file_system = type;
    machine.mount_options = absl::StrCat(options, " ", more);
    return;
  }
}

}  // namespace

Machine DescribeMachine(const std::string& directory) {
  Machine machine;
  machine.cores = static_cast<int>(std::thread::hardware_concurrency());
  machine.processor = ModelName();
  machine.memory_bytes = StatusBytes("/proc/meminfo", "MemTotal");
  utsname name;
  machine.kernel =
      uname(&name) == 0 ? absl::StrCat(name.sysname, " ", name.release) : "?";
  machine.file_system = "?";
  machine.mount_options = "?";
  DescribeMount(directory, machine);
  return machine;
}

int64_t AvailableMemory() {
  const int64_t available = StatusBytes("/proc/meminfo", "MemAvailable");
  return available > 0 ? available : INT64_MAX;
}

}  // namespace penstock::bench
