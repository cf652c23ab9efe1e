// What fuzz targets of foreign formats share.

#ifndef PENSTOCK_COMPAT_FUZZ_TESTING_H_
#define PENSTOCK_COMPAT_FUZZ_TESTING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/foreign_file.h"
#include "compat/pickle_reader.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace penstock {

inline std::shared_ptr<const RandomAccessFile> FuzzedFile(const uint8_t* data,
                                                          size_t size) {
  return FileFromString(std::string(data, data + size), "fuzz");
}

// What an input of some kilobytes can need; less is tried per second with more.
inline PickleLimits FuzzedPickleLimits() {
  PickleLimits limits;
  limits.max_opcodes = 100'000;
  limits.max_nodes = 100'000;
  limits.max_string_bytes = 1 << 20;
  limits.max_pickle_bytes = 1 << 20;
  return limits;
}

// Reads the bytes of all storages.
inline absl::Status ReadAll(const absl::StatusOr<ForeignFile>& file) {
  PENSTOCK_RETURN_IF_ERROR(file.status());
  const auto source = file->new_source();
  const Plan plan = PlanInOrder(file->root.graph()->storages());
  Slot slot;
  for (const Chunk& chunk : plan.chunks) {
    PENSTOCK_RETURN_IF_ERROR(
        source->Bytes(plan, chunk, slot, nullptr).status());
  }
  return absl::OkStatus();
}

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FUZZ_TESTING_H_
