// CreateLegacySink: writes the stream of torch.save before 1.6.

#ifndef PENSTOCK_COMPAT_LEGACY_SINK_H_
#define PENSTOCK_COMPAT_LEGACY_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_sink.h"
#include "compat/pickle_writer.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

// Lays out what torch.save 2.13 writes of `root` with
// _use_new_zipfile_serialization=False, byte for byte where WritePickle is
// exact and but for the keys of the storages: torch's are addresses, ours are
// numbers in order of first mention. As in torch, the storages follow in the
// order of their keys as text: 0, 1, 10, 2. `options.persistent_ids` is not
// looked at. `file` is new and outlives the sink; nothing is written yet.
//
// Errors: WritePickle's; kInvalidArgument, naming all of them, for tensors that
// need an UntypedStorage (float8, uint16 and the like, and bytes that are
// viewed as several types): torch cannot load those from such a stream.
absl::StatusOr<std::unique_ptr<ForeignSink>> CreateLegacySink(
    WritableFile& file, const Value& root, PickleWriteOptions options = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_LEGACY_SINK_H_
