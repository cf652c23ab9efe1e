// Feeds anything to the reader of zip checkpoints, and reads all that it takes:
// stored, deflated, TorchScript, archives in archives.

#include <cstddef>
#include <cstdint>

#include "compat/fuzz_testing.h"
#include "compat/nested_opener.h"
#include "compat/pt_file.h"
#include "core/memory_file_system.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  MemoryFileSystem spool;
  PtLimits limits;
  limits.pickle = FuzzedPickleLimits();
  limits.inflate.files = &spool;
  limits.inflate.max_bytes = 1 << 22;
  const auto nested = NestedFiles(16 * static_cast<int64_t>(size));
  (void)ReadAll(OpenPt(FuzzedFile(data, size), limits, nested));
  return 0;
}
