// The tables of a .pstk file in memory, and the proof that they fit one
// another.

#ifndef PENSTOCK_CODEC_NATIVE_TABLES_H_
#define PENSTOCK_CODEC_NATIVE_TABLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "codec/chunk_codec.h"
#include "codec/format.h"
#include "core/checksum.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {

// One storage of a file: where its first byte is. It goes on at the start of
// the chunks that follow where it is longer than its first. As in the file.
struct FileStorage {
  int64_t size_bytes = 0;
  int64_t first_chunk = 0;  // 0 where empty
  uint32_t offset_in_chunk = 0;
  uint32_t location = 0;  // number in NativeIndex::locations
};
static_assert(sizeof(FileStorage) == 24);

// One chunk of a file.
struct FileChunk {
  int64_t offset = 0;  // in the file
  uint32_t stored_bytes = 0;
  uint32_t raw_bytes = 0;
  uint8_t coded = 0;  // 0: stored_bytes == raw_bytes, the bytes themselves
  Transform transform = Transform::kNone;
  uint8_t num_planes = 0;      // 0 where raw
  uint32_t first_plane = 0;    // in NativeIndex::planes; 0 where raw
  uint32_t first_storage = 0;  // the first that lies in it; not in the file
  Hash128 stored_hash;         // seeded with the chunk's number
  Hash128 raw_hash;            // likewise; that of stored bytes where raw
};

// The zstd frame of one byte plane.
struct FilePlane {
  uint32_t frame_bytes = 0;
  PlaneMode mode = PlaneMode::kRaw;
  uint8_t reserved[3] = {};  // 0
};
static_assert(sizeof(FilePlane) == 8);

// All that a .pstk says besides payload. Plain data.
struct NativeIndex {
  int64_t chunk_bytes = 0;  // of the header
  Hash128 glue_hash;        // of all bytes outside chunks, index and footer
  std::vector<FileStorage> storages;
  std::vector<std::string> locations;  // in order of first use
  std::vector<FileChunk> chunks;       // in file order
  std::vector<FilePlane> planes;       // of all coded chunks, in order
  // Which writer, which codec: for people, no reader depends on it.
  std::vector<std::pair<std::string, std::string>> meta;
  std::vector<Section> extensions;  // types from kFirstExtension on, ascending
  std::shared_ptr<const Graph> graph;
  // Storages behind those of the graph: only extensions refer to them.
  std::vector<std::shared_ptr<const Storage>> attachments;

  // By number, of the graph or attached.
  const std::shared_ptr<const Storage>& storage(int64_t number) const {
    const int64_t attached =
        number - static_cast<int64_t>(graph->storages().size());
    return attached < 0 ? graph->storages()[number] : attachments[attached];
  }

  ChunkCoding CodingOf(const FileChunk& chunk) const;  // of a coded one
  // Number of chunks that a storage, not empty, touches.
  int64_t NumChunksOf(const FileStorage& storage) const;
};

// Most stored bytes of a coded chunk: what a reader allocates at most.
constexpr int64_t MaxStoredBytes(int64_t raw_bytes) {
  return raw_bytes + raw_bytes / 64 + 4096;
}

// Proves storages, locations, chunks and planes of an index that was read:
// sizes add up, every chunk lies in the data region [kHeaderBytes, data_end)
// behind the one before, every byte of each storage is in exactly one chunk,
// order and alignment are canonical, codings legal. Sets each first_storage.
// Time and memory are linear in the number of entries, whatever they say.
// Errors: kDataLoss.
absl::Status CheckFileTables(int64_t data_end, NativeIndex& index);

// Where raw chunk `number` may begin if what is before it ends at `position`;
// -1: not so. Which of both holds, the frame headers tell.
struct RawPlaces {
  int64_t in_frame = -1;   // in the raw frame that `position` is in
  int64_t new_frame = -1;  // behind a frame header of its own
};
RawPlaces RawPlacesAt(const NativeIndex& index, int64_t number,
                      int64_t position);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_TABLES_H_
