// Feeds anything to the reader of safetensors files, reads all that it takes,
// and lays out what it read as a file again.

#include <cstddef>
#include <cstdint>
#include <string>

#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/safetensors_file.h"
#include "compat/safetensors_writer.h"
#include "core/memory_file_system.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const auto file = OpenSafetensors(
      FileFromString(std::string(data, data + size), "fuzz.safetensors"));
  if (!file.ok()) return 0;
  const auto source = file->new_source();
  const Plan plan = PlanInOrder(file->root.graph()->storages());
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    if (!source->Bytes(plan, chunk, slot, nullptr).ok()) return 0;
  }
  SafetensorsOptions options;
  options.metadata = file->metadata;
  options.file_name = "fuzz.safetensors";
  options.shard_bytes = size % 64;
  (void)PlanSafetensors(file->root, options).ok();
  return 0;
}
