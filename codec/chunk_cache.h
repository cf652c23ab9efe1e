// ChunkCache: a few decoded chunks that several reads take parts of.

#ifndef PENSTOCK_CODEC_CHUNK_CACHE_H_
#define PENSTOCK_CODEC_CHUNK_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/mutex.h"

namespace penstock {

// Keeps the chunks that were asked for last. Who asks for a chunk that another
// thread is decoding waits for it, so each is decoded about once when many
// small storages are read in order. Thread-safe.
class ChunkCache {
 public:
  // Keeps at most `max_chunks` (at least 1), besides those in callers' hands.
  explicit ChunkCache(int64_t max_chunks) : max_chunks_(max_chunks) {}

  // The `size_bytes` bytes of chunk `number`, which `decode` fills in where
  // they are not here. Stay valid as long as the pointer is held. Errors: those
  // of `decode`, for all who waited for it; nothing is kept then.
  absl::StatusOr<std::shared_ptr<const AlignedBuffer>> Get(
      int64_t number, int64_t size_bytes,
      absl::FunctionRef<absl::Status(absl::Span<uint8_t>)> decode);

  int64_t num_decoded() const;  // calls of `decode`, for tests

 private:
  struct Entry {
    int64_t number = 0;
    AlignedBuffer bytes;
    bool done = false;
    absl::Status status;  // valid when done
  };

  std::shared_ptr<Entry> FindOrAdd(int64_t number, bool& added)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetDone(Entry& entry, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);

  const int64_t max_chunks_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Entry>> entries_
      ABSL_GUARDED_BY(mutex_);  // the one used last is last
  int64_t num_decoded_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_CHUNK_CACHE_H_
