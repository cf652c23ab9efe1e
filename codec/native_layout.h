// Layout: what of a checkpoint goes where in a .pstk, before its first byte.

#ifndef PENSTOCK_CODEC_NATIVE_LAYOUT_H_
#define PENSTOCK_CODEC_NATIVE_LAYOUT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/format.h"
#include "codec/native_tables.h"
#include "codec/plan.h"
#include "codec/source.h"
#include "core/dtype.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {

// Codecs of a file. kZstd decides raw or coded per storage.
enum class NativeCodec : uint8_t { kNone, kZstd };

// A storage that no tensor views: bytes for an extension of the format.
struct Attachment {
  std::shared_ptr<const Storage> storage;
  DType dtype = DType::kUInt8;  // what it looks like, for the codec
};

// What the sink must know of one chunk.
struct ChunkLayout {
  DType dtype = DType::kUInt8;
  uint8_t coded = 0;
  int64_t alignment = 1;  // of its offset in the file
  // Where a raw frame begins before this chunk: the bytes from the chunk's
  // first to the end of the frame. Else 0.
  int64_t frame_bytes = 0;
};

// Chunks that go out together, in one write.
struct FileRun {
  int64_t first_chunk = 0;
  int64_t num_chunks = 0;
  // Where it begins in the file, with the glue in front of its first chunk; -1
  // where coded chunks before it, or its own, leave that open.
  int64_t begin = -1;
};

// Plain data. Chunk i of `file_plan` is chunk i of the file and of `chunks`;
// storages have the graph's numbers, then come attachments; locations are not
// set.
struct NativeLayout {
  Plan file_plan;
  std::vector<ChunkLayout> chunks;
  std::vector<FileStorage> storages;

  // What to pump: chunk i is runs[i], the bytes of its chunks one behind the
  // other; where it has a place in the file, with the same room between.
  Plan plan;
  std::vector<FileRun> runs;
  std::vector<int64_t> offsets_in_run;  // by chunk of the file
};

// What stands between `position`, the end of the file so far, and a chunk.
std::string GlueBefore(int64_t position, const ChunkLayout& chunk);

// Cuts the storages of `graph` into units (a storage, or several small ones of
// one dtype), samples each through `source`, decides raw or coded, and puts
// them in file order: raw units under kLargeRawBytes, then all others. Depends
// on the bytes, the dtypes and `codec` alone. An attachment shares chunks with
// nothing, and is coded where that pays, whatever `codec` says.
//
//   max_frame_bytes  of a raw frame's payload; kMaxFramePayload but for tests
//
// Errors: those of Source::Sample.
absl::StatusOr<NativeLayout> LayOut(const Graph& graph,
                                    absl::Span<const Attachment> attachments,
                                    NativeCodec codec, int64_t max_frame_bytes,
                                    Source& source);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_LAYOUT_H_
