// NativeSource: reads the payload of a .pstk file.

#ifndef PENSTOCK_CODEC_NATIVE_SOURCE_H_
#define PENSTOCK_CODEC_NATIVE_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/native_file.h"
#include "codec/plan.h"
#include "codec/read_ahead.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/mutex.h"

namespace penstock {

// Reads payload of an open .pstk file for one run: each chunk is verified
// before and after it is decoded. Thread-safe. One per run.
class NativeSource : public Source {
 public:
  // `file` outlives it. Of `pages`, if given, which hold the whole file as
  // RandomAccessFile::Map gives it, bytes are lent as they are; nothing is
  // read.
  explicit NativeSource(const NativeFile& file,
                        std::shared_ptr<const uint8_t> pages = nullptr);

  void Start(const Plan& plan, const RunLimits& limits) override;
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
  absl::Status Finish() override;
  int64_t SlotBytes() const override;

 private:
  // Bytes [begin, begin + size) of a chunk of the file.
  struct Part {
    int64_t number = 0;
    int64_t begin = 0;
    int64_t size = 0;
    bool is_whole = false;
  };

  FileRange RangeOf(int64_t number) const;
  LentBytes Lend(int64_t number, int64_t planned);
  absl::Status CheckPieces(const Plan& plan, const Chunk& chunk) const;
  absl::Status CheckPiece(const Plan& plan, const Piece& piece) const;
  int64_t ExactChunk(const Plan& plan, const Chunk& chunk) const;
  absl::Status ForEachPart(
      int64_t storage, const Piece& piece,
      absl::FunctionRef<absl::Status(const Part&)> use) const;
  absl::Status CopyPiece(int64_t storage, const Piece& piece, int64_t planned,
                         Slot& slot, uint8_t* out);
  absl::Status InFile(int64_t number, const absl::Status& status) const;
  absl::Status VerifyRaw(int64_t number, absl::Span<const uint8_t> bytes) const;
  absl::Status ReadChunk(int64_t number, const LentBytes& lent, Slot& slot,
                         absl::Span<uint8_t> out) const;
  absl::Status ReadRaw(int64_t number, const LentBytes& lent,
                       absl::Span<uint8_t> out) const;
  absl::Status ReadCoded(int64_t number, const LentBytes& lent, Slot& slot,
                         absl::Span<uint8_t> out) const;

  const NativeFile& native_;
  const NativeIndex& index_;  // of native_
  const RandomAccessFile& file_;
  const std::shared_ptr<const uint8_t> pages_;
  std::unique_ptr<ReadAhead> ahead_;
  Mutex sample_mutex_;
  Slot sample_slot_ ABSL_GUARDED_BY(sample_mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_SOURCE_H_
