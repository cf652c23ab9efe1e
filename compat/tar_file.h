// OpenTar: the tar file that torch.save wrote from 0.1.1 to 0.1.9.

#ifndef PENSTOCK_COMPAT_TAR_FILE_H_
#define PENSTOCK_COMPAT_TAR_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/pickle_reader.h"
#include "core/file.h"

namespace penstock {

// Reads the members sys_info, storages, tensors and pickle, wherever they are
// in the file, all but the bytes of storages (pytorch-format.md 10). Other
// members are named in a warning. A storage that is a view of another stays
// that part for tensors, and is a storage of its own where it stands alone. A
// tensor without dimensions is an empty one: scalars came with torch 0.4.
//
// Errors, which name the file and begin with a name of pytorch-format.md 17:
//   kDataLoss           ReadTarDirectory's and ReadPickle's, tar_bad,
//                       tensor_bounds
//   kUnimplemented      a tar file without torch's members, big-endian numbers
//   kResourceExhausted  over `limits`
absl::StatusOr<ForeignFile> OpenTar(
    std::shared_ptr<const RandomAccessFile> file,
    const PickleLimits& limits = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TAR_FILE_H_
