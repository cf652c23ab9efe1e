// OpenPickle: what pickle.dump wrote of tensors, without torch.save.

#ifndef PENSTOCK_COMPAT_PICKLE_FILE_H_
#define PENSTOCK_COMPAT_PICKLE_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/nested_storages.h"
#include "compat/pickle_reader.h"
#include "core/file.h"

namespace penstock {

// Reads the pickle at the front of the file through a window, any protocol.
// What follows it is a warning. Its storages are legacy streams in bytes
// objects; protocols from 3 on have them in the file as they are.
//
// Errors, which name the file: ReadPickle's, open_nested's.
absl::StatusOr<ForeignFile> OpenPickle(
    std::shared_ptr<const RandomAccessFile> file,
    const PickleLimits& limits = {}, NestedOpener open_nested = nullptr);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_FILE_H_
