// Reads any bytes as a tar file of torch, and all that it holds. Bytes after
// bytes of the input become members, so that a checksum stops nothing.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/tar_file.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace {

void ReadAll(std::string bytes) {
  penstock::PickleLimits limits;
  limits.max_opcodes = 100'000;
  limits.max_nodes = 100'000;
  limits.max_string_bytes = 1 << 20;
  const auto file = penstock::OpenTar(
      penstock::FileFromString(std::move(bytes), "fuzz"), limits);
  if (!file.ok()) return;
  const penstock::Plan plan =
      penstock::PlanInOrder(file->root.graph()->storages());
  const auto source = file->new_source();
  penstock::Slot slot;
  for (const penstock::Chunk& chunk : plan.chunks) {
    // Opening has proven where they lie.
    PENSTOCK_CHECK(source->Bytes(plan, chunk, slot, nullptr).ok());
  }
}

// A ustar header with a right checksum.
std::string Member(const char* name, const std::string& bytes) {
  std::string header(512, '\0');
  header.replace(0, std::char_traits<char>::length(name), name);
  char octal[13];
  std::snprintf(octal, sizeof octal, "%011zo", bytes.size());
  header.replace(124, 11, octal);
  header.replace(257, 5, "ustar");
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char byte : header) sum += static_cast<uint8_t>(byte);
  std::snprintf(octal, sizeof octal, "%06o", sum);
  header.replace(148, 6, octal);
  header[154] = '\0';
  return header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(data, data + size);
  ReadAll(input);
  // Two numbers cut it into storages, tensors and pickle.
  if (size < 4) return 0;
  const size_t first = 4 + (data[0] | size_t{data[1]} << 8) % (size - 3);
  const size_t second =
      first + (data[2] | size_t{data[3]} << 8) % (size - first + 1);
  ReadAll(Member("sys_info", std::string("\x80\x02}X\x10\0\0\0", 8) +
                                 "protocol_versionM\xe8\x03s.") +
          Member("storages", input.substr(4, first - 4)) +
          Member("tensors", input.substr(first, second - first)) +
          Member("pickle", input.substr(second)));
  return 0;
}
