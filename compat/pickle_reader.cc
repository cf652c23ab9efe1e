#include "compat/pickle_reader.h"

#include "compat/pickle_machine.h"

namespace penstock {

absl::StatusOr<PickleResult> ReadPickle(const PickleInput& input,
                                        const PickleSurroundings& around,
                                        const PickleLimits& limits) {
  return pickle::PickleMachine(input, around, limits).Run();
}

absl::StatusOr<PickleResult> ReadPickle(absl::Span<const uint8_t> pickle,
                                        const StorageResolver& storages,
                                        const PickleLimits& limits) {
  PickleInput input;
  input.bytes = pickle;
  PickleSurroundings around;
  around.storages = storages;
  return ReadPickle(input, around, limits);
}

}  // namespace penstock
