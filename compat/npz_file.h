// OpenNpy, OpenNpz: numpy's files, without numpy and without its pickles.

#ifndef PENSTOCK_COMPAT_NPZ_FILE_H_
#define PENSTOCK_COMPAT_NPZ_FILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "compat/zip_reader.h"
#include "core/file.h"

namespace penstock {

struct NpzOptions {
  ZipLimits zip;
  InflateOptions inflate;
};

// A .npy file: the root is the one tensor. Fortran order becomes strides,
// big-endian numbers are turned as they are read. Bytes behind the array
// (numpy.save may write several into one file) are ignored, with a warning. No
// checksum covers them: all bytes count as unverified.
//
// Errors: ReadNpyHeader's, with the file's path.
absl::StatusOr<ForeignFile> OpenNpy(
    std::shared_ptr<const RandomAccessFile> file);

// True where a zip file's first record is called *.npy, which none of torch's
// is: all that tells numpy's from torch's before the directory is read, which
// happens once that way. False for what is no zip file, an empty one included.
// Errors: the file's.
absl::StatusOr<bool> StartsAsNpz(const RandomAccessFile& file);

// An .npz file, a zip of .npy records, stored (numpy.savez) or deflated
// (savez_compressed): the root is a dict from name, without ".npy", to tensor,
// in the order of the directory. Names may differ by case alone. The CRC-32 of
// a record is checked with its numbers, header included.
//
// Errors, which name the file and the record:
//   kDataLoss           ReadZipDirectory's and ReadNpyHeader's; npy_trailing
//                       (bytes behind an array)
//   kUnimplemented      npz_member (a record that is no .npy), npy_dtype (an
//                       array of objects among them), and ReadZipDirectory's
//   kResourceExhausted  over options.zip; InflatedRecords' bounds
absl::StatusOr<ForeignFile> OpenNpz(
    std::shared_ptr<const RandomAccessFile> file,
    const NpzOptions& options = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NPZ_FILE_H_
