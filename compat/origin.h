// Origin: what a .pstk keeps of the file that it was made from, so that this
// very file can be given back (conversion.md 1).

#ifndef PENSTOCK_COMPAT_ORIGIN_H_
#define PENSTOCK_COMPAT_ORIGIN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/native_file.h"
#include "codec/native_layout.h"
#include "codec/native_sink.h"
#include "codec/source.h"
#include "compat/foreign_file.h"
#include "compat/layout_sink.h"

namespace penstock {

// The optional section of a .pstk that describes an origin: docs/FORMAT.md.
inline constexpr uint32_t kOriginSection = 256;

// What the section says. The extents are in one attachment of the .pstk, the
// skeleton in another.
struct OriginInfo {
  ForeignFormat format = ForeignFormat::kPt;
  int64_t file_bytes = 0;
  int64_t skeleton_bytes = 0;
  int64_t num_extents = 0;
};

// The origin of an open .pstk; nothing where it has none, or one of a format
// that this version does not know. Errors: kDataLoss.
absl::StatusOr<std::optional<OriginInfo>> OriginOf(const NativeIndex& index);

// A source that reads a foreign file's storages, and its skeleton as well.
// Everything but the attachments goes to `base`. Thread-safe where it is.
class OriginSource : public Source {
 public:
  // `foreign.file` must be there; `base` (a source of `foreign`) outlives this,
  // and this the sink that Attach gave its attachments to.
  OriginSource(const ForeignFile& foreign, Source& base);

  // Puts section and attachments into the options of a sink whose graph is that
  // of the foreign file. Unless `always`, leaves them out where the skeleton,
  // coded, would take more than 64 KiB and an eighth of the file: then returns
  // a line that says so. Errors: those of reading.
  absl::StatusOr<std::string> Attach(bool always, NativeOptions& options);

  // What the base reads ahead of the skeleton's chunks, if its numbers mislead
  // it, nobody takes.
  void Start(const Plan& plan, const RunLimits& limits) override {
    base_.Start(plan, limits);
  }
  absl::Status Begin(const Plan& plan, const Chunk& chunk, Slot& slot) override;
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override;
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override;
  absl::Status Finish() override { return base_.Finish(); }
  int64_t SlotBytes() const override;

 private:
  // A run of bytes of the file between two extents.
  struct Gap {
    int64_t file_offset = 0;
    int64_t skeleton_offset = 0;
  };

  absl::Status ReadSkeleton(int64_t begin, absl::Span<uint8_t> out) const;
  absl::StatusOr<int64_t> EstimateCodedBytes() const;

  Source& base_;
  const std::shared_ptr<const RandomAccessFile> file_;
  const uint64_t first_attachment_;  // its number in the .pstk
  const ForeignFormat format_;
  std::vector<Gap> gaps_;  // ascending; the last one ends with the skeleton
  std::vector<uint8_t> extent_table_;
  std::shared_ptr<Storage> extents_;         // `extent_table_`, lent
  std::shared_ptr<const Storage> skeleton_;  // in the file
};

// Section and attachments of a .pstk for another one of the same graph: what
// keeps the origin when a .pstk is written again. OK without an origin.
void KeepOrigin(const NativeFile& native, NativeOptions& options);

// The file as it was: to be pumped out of `native`, which outlives the layout.
// Checked are: the extents ascend, lie within the file, name each storage of
// the tree at most once, and with the skeleton make up file_bytes.
// Errors: kDataLoss; kNotFound without an origin.
absl::StatusOr<FileLayout> LayOutOrigin(const NativeFile& native);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ORIGIN_H_
