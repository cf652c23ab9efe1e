#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/format.h"
#include "codec/native_file.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Walks over the bytes between chunks. Thread-compatible.
class GlueReader {
 public:
  GlueReader(const RandomAccessFile& file, const NativeIndex& index)
      : file_(file), index_(index) {}

  absl::Status Run() {
    PENSTOCK_RETURN_IF_ERROR(ReadGap(kHeaderBytes));
    position_ = kHeaderBytes;
    for (size_t i = 0; i < index_.chunks.size(); ++i) {
      const FileChunk& chunk = index_.chunks[i];
      PENSTOCK_RETURN_IF_ERROR(chunk.coded != 0
                                   ? CheckFrameEnds()
                                   : PassRawGap(static_cast<int64_t>(i)));
      position_ = chunk.offset + chunk.stored_bytes;
    }
    PENSTOCK_RETURN_IF_ERROR(CheckFrameEnds());
    return CheckHash(index_.glue_hash, hasher_.Digest(),
                     "bytes between chunks:");
  }

 private:
  // Reads and hashes [position_, end).
  absl::Status ReadGap(int64_t end) {
    gap_.resize(end - position_);
    PENSTOCK_RETURN_IF_ERROR(file_.Read(position_, absl::MakeSpan(gap_)));
    hasher_.Update(gap_);
    return absl::OkStatus();
  }

  absl::Status CheckFrameEnds() const {
    if (left_in_frame_ == 0) return absl::OkStatus();
    return absl::DataLossError(absl::StrFormat(
        "offset %d: the raw frame goes on for %d bytes where it "
        "should end",
        position_, left_in_frame_));
  }

  // What stands before raw chunk `number`, and the chunk itself.
  absl::Status PassRawGap(int64_t number) {
    const FileChunk& chunk = index_.chunks[number];
    const RawPlaces places = RawPlacesAt(index_, number, position_);
    const bool new_frame = left_in_frame_ == 0;
    if (chunk.offset != (new_frame ? places.new_frame : places.in_frame)) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d at offset %d: wrong for a frame with %d bytes left", number,
          chunk.offset, left_in_frame_));
    }
    PENSTOCK_RETURN_IF_ERROR(ReadGap(chunk.offset));
    size_t padding = 0;
    if (new_frame) {
      padding = kFrameHeaderBytes;
      left_in_frame_ = LoadLittleEndian<uint32_t>(&gap_[4]);
      if (LoadLittleEndian<uint32_t>(gap_.data()) != kRawFrame ||
          left_in_frame_ > kMaxFramePayload) {
        return absl::DataLossError(absl::StrFormat(
            "offset %d: expected the header of a raw frame", position_));
      }
    }
    if (std::any_of(gap_.begin() + padding, gap_.end(),
                    [](uint8_t byte) { return byte != 0; })) {
      return absl::DataLossError(absl::StrFormat("padding in %d to %d is not 0",
                                                 position_, chunk.offset));
    }
    left_in_frame_ -=
        static_cast<int64_t>(gap_.size() - padding) + chunk.raw_bytes;
    if (left_in_frame_ >= 0) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrFormat("chunk %d at offset %d: runs past its raw frame",
                        number, chunk.offset));
  }

  const RandomAccessFile& file_;
  const NativeIndex& index_;
  int64_t position_ = 0;       // what is before has been passed
  int64_t left_in_frame_ = 0;  // payload of the raw frame
  std::vector<uint8_t> gap_;
  Hasher hasher_;
};

}  // namespace

absl::Status NativeFile::VerifyGlue() const {
  const absl::Status status = GlueReader(*file_, index_).Run();
  return status.ok() ? status : Annotate(status, file_->path());
}

}  // namespace penstock
