// NativeFile: an open .pstk file.

#ifndef PENSTOCK_CODEC_NATIVE_FILE_H_
#define PENSTOCK_CODEC_NATIVE_FILE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/chunk_cache.h"
#include "codec/native_tables.h"
#include "codec/plan.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

// Bytes [begin, end) of storage `storage` of a file.
struct StorageRange {
  int64_t storage = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// An open .pstk file: header, footer and index are read, verified and proven.
// Payload is read by a NativeSource, one for each run. Thread-safe.
class NativeFile {
 public:
  // Errors, with the file's path: kDataLoss (no .pstk, truncated, damaged);
  // kUnimplemented (a newer version, an unknown required feature or section);
  // kResourceExhausted (an index over kMaxIndexBytes); the file's own.
  static absl::StatusOr<std::unique_ptr<NativeFile>> Open(
      std::shared_ptr<const RandomAccessFile> file);

  const NativeIndex& index() const { return index_; }
  // The checkpoint. Its storages are in the file.
  Value root() const { return Value(index_.graph, 0); }
  const RandomAccessFile& file() const { return *file_; }
  int64_t max_chunk_bytes() const { return max_chunk_bytes_; }  // raw
  // For all runs: small storages that are read one by one share chunks.
  ChunkCache& cache() const { return cache_; }

  // Every storage of the tree, in file order.
  Plan TreePlan() const;
  // Attachments too: chunk i of the plan is chunk i of the file. For verifying.
  Plan FilePlan() const;

  // Some bytes, in file order, touching no chunk without them. Storage i of the
  // plan is that of ranges[i]; ranges must fit their storages.
  Plan PlanFor(absl::Span<const StorageRange> ranges) const;

  // Bytes that a storage takes in the file; its share of a chunk with others.
  int64_t StoredBytes(int64_t storage) const;

  // Proves what no chunk covers: the header, the frames around raw payload,
  // padding that must be zero. Together with a run over FilePlan() every byte
  // of the file has been verified then. Errors: kDataLoss, with the file's
  // path; the file's own.
  absl::Status VerifyGlue() const;

 private:
  NativeFile(std::shared_ptr<const RandomAccessFile> file, NativeIndex index);

  Plan PlanForFirst(size_t num_storages) const;

  const std::shared_ptr<const RandomAccessFile> file_;
  const NativeIndex index_;
  const int64_t max_chunk_bytes_;
  mutable ChunkCache cache_;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_FILE_H_
