// Reads any bytes as a pickle, writes what came out and reads that again. From
// a file, where every opcode is taken by itself, the same comes out.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/pickle_writer.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using penstock::PickleLimits;
  PickleLimits limits;
  limits.max_opcodes = 100'000;
  limits.max_nodes = 100'000;
  limits.max_string_bytes = 1 << 20;
  const auto read = penstock::ReadPickle(absl::MakeConstSpan(data, size),
                                         penstock::StoragesInFile(), limits);
  penstock::PickleInput input;
  input.file = penstock::FileFromString(
      std::string(reinterpret_cast<const char*>(data), size), "pickle");
  penstock::PickleSurroundings around;
  around.storages = penstock::StoragesInFile();
  const auto singly = penstock::ReadPickle(input, around, limits);
  // Tensors that are taken at once need fewer nodes.
  PENSTOCK_CHECK(read.status() == singly.status() ||
                 absl::IsResourceExhausted(singly.status()));
  if (!read.ok()) return 0;
  penstock::PickleWriteOptions options;
  options.max_bytes = 4 << 20;
  const auto written = penstock::WritePickle(read->root, options);
  if (!written.ok()) return 0;
  if (singly.ok()) {
    const auto other = penstock::WritePickle(singly->root, options);
    PENSTOCK_CHECK(other.ok() && other->pickle == written->pickle);
  }
  const auto again = penstock::ReadText(written->pickle);
  PENSTOCK_CHECK(again.ok());
  const auto rewritten = penstock::WritePickle(again->root, options);
  PENSTOCK_CHECK(rewritten.ok() && rewritten->pickle == written->pickle);
  return 0;
}
