// PtSink: writes a torch.save zip file, as torch 2.7 and later or as torch 1.10
// to 2.0 do.

#ifndef PENSTOCK_COMPAT_PT_SINK_H_
#define PENSTOCK_COMPAT_PT_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codec/block_writer.h"
#include "codec/plan.h"
#include "compat/foreign_sink.h"
#include "compat/pickle_writer.h"
#include "compat/zip_layout.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/value.h"

namespace penstock {

// Which records a file has, and in which order (pytorch-format.md 2.2, 13).
enum class PtProfile {
  kT27,  // torch 2.7 and later; the order is that of first reference
  // torch 1.10 to 2.0: tensors in the order of their names as text (data/10
  // before data/2), no byte order, no id. Loads everywhere from 1.5 on, if its
  // dtypes do.
  kT16,
};

struct PtSinkOptions {
  PtProfile profile = PtProfile::kT27;
  // Of every record, 1 to kMaxRecordAlignment. torch's default.
  int64_t alignment = kDefaultRecordAlignment;
  PickleWriteOptions pickle;
};

// The prefix that torch.save gives the records of a file of this name: what
// stands behind the last '/' or '\' without its last ".ext"; "archive" for a
// name that is not ASCII. So a file's bytes depend on its name.
// Errors: kInvalidArgument where nothing is left (".pt"), or over 256 bytes.
absl::StatusOr<std::string> ArchiveNameFor(absl::string_view path);

// Records lie as torch.save puts them (2.13.0's for kT27), so that equal
// content gives the same file byte for byte; the order is the plan's. Sizes are
// known before the first byte: nothing is written twice, a pipe will do. CRCs
// are taken in parallel and combined in order.
//
//   PENSTOCK_ASSIGN_OR_RETURN(auto sink, PtSink::Make(root, "model", file,
//   {})); PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink->FinalSize()));
//   Pump(sink->plan(), source, *sink, options);
//
// The pump's plan must be plan(). Thread-safe as Sink says.
class PtSink : public ForeignSink {
 public:
  // Pickles `root` and lays the file out; writes nothing yet. `file` is new and
  // outlives the sink.
  // Errors: WritePickle's, ZipLayout's; kInvalidArgument for an archive name
  // that is empty or holds '/' or '\'.
  static absl::StatusOr<std::unique_ptr<PtSink>> Create(
      WritableFile& file, const Value& root, absl::string_view archive_name,
      const PtSinkOptions& options = {});

  const Plan& plan() const override { return plan_; }
  int64_t FinalSize() const override { return layout_.file_bytes(); }
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
  PtSink(WritableFile& file, const PtSinkOptions& options)
      : file_(file), profile_(options.profile), layout_(options.alignment) {}

  absl::Status LayOut(absl::string_view archive_name,
                      const PtSinkOptions& options, std::string pickle,
                      absl::Span<const int64_t> keys);
  void MeasureChunks();
  absl::Status AppendRecord(int64_t record, absl::string_view payload);
  absl::Status AppendHead();
  void AddHeaders(int64_t last_storage, std::string& out);
  std::string MakeId() const;

  WritableFile& file_;
  const PtProfile profile_;
  ZipLayout layout_;
  int64_t prefix_bytes_ = 0;       // of every record name, with the slash
  std::vector<std::string> head_;  // payloads of the records before storage 0
  // The record of storage 0 of the plan; the others follow.
  int64_t first_storage_record_ = 0;
  Plan plan_;
  std::vector<std::string> warnings_;
  int64_t largest_glue_ = 0;
  int64_t largest_record_ = 0;
  std::unique_ptr<BlockWriter> writer_;

  std::vector<uint32_t> piece_crcs_;  // by piece: from Encode to Place

  // Place's and Finish's.
  int64_t next_storage_ = 0;  // the first whose header is not written
  uint32_t crc_ = 0;          // of the current record so far
  // Scratch: payloads of a chunk, and where each cuts the glue.
  std::vector<absl::Span<const uint8_t>> payloads_;
  std::vector<int64_t> cuts_;

  // Payloads that torch's writer would take for a data descriptor: their bytes
  // 4 to 7, by storage.
  mutable Mutex mutex_;
  absl::flat_hash_map<int64_t, uint32_t> mistaken_crcs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT_SINK_H_
