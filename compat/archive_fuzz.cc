// Packs any bytes as the records of a zip file of torch's and reads what they
// are: torch.save, TorchScript, torch.package, exported programs of both kinds.
//
// A record is a byte for its name, two for its size, then its bytes. Checksums
// and directory are right, so that what is behind them is what is tried.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "compat/fuzz_testing.h"
#include "compat/nested_opener.h"
#include "compat/pt_file.h"
#include "compat/zip_testing.h"
#include "core/memory_file_system.h"

namespace penstock {
namespace {

// Numbers of the corpus: new ones go to the end.
constexpr absl::string_view kNames[] = {
    "a/data.pkl",
    "a/version",
    "a/byteorder",
    "a/.storage_alignment",
    "a/data/0",
    "a/data/1",
    "a/constants.pkl",
    "a/constants/0",
    "a/code/__torch__.py",
    "a/code/__torch__/m.py",
    "a/.data/version",
    "a/.data/extern_modules",
    "a/.data/0.storage",
    "a/.data/1.storage",
    "a/.data/ts_code/0/data.pkl",
    "a/p/b.pkl",
    "a/p/c",
    "a/archive_format",
    "a/data/weights/m_weights_config.json",
    "a/data/weights/n_model_param_config.json",
    "a/data/weights/weight_0",
    "a/data/weights/weight_1",
    "a/data/constants/m_constants_config.json",
    "a/data/constants/tensor_0",
    "serialized_exported_program.json",
    "serialized_state_dict.pt",
    "serialized_constants.pt",
    "a/model.json",
};
constexpr int kDeflate = 0x80;

std::string Packed(absl::string_view input) {
  std::vector<TestRecord> records;
  while (input.size() >= 3) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(input[i]); };
    const int name = byte(0);
    const size_t size = byte(1) | size_t{byte(2)} << 8;
    input.remove_prefix(3);
    const std::string payload(input.substr(0, size));
    input.remove_prefix(payload.size());
    records.push_back({std::string(kNames[name % kDeflate % std::size(kNames)]),
                       payload, (name & kDeflate) != 0});
  }
  return TestZip(records).bytes();
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  std::string bytes =
      Packed(absl::string_view(reinterpret_cast<const char*>(data), size));
  const auto nested = NestedFiles(16 * static_cast<int64_t>(bytes.size()));
  MemoryFileSystem spool;
  PtLimits limits;
  limits.pickle = FuzzedPickleLimits();
  limits.inflate.files = &spool;
  limits.inflate.max_bytes = 1 << 22;
  (void)ReadAll(
      OpenPt(FileFromString(std::move(bytes), "fuzz"), limits, nested));
  return 0;
}
