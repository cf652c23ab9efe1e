// What an open checkpoint is inside, and what its functions share. Private to
// api/.

#ifndef PENSTOCK_API_OPENED_H_
#define PENSTOCK_API_OPENED_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/penstock.h"
#include "codec/native_file.h"
#include "codec/pipeline.h"
#include "codec/plan.h"
#include "codec/sink.h"
#include "codec/source.h"
#include "compat/file_kind.h"
#include "compat/file_scan.h"
#include "compat/foreign_file.h"
#include "core/file.h"

namespace penstock {

// The first tensor on each storage, for messages.
using StorageNames = absl::flat_hash_map<const Storage*, std::string>;
StorageNames NamesOf(const StateDict& state_dict);
// Of a plan's storages, in its order; "?" for one without a tensor.
std::vector<std::string> NamesFor(const Plan& plan, const StorageNames& names);

Format FormatOf(ForeignFormat format);

// Keys of a native file's meta section that are the source's metadata.
inline constexpr absl::string_view kMetadataPrefix = "metadata.";

absl::Status NoTensor(const std::string& path, absl::string_view name);
// `view` over a storage that has exactly its byte_range().
absl::StatusOr<Tensor> RebasedOn(std::shared_ptr<const Storage> storage,
                                 const Tensor& view);

// Bytes of all storages.
int64_t StorageBytesOf(const Graph& graph);

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start);

FileSystem& FilesOf(const RunOptions& options);
// A file; of a directory that is a checkpoint, the one that says so. Errors:
// those of opening `path`.
absl::StatusOr<std::shared_ptr<const RandomAccessFile>> OpenPath(
    const std::string& path, const RunOptions& options);
PumpOptions PumpOptionsOf(const RunOptions& options);
ScanLimits ScanLimitsOf(const RunOptions& options);

// Pump, with the tensors' names in its errors.
absl::StatusOr<PumpStats> RunPump(const Plan& plan, const StorageNames& names,
                                  Source& source, Sink& sink,
                                  const RunOptions& options);

// A file of one of the formats, open. Immutable once opened; thread-safe.
struct Checkpoint::Opened {
  // A source for one run.
  struct Run {
    std::unique_ptr<Source> source;
    ForeignSource* foreign = nullptr;  // the same; null for a native file
  };

  Format format = Format::kNative;
  RunOptions options;
  std::string path;
  int64_t file_bytes = 0;
  std::unique_ptr<NativeFile> native;  // null for a foreign file
  ForeignFile foreign;                 // empty for a native file
  // By storage of a foreign file: where its extent begins, -1: it has none.
  std::vector<int64_t> extent_offsets;
  Value root;
  std::string writer;
  std::string codec = "none";
  std::optional<Origin> origin;
  std::vector<std::pair<std::string, std::string>> metadata;

  absl::Status OpenAs(FileKind kind,
                      std::shared_ptr<const RandomAccessFile> file);

  // The tensors by name, and the names for messages: made for the first who
  // asks, which most of opening a checkpoint of many tensors would be.
  const StateDict& state_dict() const;
  const StorageNames& names() const;

  // `pages`, if given, hold all of file(), as RandomAccessFile::Map gives it.
  Run NewRun(std::shared_ptr<const uint8_t> pages = nullptr) const;
  // The plan that reads every tensor in the order of the file.
  Plan TreePlan() const;
  // Where the bytes [range) of storage `number` lie in file(), if they are
  // there as they are, in one piece. Errors: kUnimplemented, saying why not.
  absl::StatusOr<int64_t> OffsetInFile(int64_t number, ByteRange range) const;
  // The file that holds everything; null where there are several.
  const RandomAccessFile* file() const;
  // The elements of `view`, which is `entry`'s tensor or rows of it.
  absl::StatusOr<Tensor> Read(const NamedTensor& entry,
                              const Tensor& view) const;

 private:
  absl::Status NameTensors() const;

  mutable std::once_flag named_;
  mutable StateDict state_dict_;
  mutable StorageNames names_;
};

}  // namespace penstock

#endif  // PENSTOCK_API_OPENED_H_
