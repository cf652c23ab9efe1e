// OpenPt2: exported programs (.pt2).

#ifndef PENSTOCK_COMPAT_PT2_FILE_H_
#define PENSTOCK_COMPAT_PT2_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/archive_storages.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "compat/nested_storages.h"
#include "compat/zip_reader.h"
#include "core/file.h"

namespace penstock {

// torch.export.save since 2.8: a dict of the state_dict's tensors, and of the
// constants' under "constants.NAME"; views and ties of one record share it. Of
// several programs in one file each has a dict of its own. The program itself
// and its sample inputs are not read; constants that are no tensors are a
// warning. `archive` was found to be one.
//
// Errors, without the file's name:
//   kDataLoss       ReadPt2Config's, storage_missing, tensor_bounds
//   kUnimplemented  unsupported_format: tensors that are pickles (subclasses),
//                   ReadPt2Config's
absl::StatusOr<ForeignFile> OpenPt2(const TorchArchive& archive,
                                    bool big_endian,
                                    const InflateOptions& inflate);

// torch.export.save up to 2.7: a zip file with serialized_state_dict.pt and
// serialized_constants.pt in it, whole files of torch.save, which `open` opens.
// Errors: the opener's; kUnimplemented (unsupported_format) where they are
// deflated, or older still (.json).
absl::StatusOr<ForeignFile> OpenOldPt2(
    std::shared_ptr<const RandomAccessFile> file, const ZipDirectory& directory,
    const NestedOpener& open);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT2_FILE_H_
