#include "codec/native_source.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kNotPlanned = -1;  // in the place of a chunk's number

}  // namespace

NativeSource::NativeSource(const NativeFile& file,
                           std::shared_ptr<const uint8_t> pages)
    : native_(file),
      index_(file.index()),
      file_(file.file()),
      pages_(std::move(pages)) {}

void NativeSource::Start(const Plan& plan, const RunLimits& limits) {
  ahead_.reset();
  if (pages_ != nullptr) return;
  std::vector<ChunkRange> wanted;
  for (const Chunk& chunk : plan.chunks) {
    if (!CheckPieces(plan, chunk).ok()) continue;
    const int64_t exact = ExactChunk(plan, chunk);
    if (exact >= 0) {
      wanted.push_back({chunk.number, RangeOf(exact)});
      continue;
    }
    for (const Piece& piece : plan.pieces_of(chunk)) {
      ForEachPart(plan.storages[piece.storage]->file_number(), piece,
                  [&](const Part& part) {
                    if (part.is_whole) {
                      wanted.push_back({chunk.number, RangeOf(part.number)});
                    }
                    return absl::OkStatus();
                  })
          .IgnoreError();
    }
  }
  ahead_ = ReadAhead::Start(std::move(wanted), limits);
}

absl::Status NativeSource::Finish() {
  ahead_.reset();
  return absl::OkStatus();
}

FileRange NativeSource::RangeOf(int64_t number) const {
  const FileChunk& chunk = index_.chunks[number];
  return {&file_, chunk.offset, chunk.stored_bytes};
}

// The stored bytes of chunk `number` of the file, where they are at hand for
// chunk `planned` of the plan.
LentBytes NativeSource::Lend(int64_t number, int64_t planned) {
  const FileRange range = RangeOf(number);
  if (pages_ != nullptr) {
    return LentBytes(
        absl::MakeConstSpan(pages_.get() + range.offset, range.size_bytes));
  }
  return ahead_ == nullptr ? LentBytes() : ahead_->Take(planned, range);
}

absl::StatusOr<absl::Span<const uint8_t>> NativeSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  PENSTOCK_RETURN_IF_ERROR(CheckPieces(plan, chunk));
  const int64_t number = ExactChunk(plan, chunk);
  LentBytes lent;
  if (number >= 0) {
    lent = Lend(number, chunk.number);
    if (target == nullptr && pages_ != nullptr &&
        index_.chunks[number].coded == 0) {
      PENSTOCK_RETURN_IF_ERROR(InFile(number, VerifyRaw(number, lent.whole())));
      return lent.whole();
    }
  }
  if (target == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    target = slot.raw.data();
  }
  const absl::Span<uint8_t> out(target, chunk.size_bytes);
  if (number >= 0) {
    PENSTOCK_RETURN_IF_ERROR(ReadChunk(number, lent, slot, out));
    return out;
  }
  int64_t end = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    std::memset(target + end, 0, piece.offset - end);
    PENSTOCK_RETURN_IF_ERROR(
        CopyPiece(plan.storages[piece.storage]->file_number(), piece,
                  chunk.number, slot, target + piece.offset));
    end = piece.offset + piece.size;
  }
  return out;
}

absl::Status NativeSource::Sample(const Storage& storage, int64_t begin,
                                  absl::Span<uint8_t> out) {
  Plan plan;
  plan.storages.push_back(std::shared_ptr<const Storage>(
      std::shared_ptr<const Storage>(), &storage));  // not owned
  const Piece piece{0, begin, static_cast<int64_t>(out.size()), 0};
  PENSTOCK_RETURN_IF_ERROR(CheckPiece(plan, piece));
  if (out.empty()) return absl::OkStatus();
  const FileStorage& row = index_.storages[storage.file_number()];
  const FileChunk& first =
      index_.chunks[row.first_chunk + begin / index_.chunk_bytes];
  const int64_t in_chunk = row.offset_in_chunk + begin % index_.chunk_bytes;
  if (first.coded == 0 && RangeFits(in_chunk, piece.size, first.raw_bytes)) {
    return file_.Read(first.offset + in_chunk, out);
  }
  MutexLock lock(sample_mutex_);
  return CopyPiece(storage.file_number(), piece, kNotPlanned, sample_slot_,
                   out.data());
}

int64_t NativeSource::SlotBytes() const {
  // Input, planes, a chunk of the cache in this slot's hands, and raw.
  const int64_t chunk_bytes = native_.max_chunk_bytes();
  return MaxStoredBytes(chunk_bytes) + 2 * chunk_bytes +
         std::max(chunk_bytes, kRunBytes);
}

absl::Status NativeSource::CheckPieces(const Plan& plan,
                                       const Chunk& chunk) const {
  for (const Piece& piece : plan.pieces_of(chunk)) {
    PENSTOCK_RETURN_IF_ERROR(CheckPiece(plan, piece));
  }
  return absl::OkStatus();
}

absl::Status NativeSource::CheckPiece(const Plan& plan,
                                      const Piece& piece) const {
  const Storage& storage = *plan.storages[piece.storage];
  const int64_t number = storage.file_number();
  if (number < 0 || number >= static_cast<int64_t>(index_.storages.size()) ||
      index_.storages[number].size_bytes != storage.size_bytes() ||
      !RangeFits(piece.begin, piece.size, storage.size_bytes())) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: bytes [%d, +%d) of storage %d of %d bytes are not of this file",
        file_.path(), piece.begin, piece.size, number, storage.size_bytes()));
  }
  return absl::OkStatus();
}

