#include "compat/open_foreign.h"

#include <string>
#include <utility>

#include "compat/pt_file.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<ForeignFile> OpenForeign(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file) {
  const std::string path = file->path();
  switch (kind) {
    case FileKind::kZip:
      return OpenPt(std::move(file));
    default:
      return Annotate(RefusalOf(kind), path);
  }
}

}  // namespace penstock
