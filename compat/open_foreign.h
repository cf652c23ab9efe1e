// OpenForeign: any file that Penstock reads and did not invent.

#ifndef PENSTOCK_COMPAT_OPEN_FOREIGN_H_
#define PENSTOCK_COMPAT_OPEN_FOREIGN_H_

#include <memory>

#include "absl/status/statusor.h"
#include "compat/file_kind.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "core/file.h"

namespace penstock {

// Opens `file`, which DetectKind found to be of `kind`. `inflate` is for
// deflated tensors, when they are read. Errors: those of the format's reader;
// RefusalOf(kind), with the file's path, where there is none.
absl::StatusOr<ForeignFile> OpenForeign(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file,
    const InflateOptions& inflate = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_OPEN_FOREIGN_H_
