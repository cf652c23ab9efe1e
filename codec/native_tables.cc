#include "codec/native_tables.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/plan.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr uint32_t kNoStorage = std::numeric_limits<uint32_t>::max();

absl::Status CheckPlanes(const FileChunk& chunk, const NativeIndex& index,
                         int64_t number, int64_t next_plane) {
  const int width = chunk.num_planes;
  const bool transform_fits =
      chunk.transform == Transform::kNone ||
      (chunk.transform == Transform::kSignMove && (width == 2 || width == 4)) ||
      (chunk.transform == Transform::kDelta && (width == 4 || width == 8));
  if ((width != 1 && width != 2 && width != 4 && width != 8) ||
      !transform_fits) {
    return absl::DataLossError(
        absl::StrFormat("chunk %d: transform %d over %d planes", number,
                        static_cast<int>(chunk.transform), width));
  }
  if (chunk.first_plane != next_plane ||
      width > static_cast<int64_t>(index.planes.size()) - next_plane) {
    return absl::DataLossError(absl::StrFormat(
        "chunk %d: planes from %d on, expected from %d on of %d", number,
        chunk.first_plane, next_plane, index.planes.size()));
  }
  int64_t sum = 0;
  for (int i = 0; i < width; ++i) {
    const FilePlane& plane = index.planes[next_plane + i];
    const bool reserved_is_0 = plane.reserved[0] == 0 &&
                               plane.reserved[1] == 0 && plane.reserved[2] == 0;
    if (plane.mode > PlaneMode::kLz || !reserved_is_0) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d, plane %d: unknown mode %d or reserved bytes not 0", number,
          i, static_cast<int>(plane.mode)));
    }
    sum += plane.frame_bytes;
  }
  if (sum == chunk.stored_bytes) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("chunk %d: frames of %d bytes in %d stored bytes", number,
                      sum, chunk.stored_bytes));
}

// Each chunk by itself.
absl::Status CheckChunks(const NativeIndex& index) {
  int64_t next_plane = 0;
  for (size_t i = 0; i < index.chunks.size(); ++i) {
    const FileChunk& chunk = index.chunks[i];
    const int64_t number = static_cast<int64_t>(i);
    if (chunk.raw_bytes < 1 || chunk.raw_bytes > index.chunk_bytes ||
        chunk.stored_bytes < 1 ||
        chunk.stored_bytes > MaxStoredBytes(chunk.raw_bytes)) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d: %d bytes stored, %d raw, where a chunk has at most %d",
          number, chunk.stored_bytes, chunk.raw_bytes, index.chunk_bytes));
    }
    if (chunk.coded != 0) {
      PENSTOCK_RETURN_IF_ERROR(CheckPlanes(chunk, index, number, next_plane));
      next_plane += chunk.num_planes;
    } else if (chunk.stored_bytes != chunk.raw_bytes ||
               chunk.transform != Transform::kNone || chunk.num_planes != 0 ||
               chunk.first_plane != 0) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d: raw, but %d bytes stored, %d raw, %d planes", number,
          chunk.stored_bytes, chunk.raw_bytes, chunk.num_planes));
    }
  }
  if (next_plane == static_cast<int64_t>(index.planes.size())) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrFormat("planes: expected %d, found %d",
                                             next_plane, index.planes.size()));
}

absl::Status BadStorage(int64_t number, const FileStorage& storage,
                        absl::string_view what) {
  return absl::DataLossError(absl::StrFormat(
      "storage %d of %d bytes at %d of chunk %d: %s", number,
      storage.size_bytes, storage.offset_in_chunk, storage.first_chunk, what));
}

// Gives the chunks that storage `number` is longer than to it alone.
// `filled[i]`: the bytes of chunk i that are given away.
absl::Status TakeChunks(int64_t number, const FileStorage& storage,
                        NativeIndex& index, std::vector<uint32_t>& filled) {
  int64_t left = storage.size_bytes;
  const uint8_t coded = index.chunks[storage.first_chunk].coded;
  for (size_t i = storage.first_chunk; left > 0; ++i) {
    if (i == index.chunks.size()) {
      return BadStorage(number, storage, "runs past the last chunk");
    }
    FileChunk& chunk = index.chunks[i];
    if (filled[i] != 0 || chunk.coded != coded ||
        chunk.raw_bytes != std::min(left, index.chunk_bytes)) {
      return BadStorage(number, storage, "its chunks are not its own");
    }
    filled[i] = chunk.raw_bytes;
    chunk.first_storage = static_cast<uint32_t>(number);
    left -= chunk.raw_bytes;
  }
  return absl::OkStatus();
}

absl::Status TakeBytes(int64_t number, const FileStorage& storage,
                       NativeIndex& index, std::vector<uint32_t>& filled) {
  FileChunk& chunk = index.chunks[storage.first_chunk];
  uint32_t& end = filled[storage.first_chunk];
  if (storage.offset_in_chunk != AlignUp(end, kPieceAlignment) ||
      !RangeFits(storage.offset_in_chunk, storage.size_bytes,
                 chunk.raw_bytes)) {
    return BadStorage(number, storage,
                      "not behind the one before it in this chunk");
  }
  end = static_cast<uint32_t>(storage.offset_in_chunk + storage.size_bytes);
  if (chunk.first_storage == kNoStorage) {
    chunk.first_storage = static_cast<uint32_t>(number);
  }
  return absl::OkStatus();
}

