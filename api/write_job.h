// One checkpoint on its way into one file. Private to api/.

#ifndef PENSTOCK_API_WRITE_JOB_H_
#define PENSTOCK_API_WRITE_JOB_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "codec/source.h"
#include "compat/safetensors_writer.h"
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
  // The checkpoint that `root` is, or was made from by edits (the options then
  // keep and restore no origin); null where it is made in memory. Taken from it
  // are its origin and its metadata.
  const Checkpoint::Opened* opened = nullptr;
  // What `source` reads of a foreign file, to be verified to its end.
  ForeignSource* foreign = nullptr;
};

// Writes `file` up to its last byte, without closing it. What a checksum of the
// source covers has been compared then.
absl::StatusOr<SaveReport> WriteTo(const WriteJob& job, WritableFile& file);

// For codec=auto: what a job that is durable, and its report whole, says about
// the disk and the encoder.
void Remember(const WriteJob& job, const SaveReport& report);

// The safetensors files that the job makes, and one of them into `file`; adds
// to the report.
absl::StatusOr<SafetensorsPlan> PlanShards(const WriteJob& job);
absl::Status WriteShard(const WriteJob& job, SafetensorsOutput shard,
                        WritableFile& file, SaveReport& report);

}  // namespace penstock

#endif  // PENSTOCK_API_WRITE_JOB_H_
