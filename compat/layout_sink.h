// LayoutSink: writes a file that is storages with known bytes between them.

#ifndef PENSTOCK_COMPAT_LAYOUT_SINK_H_
#define PENSTOCK_COMPAT_LAYOUT_SINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/block_writer.h"
#include "codec/plan.h"
#include "compat/foreign_sink.h"
#include "core/file.h"
#include "core/storage.h"

namespace penstock {

// What a file consists of: glue, storage, glue, storage, ..., glue.
struct FileLayout {
  std::vector<std::shared_ptr<const Storage>> storages;  // in file order
  // Bytes of glue before each storage, then those behind the last: one more
  // than storages.
  std::vector<int64_t> glue_bytes;
  // Appends bytes [begin, begin + size) of all the glue, as if it were one
  // string. Called from one thread, ascending, without gaps; every storage
  // before these bytes has been seen then.
  std::function<absl::Status(int64_t begin, int64_t size, std::string& out)>
      glue;
  // Whether CrcOf and StartOf will be asked for.
  bool wants_crcs = false;
};

// FileLayout::glue for glue that is in memory.
std::function<absl::Status(int64_t, int64_t, std::string&)> GlueFrom(
    std::string glue);

// Every byte of the file has its place before the first is written: payload
// lands, and its CRC-32 is taken, in the block that goes out, by one thread;
// glue is put between it in order. By itself for formats without checksums
// (safetensors, the legacy stream, npy) and for restoring a file whose every
// byte is known; the zip formats derive from it.
class LayoutSink : public ForeignSink {
 public:
  // `file` is new and outlives the sink. Writes nothing yet.
  // Errors: kInvalidArgument where the file would have more than 2^62 bytes.
  static absl::StatusOr<std::unique_ptr<LayoutSink>> Create(
      WritableFile& file, FileLayout layout,
      std::vector<std::string> warnings = {});

  const Plan& plan() const override { return plan_; }
  int64_t FinalSize() const override { return file_bytes_; }
  const std::vector<std::string>& warnings() const override {
    return warnings_;
  }

  uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  bool TakesPieces(const Chunk&) const override { return true; }
  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override;
  absl::Status Place(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Write(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  bool writes_in_order() const override { return file_.sequential(); }
  int WaitingThreads() const override { return ThreadsThatWaitFor(file_); }
  absl::Status Finish(const Plan& plan) override;
  int64_t SlotBytes() const override;

 protected:
  explicit LayoutSink(WritableFile& file) : file_(file), writer_(file) {}
  absl::Status SetLayout(FileLayout layout, std::vector<std::string> warnings);

  // Of a storage of the layout, for FileLayout::glue.
  uint32_t CrcOf(int64_t storage) const;
  // The first eight bytes, little-endian; 0 where it has fewer.
  uint64_t StartOf(int64_t storage) const { return starts_[storage]; }

 private:
  int64_t FileOffset(const Chunk& chunk) const;
  int64_t GlueBefore(const Chunk& chunk) const;
  absl::Status AppendGlue(int64_t end_offset);
  absl::Status PutGlue(const Chunk& chunk, uint8_t* begin);

  WritableFile& file_;
  FileLayout layout_;
  std::vector<std::string> warnings_;
  std::vector<int64_t> offsets_;  // of storages, in the file
  Plan plan_;
  int64_t file_bytes_ = 0;
  int64_t block_bytes_ = 0;  // most that a run takes
  BlockWriter writer_;

  // Set by Encode, read by Place of this or a later chunk.
  std::vector<uint32_t> piece_crcs_;  // by piece
  std::vector<uint64_t> starts_;      // by storage

  // Place's and Finish's.
  int64_t glue_written_ = 0;
  std::vector<int64_t> first_pieces_;  // by storage: its first one, or the next
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_LAYOUT_SINK_H_
