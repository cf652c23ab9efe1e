#include "compat/pickle_reader.h"

#include "compat/pickle_machine.h"

namespace penstock {

absl::StatusOr<PickleResult> ReadPickle(absl::Span<const uint8_t> pickle,
                                        const StorageResolver& storages,
                                        const PickleLimits& limits) {
  return pickle::PickleMachine(pickle, storages, limits).Run();
}

}  // namespace penstock
