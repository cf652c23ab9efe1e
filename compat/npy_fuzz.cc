// Feeds anything to the readers of .npy and .npz, and reads all that they take.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/npz_file.h"
#include "core/memory_file_system.h"

namespace penstock {
namespace {

void ReadAll(const absl::StatusOr<ForeignFile>& foreign) {
  if (!foreign.ok()) return;
  const auto source = foreign->new_source();
  const Plan plan = PlanInOrder(foreign->root.graph()->storages());
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    if (!source->Bytes(plan, chunk, slot, nullptr).ok()) return;
  }
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::shared_ptr<const RandomAccessFile> file =
      FileFromString(std::string(data, data + size), "fuzz");
  ReadAll(OpenNpy(file));
  ReadAll(OpenNpz(file));
  return 0;
}
