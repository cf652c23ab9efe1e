// One checkpoint on its way into one file. Private to api/.

#ifndef PENSTOCK_API_WRITE_JOB_H_
#define PENSTOCK_API_WRITE_JOB_H_

#include <string>

#include "absl/status/statusor.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

struct WriteJob {
  const Value& root;
  const StorageNames& names;
  Source& source;  // of all storages of `root`
  const SaveOptions& options;
  std::string name;       // of the destination; a .pt's records have it
  std::string directory;  // of the destination; empty for a pipe
  // The checkpoint that `root` is, unchanged; null where it is made in memory
  // or edited. What is known of it alone is its origin.
  const Checkpoint::Opened* opened = nullptr;
};

// Writes `file` up to its last byte, without closing it.
absl::StatusOr<SaveReport> WriteTo(const WriteJob& job, WritableFile& file);

}  // namespace penstock

#endif  // PENSTOCK_API_WRITE_JOB_H_
