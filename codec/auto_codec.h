// `--codec auto`: compress, or write raw, whichever should be done sooner.

#ifndef PENSTOCK_CODEC_AUTO_CODEC_H_
#define PENSTOCK_CODEC_AUTO_CODEC_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/source.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/storage.h"

namespace penstock {

// Under this many bytes measuring would cost more than it saves: raw.
inline constexpr int64_t kAutoProbeFrom = 512'000'000;

// What was measured, in bytes a second; 0 where nothing was.
struct CodecRates {
  double disk = 0;    // durable writing, bytes of the file
  double encode = 0;  // bytes of tensors, all threads, which also write
  double ratio = 1;   // raw / stored bytes that `encode` was measured with
};

// Encoding and writing overlap, so the slower of the two decides. A tie within
// 5 % stays raw, because raw files load faster. Both rates > 0. Pure.
bool CodingPays(const CodecRates& rates);

// A save that is durable.
struct FinishedSave {
  bool coded = false;
  int64_t raw_bytes = 0;
  int64_t file_bytes = 0;
  double seconds = 0;
};

// What is known after `save`. Of a coded one that was slower than the disk is
// known to allow, the encoder was the limit; of any other, the disk. Where a
// raw one shows that the disk may have been it after all, because it got
// slower, the encoder's rate is forgotten. Saves under kAutoProbeFrom teach
// nothing. Pure.
CodecRates Learn(const CodecRates& known, const FinishedSave& save);

// What saves taught about the disks they went to. Thread-safe.
class RateMemory {
 public:
  // Disks are FileInfo::device; of 0, which is none, nothing is remembered.
  // Zeros for a disk that nothing was saved to.
  CodecRates Find(uint64_t disk) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Put(uint64_t disk, const CodecRates& rates) ABSL_LOCKS_EXCLUDED(mutex_);
  void Learn(uint64_t disk, const FinishedSave& save)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<uint64_t, CodecRates> rates_ ABSL_GUARDED_BY(mutex_);
};

// That of this process: a disk is shared by all who save to it.
RateMemory& ProcessRates();

struct CodecChoice {
  bool coded = false;
  std::string reason;        // one line for people, with what was measured
  CodecRates rates;          // what it goes by; zeros where nothing was asked
  int64_t probed_bytes = 0;  // of the file hold noise now
};

// Settles, before the first byte is written to `file`. The encoder is timed on
// samples of the largest storages, on as many threads as have a core. Where
// `known` has no rate of the disk, up to 64 MiB of noise at the start of `file`
// are timed, without its first 16 MiB, which pay for getting going; fewer where
// the answer is clear before. The noise is to be overwritten, and cut off where
// the file ends before it. No file of its own: to delete one takes as long as
// to write it where freed blocks are discarded.
//
// `dtypes[i]` is the element type of `storages[i]`; `threads` > 0.
// Errors: those of WritableFile and of Source::Sample; kResourceExhausted (no
// memory).
absl::StatusOr<CodecChoice> SettleCodec(
    WritableFile& file, const CodecRates& known,
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source, int threads);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_AUTO_CODEC_H_
