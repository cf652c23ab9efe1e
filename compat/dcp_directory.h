// OpenDcp: a directory of torch.distributed.checkpoint as one checkpoint.

#ifndef PENSTOCK_COMPAT_DCP_DIRECTORY_H_
#define PENSTOCK_COMPAT_DCP_DIRECTORY_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "core/file.h"

namespace penstock {

// What a key of a dict was, which the metadata has as text whatever it was.
enum class DcpKeys {
  kAsTheyAre,  // text
  // Decimal numbers are ints in a dict that stands under "state", as those of
  // an optimizer are.
  kIntsUnderState,
};

// Opens one slice of a file: what torch.save wrote.
using SliceOpener = std::function<absl::StatusOr<ForeignFile>(
    std::shared_ptr<const RandomAccessFile>)>;

// `metadata` is the .metadata of the directory, read as a pickle, for which
// IsDcpMetadata holds. The tree is the one that was saved, as far as the
// metadata has it: tuples and empty containers are gone there, ties too. A
// tensor of several chunks is put together while it is read, as its chunks lie
// in memory (their order of dimensions).
//
// Opens every slice; few files stay open (compat/file_pool.h), so `files` must
// outlive what is read.
//
// Errors, which name the entry and its file:
//   ReadDcpMetadata's, the opener's
//   kDataLoss           storage_missing (no such file), storage_size (a slice
//                       outside its file, or within another one), tensor_bounds
//                       (chunks that overlap or are missing), tensor_args (a
//                       chunk that is no tensor of its size),
//                       storage_dtype_conflict
//   kUnimplemented      chunks of packed numbers, or in unlike orders
//   kResourceExhausted  pickle_limit
absl::StatusOr<ForeignFile> OpenDcp(FileSystem& files,
                                    const ForeignFile& metadata, DcpKeys keys,
                                    const SliceOpener& open);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_DCP_DIRECTORY_H_
