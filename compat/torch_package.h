// OpenTorchPackage: what torch.package wrote.

#ifndef PENSTOCK_COMPAT_TORCH_PACKAGE_H_
#define PENSTOCK_COMPAT_TORCH_PACKAGE_H_

#include "absl/status/statusor.h"
#include "compat/archive_storages.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "compat/pickle_reader.h"

namespace penstock {

// A dict from the name of each record that is a pickle ("pkg/resource.pkl"), in
// the order of the directory, to what it holds. Storages that several pickles
// name are one. Objects that only the package's own code can make
// ('reduce_package') stay inert; that and TorchScript in it are warnings.
// `archive` was found to be a package.
//
// Errors, without the file's name:
//   kDataLoss           ReadPickle's, storage_missing, storage_size
//   kResourceExhausted  over the limits
absl::StatusOr<ForeignFile> OpenTorchPackage(const TorchArchive& archive,
                                             bool big_endian,
                                             const PickleLimits& limits,
                                             const InflateOptions& inflate);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TORCH_PACKAGE_H_
