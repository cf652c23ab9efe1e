// Feeds anything to the reader of safetensors files, reads all that it takes,
// and lays out what it read as a file again.

#include <cstddef>
#include <cstdint>

#include "compat/fuzz_testing.h"
#include "compat/safetensors_file.h"
#include "compat/safetensors_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const auto file = OpenSafetensors(FuzzedFile(data, size));
  if (!ReadAll(file).ok()) return 0;
  SafetensorsOptions options;
  options.metadata = file->metadata;
  options.file_name = "fuzz.safetensors";
  options.shard_bytes = size % 64;
  (void)PlanSafetensors(file->root, options).ok();
  return 0;
}
