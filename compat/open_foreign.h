// OpenForeign: any file that Penstock reads and did not invent.

#ifndef PENSTOCK_COMPAT_OPEN_FOREIGN_H_
#define PENSTOCK_COMPAT_OPEN_FOREIGN_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compat/dcp_directory.h"
#include "compat/file_kind.h"
#include "compat/foreign_file.h"
#include "compat/inflated_records.h"
#include "core/file.h"

namespace penstock {

struct ForeignOptions {
  // Of deflated tensors, when they are read. Its file system is that of all
  // files that a checkpoint consists of.
  InflateOptions inflate;
  DcpKeys dcp_keys = DcpKeys::kAsTheyAre;
};

// The name of the file in a directory that makes it a checkpoint, to be opened
// in its place.
inline constexpr absl::string_view kDcpMetadataName = ".metadata";

// Opens `file`, which DetectKind found to be of `kind`, and the files beside it
// that it names. Errors: those of the format's reader; RefusalOf(kind), with
// the file's path, where there is none.
absl::StatusOr<ForeignFile> OpenForeign(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file,
    const ForeignOptions& options = {});

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_OPEN_FOREIGN_H_
