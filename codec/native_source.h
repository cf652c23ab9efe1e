// NativeSource: reads a .pstk file.

#ifndef PENSTOCK_CODEC_NATIVE_SOURCE_H_
#define PENSTOCK_CODEC_NATIVE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/chunk_cache.h"
#include "codec/native_tables.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/value.h"

namespace penstock {

// Bytes [begin, end) of storage `storage` of a file.
struct StorageRange {
  int64_t storage = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// An open .pstk file. Header, footer and index are read, verified and proven;
// payload is read when asked for, each chunk verified before and after it is
// decoded. Thread-safe.
class NativeSource : public Source {
 public:
  // Errors, with the file's path: kDataLoss (no .pstk, truncated, damaged);
  // kUnimplemented (a newer version, an unknown required feature or section);
  // kResourceExhausted (an index over kMaxIndexBytes); the file's own.
  static absl::StatusOr<std::unique_ptr<NativeSource>> Open(
      std::shared_ptr<const RandomAccessFile> file);

  const NativeIndex& index() const { return index_; }
  // The checkpoint. Its storages are in the file.
  Value root() const { return Value(index_.graph, 0); }
  const RandomAccessFile& file() const { return *file_; }

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

  // Any plan over storages of this file. Where its chunks are not those of the
  // file, parts are copied out of a few chunks that are kept decoded.
  // Errors: kDataLoss "chunk 17 at offset 73400320, storage 5: stored hash
  // mismatch: expected ..., computed ..."; kInvalidArgument (the plan's
  // storages are not of this file).
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  // Decodes the chunks that it touches, and verifies them; of a raw one reads
  // only the bytes, unverified.
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  int64_t SlotBytes() const override;

  int64_t num_shared_decodes() const { return cache_.num_decoded(); }

 private:
  NativeSource(std::shared_ptr<const RandomAccessFile> file, NativeIndex index);

  Plan PlanForFirst(size_t num_storages) const;
  absl::Status CheckPiece(const Plan& plan, const Piece& piece) const;
  int64_t ExactChunk(const Plan& plan, const Chunk& chunk) const;
  absl::Status CopyPiece(int64_t storage, const Piece& piece, Slot& slot,
                         uint8_t* out);
  absl::Status ReadChunk(int64_t number, Slot& slot,
                         absl::Span<uint8_t> out) const;
  absl::Status DecodeInto(int64_t number, Slot& slot,
                          absl::Span<uint8_t> out) const;

  const std::shared_ptr<const RandomAccessFile> file_;
  const NativeIndex index_;
  const int64_t max_chunk_bytes_;  // raw, of the file's
  ChunkCache cache_;
  Mutex sample_mutex_;
  Slot sample_slot_ ABSL_GUARDED_BY(sample_mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_SOURCE_H_
