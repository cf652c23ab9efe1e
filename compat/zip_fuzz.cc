// Feeds anything to the reader of zip checkpoints, and reads all that it takes:
// stored, deflated, TorchScript.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/pt_file.h"
#include "core/memory_file_system.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  MemoryFileSystem spool;
  PtLimits limits;
  limits.pickle.max_opcodes = 100'000;
  limits.pickle.max_pickle_bytes = 1 << 20;
  limits.inflate.files = &spool;
  limits.inflate.max_bytes = 1 << 24;
  const auto pt =
      OpenPt(FileFromString(std::string(data, data + size), "fuzz.pt"), limits);
  if (!pt.ok()) return 0;
  const auto source = pt->new_source();
  const Plan plan = PlanInOrder(pt->root.graph()->storages());
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    if (!source->Bytes(plan, chunk, slot, nullptr).ok()) return 0;
  }
  return 0;
}
