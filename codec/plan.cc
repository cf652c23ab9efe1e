#include "codec/plan.h"

#include <algorithm>
#include <cstddef>

#include "core/checked.h"

namespace penstock {

void Plan::Append(absl::Span<const Piece> chunk_pieces) {
  Chunk chunk;
  chunk.number = static_cast<int64_t>(chunks.size());
  chunk.first_piece = static_cast<int64_t>(pieces.size());
  chunk.num_pieces = static_cast<int64_t>(chunk_pieces.size());
  for (Piece piece : chunk_pieces) {
    piece.offset = AlignUp(chunk.size_bytes, kPieceAlignment);
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
