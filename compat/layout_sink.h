// LayoutSink: writes a file that is storages with known bytes between them.

#ifndef PENSTOCK_COMPAT_LAYOUT_SINK_H_
#define PENSTOCK_COMPAT_LAYOUT_SINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
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
  // string. Called from one thread, ascending, without gaps.
  std::function<absl::Status(int64_t begin, int64_t size, std::string& out)>
      glue;
};

// FileLayout::glue for glue that is in memory.
std::function<absl::Status(int64_t, int64_t, std::string&)> GlueFrom(
    std::string glue);

// For formats without checksums (safetensors, the legacy stream, npy) and for
// restoring a file whose every byte is known. Glue between two storages is held
// in memory with the chunk behind it; what stands before the first storage and
// behind the last is not.
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

  absl::Status Encode(const Plan& plan, const Chunk& chunk,
                      absl::Span<const uint8_t> bytes, Slot& slot) override;
  absl::Status Place(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::Status Write(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  bool writes_in_order() const override { return file_.sequential(); }
  absl::Status Finish(const Plan& plan) override;
  int64_t SlotBytes() const override;

 private:
  LayoutSink(WritableFile& file, FileLayout layout,
             std::vector<std::string> warnings)
      : file_(file),
        layout_(std::move(layout)),
        warnings_(std::move(warnings)) {}

  int64_t GlueBefore(int64_t storage, int64_t end) const;
  void MeasureChunks();
  absl::Status AppendGlue(int64_t size_bytes);

  WritableFile& file_;
  FileLayout layout_;
  std::vector<std::string> warnings_;
  Plan plan_;
  int64_t head_bytes_ = 0;  // of glue before the first storage with bytes
  int64_t file_bytes_ = 0;
  int64_t largest_glue_ = 0;
  int64_t largest_record_ = 0;
  std::unique_ptr<BlockWriter> writer_;

  // Place's and Finish's.
  bool head_written_ = false;
  int64_t glue_written_ = 0;
  int64_t next_storage_ = 0;  // the first whose glue is not written
  // Scratch: payloads of a chunk, and where each cuts the glue.
  std::vector<absl::Span<const uint8_t>> payloads_;
  std::vector<int64_t> cuts_;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_LAYOUT_SINK_H_
