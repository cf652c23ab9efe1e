#include "compat/open_foreign.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compat/dcp_metadata.h"
#include "compat/legacy_file.h"
#include "compat/nested_opener.h"
#include "compat/npz_file.h"
#include "compat/pickle_file.h"
#include "compat/pickled_shards.h"
#include "compat/pt_file.h"
#include "compat/safetensors_file.h"
#include "compat/shard_index.h"
#include "compat/tar_file.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

FileSystem& FilesOf(const ForeignOptions& options) {
  return options.inflate.files == nullptr ? PosixFileSystem()
                                          : *options.inflate.files;
}

// An index of shards; what the first one is, all must be.
absl::StatusOr<ForeignFile> OpenIndex(const RandomAccessFile& file,
                                      const ForeignOptions& options) {
  FileSystem& files = FilesOf(options);
  absl::StatusOr<ShardIndex> index = ReadShardIndex(file);
  if (!index.ok()) return Annotate(index.status(), file.path());
  FileKind kind = FileKind::kSafetensors;
  if (!index->shards.empty()) {
    const auto first = files.OpenRead(absl::StrCat(
        DirectoryOf(file.path()), "/", index->shards.begin()->first));
    if (!first.ok()) {
      return Annotate(Annotate(first.status(), "shard"), file.path());
    }
    PENSTOCK_ASSIGN_OR_RETURN(kind, DetectKind(**first));
  }
  if (kind != FileKind::kZip && kind != FileKind::kLegacyStream &&
      kind != FileKind::kTar && kind != FileKind::kPickle) {
    return OpenSafetensorsShards(files, file.path(), *std::move(index));
  }
  return OpenPickledShards(files, file.path(), *index,
                           [&](std::shared_ptr<const RandomAccessFile> shard)
                               -> absl::StatusOr<ForeignFile> {
                             PENSTOCK_ASSIGN_OR_RETURN(const FileKind own,
                                                       DetectKind(*shard));
                             // An index names no other index.
                             if (own == FileKind::kJson) {
                               return Annotate(RefusalOf(own), shard->path());
                             }
                             return OpenForeign(own, std::move(shard), options);
                           });
}

// A bare pickle, or the .metadata of a directory.
absl::StatusOr<ForeignFile> OpenPickleOrDcp(
    std::shared_ptr<const RandomAccessFile> file,
    const ForeignOptions& options) {
  const NestedOpener nested = NestedFiles(NestedBudgetOf(file->size_bytes()));
  PENSTOCK_ASSIGN_OR_RETURN(ForeignFile pickle,
                            OpenPickle(std::move(file), {}, nested));
  if (!IsDcpMetadata(pickle.root)) return pickle;
  return OpenDcp(
      FilesOf(options), pickle, options.dcp_keys,
      [&](std::shared_ptr<const RandomAccessFile> slice) {
        const NestedOpener in_slice =
            NestedFiles(NestedBudgetOf(slice->size_bytes()));
        return OpenPt(std::move(slice), {{}, {}, options.inflate}, in_slice);
      });
}

// A zip file that one finds in such a directory is a part of a checkpoint.
absl::StatusOr<ForeignFile> OpenZip(
    std::shared_ptr<const RandomAccessFile> file,
    const ForeignOptions& options) {
  const std::string path = file->path();
  const NestedOpener nested = NestedFiles(NestedBudgetOf(file->size_bytes()));
  absl::StatusOr<ForeignFile> pt =
      OpenPt(std::move(file), {{}, {}, options.inflate}, nested);
  const std::string metadata =
      absl::StrCat(DirectoryOf(path), "/", kDcpMetadataName);
  if (!absl::EndsWith(path, ".distcp") ||
      !FilesOf(options).Stat(metadata).ok()) {
    return pt;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path,
                   ": a part of a distributed checkpoint: give its "
                   "directory, ",
                   DirectoryOf(path)));
}

}  // namespace

absl::StatusOr<ForeignFile> OpenForeign(
    FileKind kind, std::shared_ptr<const RandomAccessFile> file,
    const ForeignOptions& options) {
  const std::string path = file->path();
  const int64_t file_bytes = file->size_bytes();
  switch (kind) {
    case FileKind::kZip: {
      PENSTOCK_ASSIGN_OR_RETURN(const bool is_npz, StartsAsNpz(*file));
      if (is_npz) return OpenNpz(std::move(file), {{}, options.inflate});
      return OpenZip(std::move(file), options);
    }
    case FileKind::kLegacyStream:
      return OpenLegacy(std::move(file), {},
                        NestedFiles(NestedBudgetOf(file_bytes)));
    case FileKind::kTar:
      return OpenTar(std::move(file));
    case FileKind::kPickle:
      return OpenPickleOrDcp(std::move(file), options);
    case FileKind::kNpy:
      return OpenNpy(std::move(file));
    case FileKind::kSafetensors:
      return OpenSafetensors(std::move(file));
    case FileKind::kJson:
      return OpenIndex(*file, options);
    default:
      return Annotate(RefusalOf(kind), path);
  }
}

}  // namespace penstock