// Every byte of each storage in one chunk, every chunk full.
absl::Status CheckStorages(NativeIndex& index) {
  const int64_t num_chunks = static_cast<int64_t>(index.chunks.size());
  if (index.storages.size() >= kNoStorage) {
    return absl::DataLossError("storages: more than 2^32 - 2");
  }
  std::vector<uint32_t> filled(index.chunks.size(), 0);
  for (FileChunk& chunk : index.chunks) chunk.first_storage = kNoStorage;
  for (size_t i = 0; i < index.storages.size(); ++i) {
    const FileStorage& storage = index.storages[i];
    const int64_t number = static_cast<int64_t>(i);
    if (storage.size_bytes == 0) {
      if (storage.first_chunk == 0 && storage.offset_in_chunk == 0) continue;
      return BadStorage(number, storage, "empty, but not at 0 of chunk 0");
    }
    if (storage.size_bytes < 0 || storage.first_chunk < 0 ||
        storage.first_chunk >= num_chunks) {
      return BadStorage(number, storage,
                        absl::StrFormat("there are %d chunks", num_chunks));
    }
    const int64_t first_bytes = index.chunks[storage.first_chunk].raw_bytes;
    PENSTOCK_RETURN_IF_ERROR(storage.offset_in_chunk == 0 &&
                                     storage.size_bytes > first_bytes
                                 ? TakeChunks(number, storage, index, filled)
                                 : TakeBytes(number, storage, index, filled));
  }
  for (int64_t i = 0; i < num_chunks; ++i) {
    if (filled[i] == index.chunks[i].raw_bytes) continue;
    return absl::DataLossError(
        absl::StrFormat("chunk %d: storages take %d of its %d bytes", i,
                        filled[i], index.chunks[i].raw_bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckLocations(const NativeIndex& index) {
  size_t used = 0;
  for (size_t i = 0; i < index.storages.size(); ++i) {
    const uint32_t location = index.storages[i].location;
    if (location > used || location >= index.locations.size()) {
      return absl::DataLossError(
          absl::StrFormat("storage %d: location %d of %d, %d used so far", i,
                          location, index.locations.size(), used));
    }
    if (location == used) ++used;
  }
  if (used == index.locations.size()) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("locations: expected %d, found %d",
                                             used, index.locations.size()));
}

bool IsLargeRaw(const NativeIndex& index, const FileChunk& chunk) {
  return chunk.coded == 0 &&
         index.storages[chunk.first_storage].size_bytes >= kLargeRawBytes;
}

// File offsets: without a hole, aligned, in the order of the format.
absl::Status CheckOffsets(int64_t data_end, const NativeIndex& index) {
  int64_t position = kHeaderBytes;
  bool in_extent = true;  // the raw chunks that share frames come first
  for (size_t i = 0; i < index.chunks.size(); ++i) {
    const FileChunk& chunk = index.chunks[i];
    const int64_t number = static_cast<int64_t>(i);
    const bool shares = chunk.coded == 0 && !IsLargeRaw(index, chunk);
    const bool ascends =
        i == 0 || (in_extent && !shares) ||
        chunk.first_storage >= index.chunks[i - 1].first_storage;
    if ((shares && !in_extent) || !ascends) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d, storage %d: out of order", number, chunk.first_storage));
    }
    in_extent = shares;
    RawPlaces places;
    if (chunk.coded == 0) places = RawPlacesAt(index, number, position);
    const bool in_place =
        chunk.coded != 0
            ? chunk.offset == position
            : chunk.offset >= 0 && (chunk.offset == places.in_frame ||
                                    chunk.offset == places.new_frame);
    if (!in_place || !RangeFits(chunk.offset, chunk.stored_bytes, data_end)) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d: %d bytes at %d; what is before it ends at %d, the data at "
          "%d",
          number, chunk.stored_bytes, chunk.offset, position, data_end));
    }
    position = chunk.offset + chunk.stored_bytes;
  }
  if (position == data_end) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "chunks end at %d, the index begins at %d", position, data_end));
}

}  // namespace

ChunkCoding NativeIndex::CodingOf(const FileChunk& chunk) const {
  ChunkCoding coding;
  coding.transform = chunk.transform;
  coding.num_planes = chunk.num_planes;
  for (int i = 0; i < chunk.num_planes; ++i) {
    const FilePlane& plane = planes[chunk.first_plane + i];
    coding.modes[i] = plane.mode;
    coding.frame_bytes[i] = plane.frame_bytes;
  }
  return coding;
}

int64_t NativeIndex::NumChunksOf(const FileStorage& storage) const {
  const int64_t first = chunks[storage.first_chunk].raw_bytes;
  const int64_t end = storage.offset_in_chunk + storage.size_bytes;
  if (end <= first) return 1;
  return (storage.size_bytes + chunk_bytes - 1) / chunk_bytes;
}

absl::Status CheckFileTables(int64_t data_end, NativeIndex& index) {
  PENSTOCK_RETURN_IF_ERROR(CheckChunks(index));
  PENSTOCK_RETURN_IF_ERROR(CheckStorages(index));
  PENSTOCK_RETURN_IF_ERROR(CheckLocations(index));
  return CheckOffsets(data_end, index);
}

RawPlaces RawPlacesAt(const NativeIndex& index, int64_t number,
                      int64_t position) {
  const FileChunk& chunk = index.chunks[number];
  const bool large = IsLargeRaw(index, chunk);
  const bool first = index.storages[chunk.first_storage].first_chunk == number;
  const int64_t alignment = large ? kLargeAlignment : kSmallAlignment;
  RawPlaces places;
  if (!first) {
    places.in_frame = position;
  } else if (!large) {
    places.in_frame = AlignUp(position, alignment);
  }
  if (first || large) {
    places.new_frame = AlignUp(position + kFrameHeaderBytes, alignment);
  }
  return places;
}

}  // namespace penstock
