// PtSink: writes a torch.save zip file, as torch 2.7 and later or as torch 1.10
// to 2.0 do.

#ifndef PENSTOCK_COMPAT_PT_SINK_H_
#define PENSTOCK_COMPAT_PT_SINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/layout_sink.h"
#include "compat/pickle_writer.h"
#include "compat/zip_layout.h"
#include "core/file.h"
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
// known before the first byte: nothing is written twice, a pipe will do.
//
//   PENSTOCK_ASSIGN_OR_RETURN(auto sink, PtSink::Create(file, root, "model"));
//   PENSTOCK_RETURN_IF_ERROR(file.Allocate(sink->FinalSize()));
//   Pump(sink->plan(), source, *sink, options);
//
// The pump's plan must be plan(). Thread-safe as Sink says.
class PtSink : public LayoutSink {
 public:
  // Pickles `root` and lays the file out; writes nothing yet. `file` is new and
  // outlives the sink.
  // Errors: WritePickle's, ZipLayout's; kInvalidArgument for an archive name
  // that is empty or holds '/' or '\'.
  static absl::StatusOr<std::unique_ptr<PtSink>> Create(
      WritableFile& file, const Value& root, absl::string_view archive_name,
      const PtSinkOptions& options = {});

 private:
  PtSink(WritableFile& file, const PtSinkOptions& options)
      : LayoutSink(file), profile_(options.profile), zip_(options.alignment) {}

  // `keys`: of `storages`, which are in the order of their records.
  absl::Status LayOut(absl::string_view archive_name,
                      const PtSinkOptions& options, std::string pickle,
                      absl::Span<const int64_t> keys, FileLayout& layout);
  absl::Status AddText(std::string name, absl::string_view payload);
  void AppendNextGlue();
  std::string MakeId() const;

  const PtProfile profile_;
  ZipLayout zip_;
  int64_t prefix_bytes_ = 0;  // of every record name, with the slash
  // Payloads of the records before the storages.
  std::vector<std::string> head_;
  int64_t num_storages_ = 0;

  int64_t next_glue_ =
      0;              // 0: the head; i: what is between storage i - 1 and i
  std::string glue_;  // made and not yet written
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PT_SINK_H_
