// OpenLegacy: the stream that torch.save wrote from 0.1.10 to 1.5, and still
// writes with _use_new_zipfile_serialization=False.

#ifndef PENSTOCK_COMPAT_LEGACY_FILE_H_
#define PENSTOCK_COMPAT_LEGACY_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compat/foreign_file.h"
#include "compat/nested_storages.h"
#include "compat/pickle_reader.h"
#include "core/file.h"

namespace penstock {

// The first pickle of every such stream, 0x1950A86A20F9469CFC6C: two's
// complement, little-endian.
inline constexpr absl::string_view kLegacyMagic(
    "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
inline constexpr int64_t kLegacyVersion = 1001;

// Reads the five pickles through a window and the count before each storage,
// no storage (pytorch-format.md 9); pickle protocols 1 to 5. What follows the
// last storage, another stream perhaps, is a warning. A storage that old files
// made of a part of another stays that part for tensors, and is a storage of
// its own where it stands alone.
//
// Such files are little-endian on every machine, but big-endian ones left
// untyped storages as they were: those are turned around, by the type of their
// first tensor. `open_nested` is for storages in bytes; null: they stay inert.
//
// Errors, which name the file and begin with a name of pytorch-format.md 17:
//   kDataLoss           ReadPickle's, legacy_magic, legacy_version,
//                       legacy_keys, legacy_size (says how many bytes are
//                       missing)
//   kUnimplemented      complex numbers of a big-endian machine, which torch
//                       wrote in a broken order
//   kResourceExhausted  over `limits`
absl::StatusOr<ForeignFile> OpenLegacy(
    std::shared_ptr<const RandomAccessFile> file,
    const PickleLimits& limits = {}, NestedOpener open_nested = nullptr);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_LEGACY_FILE_H_
