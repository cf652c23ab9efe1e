// Reads any bytes as the .metadata of a directory, and all that it names. The
// directory has one file of three slices, whose places the first bytes of the
// input move.

#include <cstddef>
#include <cstdint>
#include <string>

#include "compat/dcp_testing.h"
#include "compat/file_kind.h"
#include "compat/fuzz_testing.h"
#include "compat/open_foreign.h"
#include "core/dtype.h"
#include "core/memory_file_system.h"

namespace {

void ReadDirectory(const std::string& metadata, const std::string& data) {
  penstock::MemoryFileSystem files;
  files.Put("/d/.metadata", metadata);
  files.Put("/d/__0_0.distcp", data);
  (void)penstock::ReadAll(penstock::OpenForeign(penstock::FileKind::kPickle,
                                                *files.OpenRead("/d/.metadata"),
                                                {{&files}}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const slices = new std::string[3]{
      penstock::SliceOf(penstock::TensorOfBytes(
          "abcdefgh", penstock::DType::kFloat32, {2, 1})),
      penstock::SliceOf(penstock::TensorOfBytes(
          "ijklmnopqrstuvwx", penstock::DType::kFloat32, {2, 2})),
      penstock::SliceOf("text")};
  std::string all;
  for (int i = 0; i < 3; ++i) all += slices[i];
  ReadDirectory(std::string(data, data + size), all);
  if (size < 12) return 0;
  // Boxes and places out of the input, in a metadata that is whole.
  const auto small = [&](int i) { return static_cast<int64_t>(data[i] % 8); };
  penstock::TestEntry entry{"t", {"a", "#1"}, {small(0), small(1)}, {}};
  int64_t at = 0;
  for (int i = 0; i < 2; ++i) {
    const auto length = static_cast<int64_t>(slices[i].size());
    entry.chunks.push_back({{small(2 + 4 * i), small(3 + 4 * i)},
                            {small(4 + 4 * i), small(5 + 4 * i)},
                            "__0_0.distcp",
                            at,
                            length,
                            {}});
    at += length;
  }
  ReadDirectory(penstock::DcpPickler().Pickle({entry}), all);
  return 0;
}
