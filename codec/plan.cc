#include "codec/plan.h"

#include <algorithm>
#include <cstddef>

#include "core/checked.h"

namespace penstock {

void Plan::Append(absl::Span<const Piece> chunk_pieces) {
  const size_t first = pieces.size();
  AppendPlaced(chunk_pieces);
  Chunk& chunk = chunks.back();
  chunk.size_bytes = 0;
  for (Piece& piece : absl::MakeSpan(pieces).subspan(first)) {
    piece.offset = AlignUp(chunk.size_bytes, kPieceAlignment);
    chunk.size_bytes = piece.offset + piece.size;
  }
}

void Plan::AppendPlaced(absl::Span<const Piece> chunk_pieces) {
  Chunk chunk;
  chunk.number = static_cast<int64_t>(chunks.size());
  chunk.first_piece = static_cast<int64_t>(pieces.size());
  chunk.num_pieces = static_cast<int64_t>(chunk_pieces.size());
  for (const Piece& piece : chunk_pieces) {
    chunk.size_bytes = piece.offset + piece.size;
    total_bytes += piece.size;
    pieces.push_back(piece);
  }
  chunks.push_back(chunk);
}

Plan PlanInOrder(absl::Span<const std::shared_ptr<const Storage>> storages) {
  Plan plan;
  plan.storages.assign(storages.begin(), storages.end());
  std::vector<Piece> shared;  // whole storages of the chunk being gathered
  int64_t shared_bytes = 0;
  const auto append_shared = [&] {
    if (!shared.empty()) plan.Append(shared);
    shared.clear();
    shared_bytes = 0;
  };
  for (size_t i = 0; i < storages.size(); ++i) {
    const int64_t size = storages[i]->size_bytes();
    if (size == 0) continue;
    Piece piece;
    piece.storage = static_cast<int64_t>(i);
    const int64_t offset = AlignUp(shared_bytes, kPieceAlignment);
    if (!RangeFits(offset, size, kChunkBytes)) append_shared();
    if (size <= kChunkBytes) {
      piece.size = size;
      shared.push_back(piece);
      shared_bytes = AlignUp(shared_bytes, kPieceAlignment) + size;
      continue;
    }
    for (; piece.begin < size; piece.begin += piece.size) {
      piece.size = std::min(kChunkBytes, size - piece.begin);
      plan.Append(absl::MakeConstSpan(&piece, 1));
    }
  }
  append_shared();
  return plan;
}

Plan PlanOfFile(absl::Span<const std::shared_ptr<const Storage>> storages,
                absl::Span<const int64_t> offsets) {
  Plan plan;
  plan.storages.assign(storages.begin(), storages.end());
  std::vector<Piece> run;
  int64_t begin = 0;  // of the run, in the file
  int64_t end = 0;    // of its last piece, in the run
  const auto append_run = [&] {
    if (!run.empty()) plan.AppendPlaced(run);
    run.clear();
    end = 0;
  };
  for (size_t i = 0; i < storages.size(); ++i) {
    const int64_t size = storages[i]->size_bytes();
    Piece piece;
    piece.storage = static_cast<int64_t>(i);
    while (piece.begin < size) {
      if (run.empty()) begin = offsets[i] + piece.begin;
      piece.offset = offsets[i] + piece.begin - begin;
      piece.size = size - piece.begin;
      const int64_t room = kRunBytes - piece.offset;
      if (piece.size > room) piece.size = room - room % kChunkBytes;
      if (piece.size <= 0 || piece.offset - end >= kMaxInnerGap) {
        append_run();
        continue;
      }
      run.push_back(piece);
      end = piece.offset + piece.size;
      piece.begin += piece.size;
    }
  }
  append_run();
  return plan;
}

Plan PlanRange(const std::shared_ptr<const Storage>& storage, int64_t begin,
               int64_t end) {
  Plan plan;
  plan.storages = {storage};
  while (begin < end) {
    const int64_t cut = std::min(end, (begin / kChunkBytes + 1) * kChunkBytes);
    plan.Append({{Piece{0, begin, cut - begin, 0}}});
    begin = cut;
  }
  return plan;
}

}  // namespace penstock
