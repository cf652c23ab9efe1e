// OpenPt: a zip file of PyTorch's: torch.save (1.6 and later), TorchScript
// (torch.jit.save), torch.package, exported programs (.pt2), without PyTorch.

#ifndef PENSTOCK_COMPAT_PT_FILE_H_
#define PENSTOCK_COMPAT_PT_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "compat/nested_storages.h"
#include "compat/pickle_reader.h"
#include "compat/zip_reader.h"
#include "core/file.h"

namespace penstock {

struct PtLimits {
  ZipLimits zip;
  PickleLimits pickle;
  InflateOptions inflate;  // of deflated tensors, when they are read
};

// Reads directory, small records and data.pkl (deflated or not), and proves of
// every storage that its record exists and has exactly the size that the pickle
// says. A package or exported program is what torch_package.h and pt2_file.h
// say. Deflated storages (torch.save makes none, re-packing does) are inflated
// by InflatedRecords when they are read, and are no extents. The root of a
// TorchScript archive is what ScriptStateDict makes of it. `open_nested` is for
// storages in bytes; null: they stay inert.
//
// Errors, which name the file and begin with a name of pytorch-format.md 17:
//   kDataLoss           ReadZipDirectory's and ReadPickle's, zip_prefix,
//                       zip_crc_mismatch (of what is read here),
//                       version_missing, byteorder_bad, storage_missing,
//                       storage_size
//   kUnimplemented      unsupported_format (any other zip),
//                       version_unsupported
//   kResourceExhausted  over `limits`, zip_bomb; of deflated pickles over 64
//                       bytes and 16 nodes for each byte in the file (and some)
absl::StatusOr<ForeignFile> OpenPt(std::shared_ptr<const RandomAccessFile> file,
                                   const PtLimits& limits = {},
                                   NestedOpener open_nested = nullptr);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT_FILE_H_
