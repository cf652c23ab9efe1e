// DiagnoseFile: what a file is that could not be opened, and what to do.

#ifndef PENSTOCK_COMPAT_DIAGNOSIS_H_
#define PENSTOCK_COMPAT_DIAGNOSIS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compat/foreign_file.h"
#include "core/file.h"

namespace penstock {

// For people, but for `kind`. Text of the file is quoted as it is: escape it.
struct Diagnosis {
  // The name of the file's kind (TextOf), or finer: "torchscript",
  // "json-index", "encrypted-zip".
  std::string kind;
  std::string what;  // "a Git LFS pointer, not the file itself"
  std::vector<std::string>
      findings;                     // what is wrong with it, most telling first
  std::vector<std::string> advice;  // what to do next
  // Names of files beside it that it consists of.
  std::vector<std::string> parts;
};

// What `file` is and why it is no checkpoint that can be read: opening it gave
// `error`. Beyond the formats' own tables it reads at most some 100 MiB.
// Errors: those of reading.
absl::StatusOr<Diagnosis> DiagnoseFile(const RandomAccessFile& file,
                                       const absl::Status& error);

// Bytes of an open file's storages for which it has no checksum.
int64_t UncheckedBytes(const ForeignFile& file);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_DIAGNOSIS_H_
