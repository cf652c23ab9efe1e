// OpenPt: a torch.save zip file (torch 1.6 and later), without PyTorch.

#ifndef PENSTOCK_COMPAT_PT_FILE_H_
#define PENSTOCK_COMPAT_PT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compat/pickle_reader.h"
#include "compat/pt_source.h"
#include "compat/zip_reader.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

struct PtLimits {
  ZipLimits zip;
  PickleLimits pickle;
};

// An open checkpoint: its whole tree, its storages still in the file. The file
// is kept open as long as this or a source of it lives.
struct PtFile {
  // Storages are numbered in order of first reference and are in_file(), except
  // empty ones whose record is missing.
  Value root;
  std::string archive_name;  // the prefix of every record
  int64_t version = 0;       // of the container, 3 since torch 1.6
  // Every "module name" that the pickle names. None was looked up.
  std::vector<std::string> globals;
  // For people: what is odd but has one meaning.
  std::vector<std::string> warnings;

  // A reader of the storages, for one run.
  std::unique_ptr<PtSource> NewSource() const;

  std::shared_ptr<const RandomAccessFile> file;
  std::shared_ptr<const PtRecords> records;
};

// Reads directory, small records and data.pkl (deflated or not), and proves of
// every storage that its record exists, is stored, and has exactly the size
// that the pickle says.
//
// Errors, which name the file and begin with a name of pytorch-format.md 17:
//   kDataLoss           ReadZipDirectory's and ReadPickle's, zip_prefix,
//                       zip_crc_mismatch (of what is read here),
//                       version_missing, byteorder_bad, storage_missing,
//                       storage_size
//   kUnimplemented      unsupported_format (TorchScript, torch.package, PT2,
//   any
//                       other zip), version_unsupported, a deflated storage
//   kResourceExhausted  over `limits`
absl::StatusOr<PtFile> OpenPt(std::shared_ptr<const RandomAccessFile> file,
                              const PtLimits& limits = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT_FILE_H_
