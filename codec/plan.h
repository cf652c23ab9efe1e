// The plan: how the storages of a checkpoint are cut into chunks.

#ifndef PENSTOCK_CODEC_PLAN_H_
#define PENSTOCK_CODEC_PLAN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "core/storage.h"

namespace penstock {

inline constexpr int64_t kChunkBytes = 1 << 20;
// Most bytes of a chunk of any plan. Those that write a file have larger chunks
// than those that read one: each becomes one write (performance.md 3.1b).
inline constexpr int64_t kRunBytes = 4 << 20;
// Storages below this share chunks.
inline constexpr int64_t kSmallStorageBytes = 64 << 10;
// Pieces of one chunk start at multiples of this, with zeros between.
inline constexpr int64_t kPieceAlignment = 64;

// Bytes [begin, begin + size) of storage `storage` (its number in the plan),
// which lie at `offset` of their chunk.
struct Piece {
  int64_t storage = 0;
  int64_t begin = 0;
  int64_t size = 0;
  int64_t offset = 0;
};

// The unit of work: a byte range of one storage, or several small storages one
// behind the other. Its bytes are the pieces, zeros where there are none.
struct Chunk {
  int64_t number = 0;      // place in the plan
  int64_t size_bytes = 0;  // at most kRunBytes
  int64_t first_piece = 0;
  int64_t num_pieces = 0;
};

// All the work of one run, in order. Plain data.
struct Plan {
  std::vector<std::shared_ptr<const Storage>> storages;
  std::vector<Chunk> chunks;
  std::vector<Piece> pieces;  // of all chunks, in order
  int64_t total_bytes = 0;    // sum of the pieces' sizes

  absl::Span<const Piece> pieces_of(const Chunk& chunk) const {
    return absl::MakeConstSpan(pieces).subspan(chunk.first_piece,
                                               chunk.num_pieces);
  }
  // Appends a chunk of these pieces, each at the next multiple of
  // kPieceAlignment; sets their offsets. Their `storage`, `begin` and `size` (>
  // 0) are the caller's to get right.
  void Append(absl::Span<const Piece> chunk_pieces);
  // The same where the offsets are the caller's too: ascending from 0, without
  // overlaps.
  void AppendPlaced(absl::Span<const Piece> chunk_pieces);
};

// Every byte of `storages` once, in their order, in chunks of at most
// kChunkBytes. Neighbours share a chunk while the whole next one fits; a
// storage larger than a chunk is cut and shares none, not even its last, so
// that a source can lend each of its pieces. An empty storage has no piece. For
// reading what lies in a file one behind the other.
Plan PlanInOrder(absl::Span<const std::shared_ptr<const Storage>> storages);

// The same for a file that is to be written, where storage i begins at byte
// offsets[i], behind the end of storage i - 1: a chunk is a run of that file,
// of at most kRunBytes, and pieces lie in the chunk as they lie in the file.
// Storages share a run while less than kMaxInnerGap lies between; one that a
// run ends in is cut at a multiple of kChunkBytes, where a native file's chunks
// begin. So runs have about the same size whatever the storages have: small
// ones leave a disk waiting.
inline constexpr int64_t kMaxInnerGap = 64 << 10;
Plan PlanOfFile(absl::Span<const std::shared_ptr<const Storage>> storages,
                absl::Span<const int64_t> offsets);

// Bytes [begin, end) of one storage, cut at multiples of kChunkBytes of the
// storage, where a native file's chunks begin: none is decoded twice.
Plan PlanRange(const std::shared_ptr<const Storage>& storage, int64_t begin,
               int64_t end);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_PLAN_H_
