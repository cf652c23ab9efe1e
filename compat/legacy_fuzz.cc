// Reads any bytes as a legacy stream or a bare pickle, and all that it holds.

#include <cstddef>
#include <cstdint>

#include "compat/fuzz_testing.h"
#include "compat/legacy_file.h"
#include "compat/nested_opener.h"
#include "compat/pickle_file.h"
#include "core/status_macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const auto file = FuzzedFile(data, size);
  const auto nested = NestedFiles(16 * static_cast<int64_t>(size));
  const PickleLimits limits = FuzzedPickleLimits();
  for (const auto& opened :
       {OpenLegacy(file, limits, nested), OpenPickle(file, limits, nested)}) {
    // Opening has proven where the storages lie.
    PENSTOCK_CHECK(!opened.ok() || ReadAll(opened).ok());
  }
  return 0;
}
