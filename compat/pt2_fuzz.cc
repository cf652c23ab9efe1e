// Reads any bytes as the config of an exported program.

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "compat/pt2_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::ReadPt2Config(
      absl::string_view(reinterpret_cast<const char*>(data), size))
      .status()
      .IgnoreError();
  return 0;
}
