// NativeSink: writes a .pstk file.

#ifndef PENSTOCK_CODEC_NATIVE_SINK_H_
#define PENSTOCK_CODEC_NATIVE_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codec/block_writer.h"
#include "codec/format.h"
#include "codec/native_layout.h"
#include "codec/native_tables.h"
#include "codec/sink.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/file.h"
#include "core/value.h"

namespace penstock {

struct NativeOptions {
  NativeCodec codec = NativeCodec::kZstd;
  // For people, behind "writer" and "codec" in the meta section.
  std::vector<std::pair<std::string, std::string>> meta;
  // Of the types that the callers gave themselves, ascending, from
  // kFirstExtension on. Readers that do not know one skip it, or refuse the
  // file where kSectionRequired is set.
  std::vector<Section> extensions;
  // Storages for them, numbered behind those of the graph. The source of the
  // run reads these too.
  std::vector<Attachment> attachments;
  // Of a raw frame's payload. Less than the format allows only in tests.
  int64_t max_frame_bytes = kMaxFramePayload;
};

class LentPieces;

// A .pstk file under construction. The same graph, bytes, options and libzstd
// give the same file from any source, at any number of threads.
//
//   PENSTOCK_ASSIGN_OR_RETURN(auto sink,
//                             NativeSink::Create(file, graph, source));
//   PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink->MaxFileBytes()));  // if
//   wanted Pump(sink->plan(), source, *sink, options)
//
// Writes without seeking back. Neither syncs nor closes the file, nor truncates
// what Allocate reserved. Thread-safe as Sink asks.
class NativeSink : public Sink {
 public:
  // Will write the checkpoint whose root is node 0 of `graph`. Samples the
  // storages through `source`, the one of the run. `file` outlives the sink.
  //
  // Errors: those of Source::Sample; kInvalidArgument (the types of
  // options.extensions).
  static absl::StatusOr<std::unique_ptr<NativeSink>> Create(
      WritableFile& file, std::shared_ptr<const Graph> graph, Source& source,
      const NativeOptions& options = {});

  // What to pump: each of its chunks becomes some chunks of the file.
  const Plan& plan() const { return layout_.plan; }

  // No file of this layout is larger; exact but for the index and coded chunks.
  int64_t MaxFileBytes() const;
  // Bytes of the file. After Finish.
  int64_t FileBytes() const { return writer_.size_bytes(); }

  uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  bool TakesPieces(const Chunk& chunk) const override;
  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override;
  absl::Status Place(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Write(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  bool writes_in_order() const override { return file_.sequential(); }
  int WaitingThreads() const override { return ThreadsThatWaitFor(file_); }
  // Errors: kResourceExhausted (an index over kMaxIndexBytes).
  absl::Status Finish(const Plan& plan) override;
  int64_t SlotBytes() const override { return slot_bytes_; }

 private:
  explicit NativeSink(WritableFile& file) : file_(file), writer_(file) {}

  void SetUpIndex(std::shared_ptr<const Graph> graph,
                  const NativeOptions& options);
  void SetUpSlots();
  // Of chunk `number` of the file. The first hashes `bytes`, or what `lent` has
  // next, on its way to `to`; the other gives what is to be stored.
  void HashRaw(int64_t number, absl::Span<const uint8_t> bytes,
               LentPieces* lent, uint8_t* to);
  absl::StatusOr<absl::Span<const uint8_t>> Compress(
      int64_t number, absl::Span<const uint8_t> bytes, AlignedBuffer& record,
      Slot& slot);
  int64_t GlueOf(const FileRun& run) const;
  void SetPlace(int64_t number, int64_t offset);
  absl::Status AllocateAhead();

  WritableFile& file_;
  NativeLayout layout_;
  // Chunks are set by Encode (hashes, sizes) and Place (offset, planes).
  NativeIndex index_;
  std::vector<ChunkCoding> codings_;  // by chunk, from Encode to Place
  Hasher glue_hasher_;
  BlockWriter writer_;
  int64_t allocated_bytes_ = 0;
  int64_t block_bytes_ = 0;  // most that a run takes
  int64_t slot_bytes_ = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_SINK_H_
