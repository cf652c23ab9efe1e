// ForeignFile: an open checkpoint of a format that others made.

#ifndef PENSTOCK_COMPAT_FOREIGN_FILE_H_
#define PENSTOCK_COMPAT_FOREIGN_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

enum class ForeignFormat {
  kPt,        // torch.save since 1.6: a zip file
  kPtLegacy,  // torch.save 0.1.10 to 1.5: a stream of pickles
  kPickle,    // a bare pickle, whose tensors are streams within it
  kSafetensors,
  kNpz,
  kNpy,
  kPtTar,  // torch.save 0.1.1 to 0.1.9: a tar file
  kDcp,    // a directory of torch.distributed.checkpoint
  kPt2,    // torch.export.save
  kTorchPackage,
};

// The bytes of a file from `file_offset` on are, unchanged, those of storage
// `storage` (its number in the graph).
struct FileExtent {
  int64_t file_offset = 0;
  int64_t storage = 0;
};

// A reader of a foreign file's storages. One per run.
class ForeignSource : public Source {
 public:
  // Before the run: all of file 0 is in memory at `pages`, as
  // RandomAccessFile::Map gives it, to be lent instead of read.
  virtual void UsePages(std::shared_ptr<const uint8_t>) {}

  // After the run: reads what is left of the records that were read in part, so
  // that their checksums vouch for the parts. Errors: kDataLoss, the file's.
  virtual absl::Status VerifyRest() { return absl::OkStatus(); }
  // Bytes given out that no checksum of the file vouches for. Final after
  // Finish.
  virtual int64_t unverified_bytes() const = 0;
};

struct StoredStorages;  // compat/extent_source.h

// What every reader of foreign formats returns: the whole tree, the bytes of
// its tensors still in the file. Immutable once opened; copies share the file.
struct ForeignFile {
  ForeignFormat format = ForeignFormat::kPt;
  // Storages are numbered in order of first reference, and in_file() except
  // empty ones.
  Value root;
  std::string writer;  // for people: "torch.save (container version 3)"
  // Every "module name" that its pickles name. None was looked up.
  std::vector<std::string> globals;
  // For people: what is odd but has one meaning.
  std::vector<std::string> warnings;
  // Text that stands beside the tree (safetensors' __metadata__), in order.
  std::vector<std::pair<std::string, std::string>> metadata;

  // The file, null where there are several (shards).
  std::shared_ptr<const RandomAccessFile> file;
  // The storages that the file holds as they are, none of them empty: ascending
  // by file_offset, disjoint, within the file. All else of the file is its
  // skeleton (conversion.md 1). Empty where `file` is null.
  std::vector<FileExtent> extents;

  // Where the storages lie, by file_number(), file 0 being `file` where there
  // is one; those with other numbers are what new_source computes.
  std::shared_ptr<const StoredStorages> stored;
  // A reader of the storages, for one run.
  std::function<std::unique_ptr<ForeignSource>()> new_source;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FOREIGN_FILE_H_
