#include "compat/open_foreign.h"

#include <string>
#include <utility>

#include "compat/legacy_file.h"
#include "compat/nested_opener.h"
#include "compat/npz_file.h"
#include "compat/pickle_file.h"
#include "compat/pt_file.h"
#include "compat/safetensors_file.h"
#include "compat/tar_file.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<ForeignFile> OpenForeign(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file,
    const InflateOptions& inflate) {
  const std::string path = file->path();
  const NestedOpener nested = NestedFiles(NestedBudgetOf(file->size_bytes()));
  switch (kind) {
    case FileKind::kZip: {
      PENSTOCK_ASSIGN_OR_RETURN(const bool is_npz, StartsAsNpz(*file));
      if (is_npz) return OpenNpz(std::move(file), {{}, inflate});
      return OpenPt(std::move(file), {{}, {}, inflate}, nested);
    }
    case FileKind::kLegacyStream:
      return OpenLegacy(std::move(file), {}, nested);
    case FileKind::kTar:
      return OpenTar(std::move(file));
    case FileKind::kPickle:
      return OpenPickle(std::move(file), {}, nested);
    case FileKind::kNpy:
      return OpenNpy(std::move(file));
    case FileKind::kSafetensors:
      return OpenSafetensors(std::move(file));
    case FileKind::kJson: {
      FileSystem& files =
          inflate.files == nullptr ? PosixFileSystem() : *inflate.files;
      return OpenSafetensorsIndex(files, *file);
    }
    default:
      return Annotate(RefusalOf(kind), path);
  }
}

}  // namespace penstock
