// Feeds anything to the readers of .npy and .npz, and reads all that they take.

#include <cstddef>
#include <cstdint>

#include "compat/fuzz_testing.h"
#include "compat/npz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const auto file = FuzzedFile(data, size);
  (void)ReadAll(OpenNpy(file));
  (void)ReadAll(OpenNpz(file));
  return 0;
}