// The chunk of the file that `chunk` is, byte for byte; -1: none.
int64_t NativeSource::ExactChunk(const Plan& plan, const Chunk& chunk) const {
  int64_t number = -1;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    const FileStorage& row =
        index_.storages[plan.storages[piece.storage]->file_number()];
    if (piece.size == 0) return -1;
    const int64_t in_file = row.first_chunk + piece.begin / index_.chunk_bytes;
    const int64_t offset =
        row.offset_in_chunk + piece.begin % index_.chunk_bytes;
    if ((number >= 0 && number != in_file) || offset != piece.offset) return -1;
    number = in_file;
    if (index_.chunks[number].raw_bytes != chunk.size_bytes) return -1;
  }
  return number;
}

// The chunks of the file that bytes of storage `storage` of the file are in.
absl::Status NativeSource::ForEachPart(
    int64_t storage, const Piece& piece,
    absl::FunctionRef<absl::Status(const Part&)> use) const {
  const FileStorage& row = index_.storages[storage];
  const int64_t end = piece.begin + piece.size;
  for (int64_t begin = piece.begin; begin < end;) {
    Part part;
    part.number = row.first_chunk + begin / index_.chunk_bytes;
    const int64_t raw_bytes = index_.chunks[part.number].raw_bytes;
    part.begin = row.offset_in_chunk + begin % index_.chunk_bytes;
    part.size = std::min(raw_bytes - part.begin, end - begin);
    part.is_whole = part.size == raw_bytes;
    PENSTOCK_RETURN_IF_ERROR(use(part));
    begin += part.size;
  }
  return absl::OkStatus();
}

// Bytes of storage `storage` of the file to `out`, for chunk `planned`.
absl::Status NativeSource::CopyPiece(int64_t storage, const Piece& piece,
                                     int64_t planned, Slot& slot,
                                     uint8_t* out) {
  return ForEachPart(storage, piece, [&](const Part& part) -> absl::Status {
    uint8_t* const to = out;
    out += part.size;
    if (part.is_whole) {
      return ReadChunk(part.number, Lend(part.number, planned), slot,
                       absl::MakeSpan(to, part.size));
    }
    PENSTOCK_ASSIGN_OR_RETURN(
        const std::shared_ptr<const AlignedBuffer> bytes,
        native_.cache().Get(part.number, index_.chunks[part.number].raw_bytes,
                            [&](absl::Span<uint8_t> decoded) {
                              return ReadChunk(part.number,
                                               Lend(part.number, kNotPlanned),
                                               slot, decoded);
                            }));
    std::memcpy(to, bytes->data() + part.begin, part.size);
    return absl::OkStatus();
  });
}

absl::Status NativeSource::InFile(int64_t number,
                                  const absl::Status& status) const {
  if (status.ok()) return status;
  const FileChunk& chunk = index_.chunks[number];
  return Annotate(
      status,
      absl::StrFormat("%s: chunk %d at offset %d, storage %d", file_.path(),
                      number, chunk.offset, chunk.first_storage));
}

absl::Status NativeSource::ReadChunk(int64_t number, const LentBytes& lent,
                                     Slot& slot,
                                     absl::Span<uint8_t> out) const {
  return InFile(number, index_.chunks[number].coded == 0
                            ? ReadRaw(number, lent, out)
                            : ReadCoded(number, lent, slot, out));
}

absl::Status NativeSource::VerifyRaw(int64_t number,
                                     absl::Span<const uint8_t> bytes) const {
  return CheckHash(index_.chunks[number].stored_hash,
                   HashOf(bytes, static_cast<uint64_t>(number)), "stored");
}

absl::Status NativeSource::ReadRaw(int64_t number, const LentBytes& lent,
                                   absl::Span<uint8_t> out) const {
  Hasher hasher(static_cast<uint64_t>(number));
  PENSTOCK_RETURN_IF_ERROR(ReadInTiles(
      RangeOf(number), lent, out.data(),
      [&](absl::Span<const uint8_t> tile) { hasher.Update(tile); }));
  return CheckHash(index_.chunks[number].stored_hash, hasher.Digest(),
                   "stored");
}

absl::Status NativeSource::ReadCoded(int64_t number, const LentBytes& lent,
                                     Slot& slot,
                                     absl::Span<uint8_t> out) const {
  const FileChunk& chunk = index_.chunks[number];
  const uint64_t seed = static_cast<uint64_t>(number);
  absl::Span<const uint8_t> stored = lent.whole();
  if (stored.empty()) {
    slot.input.Reserve(chunk.stored_bytes);
    PENSTOCK_RETURN_IF_ERROR(ReadInTiles(RangeOf(number), lent,
                                         slot.input.data(),
                                         [](absl::Span<const uint8_t>) {}));
    stored = absl::MakeConstSpan(slot.input.data(), chunk.stored_bytes);
  }
  PENSTOCK_RETURN_IF_ERROR(
      CheckHash(chunk.stored_hash, HashOf(stored, seed), "stored"));
  PENSTOCK_RETURN_IF_ERROR(DecodeChunk(stored, index_.CodingOf(chunk),
                                       slot.decompressor, slot.planes, out));
  return CheckHash(chunk.raw_hash, penstock::HashOf(out, seed), "raw");
}

}  // namespace penstock
