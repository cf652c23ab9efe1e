// Reads any bytes as a tar file of torch, and all that it holds. Bytes after
// bytes of the input become members, so that a checksum stops nothing.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "compat/fuzz_testing.h"
#include "compat/tar_file.h"
#include "compat/tar_testing.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace {

void ReadAsTar(std::string bytes) {
  const auto file =
      penstock::OpenTar(penstock::FileFromString(std::move(bytes), "fuzz"),
                        penstock::FuzzedPickleLimits());
  // Opening has proven where the storages lie.
  PENSTOCK_CHECK(!file.ok() || penstock::ReadAll(file).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(data, data + size);
  ReadAsTar(input);
  // Two numbers cut it into storages, tensors and pickle.
  if (size < 4) return 0;
  const size_t first = 4 + (data[0] | size_t{data[1]} << 8) % (size - 3);
  const size_t second =
      first + (data[2] | size_t{data[3]} << 8) % (size - first + 1);
  ReadAsTar(
      penstock::Tarred("sys_info", std::string("\x80\x02}X\x10\0\0\0", 8) +
                                       "protocol_versionM\xe8\x03s.") +
      penstock::Tarred("storages", input.substr(4, first - 4)) +
      penstock::Tarred("tensors", input.substr(first, second - first)) +
      penstock::Tarred("pickle", input.substr(second)));
  return 0;
}
