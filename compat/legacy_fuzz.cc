// Reads any bytes as a legacy stream or a bare pickle, and all that it holds.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/legacy_file.h"
#include "compat/nested_opener.h"
#include "compat/pickle_file.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace {

void ReadAll(const absl::StatusOr<penstock::ForeignFile>& file) {
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::PickleLimits limits;
  limits.max_opcodes = 100'000;
  limits.max_nodes = 100'000;
  limits.max_string_bytes = 1 << 20;
  const std::shared_ptr<const penstock::RandomAccessFile> file =
      penstock::FileFromString(std::string(data, data + size), "fuzz");
  const auto nested = penstock::NestedFiles(16 * static_cast<int64_t>(size));
  ReadAll(penstock::OpenLegacy(file, limits, nested));
  ReadAll(penstock::OpenPickle(file, limits, nested));
  return 0;
}
