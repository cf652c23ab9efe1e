#include "codec/native_source.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/format.h"
#include "codec/native_index.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxCachedChunks = 8;
constexpr int64_t kMaxCachedBytes = 8 << 20;

absl::Status CheckHash(const Hash128& expected, absl::Span<const uint8_t> bytes,
                       int64_t seed, absl::string_view what) {
  const Hash128 computed = HashOf(bytes, static_cast<uint64_t>(seed));
  if (computed == expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%s hash mismatch: expected %s, computed %s", what,
                      expected.ToHex(), computed.ToHex()));
}

absl::StatusOr<Header> ReadHeader(const RandomAccessFile& file) {
  std::vector<uint8_t> bytes(std::min(kHeaderBytes, file.size_bytes()));
  PENSTOCK_RETURN_IF_ERROR(file.Read(0, absl::MakeSpan(bytes)));
  if (!IsNativeStart(bytes)) {
    return absl::DataLossError("not a Penstock file: no Penstock header");
  }
  if (file.size_bytes() < kHeaderBytes + kFrameHeaderBytes + kFooterBytes) {
    return absl::DataLossError(
        absl::StrFormat("file ends at %d, footer missing: is the download or "
                        "copy incomplete?",
                        file.size_bytes()));
  }
  return ParseHeader(bytes);
}

absl::StatusOr<Footer> ReadFooter(const RandomAccessFile& file) {
  std::vector<uint8_t> bytes(kFooterBytes);
  PENSTOCK_RETURN_IF_ERROR(
      file.Read(file.size_bytes() - kFooterBytes, absl::MakeSpan(bytes)));
  return ParseFooter(bytes, file.size_bytes());
}

absl::StatusOr<NativeIndex> ReadIndex(const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const Header header, ReadHeader(file));
  PENSTOCK_ASSIGN_OR_RETURN(const Footer footer, ReadFooter(file));
  std::vector<uint8_t> frame(kFrameHeaderBytes + footer.index_bytes);
  const int64_t data_end = footer.index_offset - kFrameHeaderBytes;
  PENSTOCK_RETURN_IF_ERROR(file.Read(data_end, absl::MakeSpan(frame)));
  const std::string expected = PackFrameHeader(kIndexFrame, footer.index_bytes);
  if (std::memcmp(frame.data(), expected.data(), expected.size()) != 0) {
    return absl::DataLossError(absl::StrFormat(
        "index at offset %d: frame header is damaged", data_end));
  }
  const absl::Span<const uint8_t> payload =
      absl::MakeConstSpan(frame).subspan(kFrameHeaderBytes);
  absl::Status status = CheckHash(footer.index_hash, payload, 0, "index");
  if (status.ok()) {
    absl::StatusOr<NativeIndex> index =
        ParseIndex(payload, header.chunk_bytes, data_end);
    if (index.ok()) return index;
    status = index.status();
  }
  return Annotate(status,
                  absl::StrFormat("index at offset %d", footer.index_offset));
}

int64_t MaxChunkBytes(const NativeIndex& index) {
  int64_t most = kChunkBytes;
  for (const FileChunk& chunk : index.chunks) {
    most = std::max<int64_t>(most, chunk.raw_bytes);
  }
  return most;
}

// A piece of the plan being made, and the chunk of the file that it is in.
struct Part {
  int64_t chunk = 0;
  int64_t file_storage = 0;
  Piece piece;
  bool operator<(const Part& other) const {
    if (chunk != other.chunk) return chunk < other.chunk;
    if (file_storage != other.file_storage) {
      return file_storage < other.file_storage;
    }
    return piece.begin < other.piece.begin;
  }
};

std::vector<Part> PartsOf(absl::Span<const StorageRange> ranges,
                          const NativeIndex& index) {
  std::vector<Part> parts;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const StorageRange& range = ranges[i];
    const FileStorage& storage = index.storages[range.storage];
    PENSTOCK_CHECK(
        range.begin <= range.end &&
        RangeFits(range.begin, range.end - range.begin, storage.size_bytes));
    int64_t begin = range.begin;
    while (begin < range.end) {
      Part part;
      const int64_t skipped = begin / index.chunk_bytes;  // 0 in a shared chunk
      part.chunk = storage.first_chunk + skipped;
      part.file_storage = range.storage;
      part.piece.storage = static_cast<int64_t>(i);
      part.piece.begin = begin;
      part.piece.size =
          std::min(range.end, (skipped + 1) * index.chunk_bytes) - begin;
      begin += part.piece.size;
      parts.push_back(part);
    }
  }
  std::stable_sort(parts.begin(), parts.end());
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NativeSource>> NativeSource::Open(
    std::shared_ptr<const RandomAccessFile> file) {
  absl::StatusOr<NativeIndex> index = ReadIndex(*file);
  if (!index.ok()) return Annotate(index.status(), file->path());
  return std::unique_ptr<NativeSource>(
      new NativeSource(std::move(file), *std::move(index)));
}

NativeSource::NativeSource(std::shared_ptr<const RandomAccessFile> file,
                           NativeIndex index)
    : file_(std::move(file)),
      index_(std::move(index)),
      max_chunk_bytes_(MaxChunkBytes(index_)),
      cache_(std::clamp<int64_t>(kMaxCachedBytes / max_chunk_bytes_, 1,
                                 kMaxCachedChunks)) {}

Plan NativeSource::PlanForFirst(size_t num_storages) const {
  std::vector<StorageRange> ranges;
  ranges.reserve(num_storages);
  for (size_t i = 0; i < num_storages; ++i) {
    ranges.push_back(
        {static_cast<int64_t>(i), 0, index_.storages[i].size_bytes});
  }
  return PlanFor(ranges);
}

Plan NativeSource::TreePlan() const {
  return PlanForFirst(index_.graph->storages().size());
}

Plan NativeSource::FilePlan() const {
  return PlanForFirst(index_.storages.size());
}

Plan NativeSource::PlanFor(absl::Span<const StorageRange> ranges) const {
  Plan plan;
  plan.storages.reserve(ranges.size());
  for (const StorageRange& range : ranges) {
    plan.storages.push_back(index_.storage(range.storage));
  }
  const std::vector<Part> parts = PartsOf(ranges, index_);
  std::vector<Piece> pieces;
  int64_t size = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t offset = AlignUp(size, kPieceAlignment);
    // Overlapping ranges may want more of a chunk than it has.
    if (!pieces.empty() &&
        (parts[i].chunk != parts[i - 1].chunk ||
         !RangeFits(offset, parts[i].piece.size, index_.chunk_bytes))) {
      plan.Append(pieces);
      pieces.clear();
      size = 0;
    }
    pieces.push_back(parts[i].piece);
    size = AlignUp(size, kPieceAlignment) + parts[i].piece.size;
  }
  if (!pieces.empty()) plan.Append(pieces);
  return plan;
}

int64_t NativeSource::StoredBytes(int64_t storage) const {
  const FileStorage& row = index_.storages[storage];
  if (row.size_bytes == 0) return 0;
  const int64_t num_chunks = index_.NumChunksOf(row);
  if (num_chunks == 1) {
    const FileChunk& chunk = index_.chunks[row.first_chunk];
    // Both factors are below 2^27.
    return row.size_bytes * chunk.stored_bytes / chunk.raw_bytes;
  }
  int64_t total = 0;
  for (int64_t i = 0; i < num_chunks; ++i) {
    total += index_.chunks[row.first_chunk + i].stored_bytes;
  }
  return total;
}

absl::StatusOr<absl::Span<const uint8_t>> NativeSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  for (const Piece& piece : plan.pieces_of(chunk)) {
    PENSTOCK_RETURN_IF_ERROR(CheckPiece(plan, piece));
  }
  if (target == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    target = slot.raw.data();
  }
  const absl::Span<uint8_t> out(target, chunk.size_bytes);
  const int64_t number = ExactChunk(plan, chunk);
  if (number >= 0) {
    PENSTOCK_RETURN_IF_ERROR(ReadChunk(number, slot, out));
    return out;
  }
  int64_t end = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    std::memset(target + end, 0, piece.offset - end);
    PENSTOCK_RETURN_IF_ERROR(
        CopyPiece(plan.storages[piece.storage]->file_number(), piece, slot,
                  target + piece.offset));
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
    return file_->Read(first.offset + in_chunk, out);
  }
  MutexLock lock(sample_mutex_);
  return CopyPiece(storage.file_number(), piece, sample_slot_, out.data());
}

int64_t NativeSource::SlotBytes() const {
  // Input, planes, a chunk of the cache in this slot's hands, and raw.
  return MaxStoredBytes(max_chunk_bytes_) + 2 * max_chunk_bytes_ +
         std::max(max_chunk_bytes_, kRunBytes);
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
        file_->path(), piece.begin, piece.size, number, storage.size_bytes()));
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

// Bytes of storage `storage` of the file to `out`, from all chunks they are in.
absl::Status NativeSource::CopyPiece(int64_t storage, const Piece& piece,
                                     Slot& slot, uint8_t* out) {
  const FileStorage& row = index_.storages[storage];
  const int64_t end = piece.begin + piece.size;
  for (int64_t begin = piece.begin; begin < end;) {
    const int64_t number = row.first_chunk + begin / index_.chunk_bytes;
    const int64_t raw_bytes = index_.chunks[number].raw_bytes;
    const int64_t from = row.offset_in_chunk + begin % index_.chunk_bytes;
    const int64_t size = std::min(raw_bytes - from, end - begin);
    if (size == raw_bytes) {
      PENSTOCK_RETURN_IF_ERROR(
          ReadChunk(number, slot, absl::MakeSpan(out, size)));
    } else {
      PENSTOCK_ASSIGN_OR_RETURN(
          const std::shared_ptr<const AlignedBuffer> bytes,
          cache_.Get(number, raw_bytes, [&](absl::Span<uint8_t> decoded) {
            return ReadChunk(number, slot, decoded);
          }));
      std::memcpy(out, bytes->data() + from, size);
    }
    out += size;
    begin += size;
  }
  return absl::OkStatus();
}

absl::Status NativeSource::ReadChunk(int64_t number, Slot& slot,
                                     absl::Span<uint8_t> out) const {
  const absl::Status status = DecodeInto(number, slot, out);
  if (status.ok()) return status;
  const FileChunk& chunk = index_.chunks[number];
  return Annotate(
      status,
      absl::StrFormat("%s: chunk %d at offset %d, storage %d", file_->path(),
                      number, chunk.offset, chunk.first_storage));
}

absl::Status NativeSource::DecodeInto(int64_t number, Slot& slot,
                                      absl::Span<uint8_t> out) const {
  const FileChunk& chunk = index_.chunks[number];
  if (chunk.coded == 0) {
    PENSTOCK_RETURN_IF_ERROR(file_->Read(chunk.offset, out));
    return CheckHash(chunk.stored_hash, out, number, "stored");
  }
  slot.input.Reserve(chunk.stored_bytes);
  const absl::Span<uint8_t> stored(slot.input.data(), chunk.stored_bytes);
  PENSTOCK_RETURN_IF_ERROR(file_->Read(chunk.offset, stored));
  PENSTOCK_RETURN_IF_ERROR(
      CheckHash(chunk.stored_hash, stored, number, "stored"));
  PENSTOCK_RETURN_IF_ERROR(DecodeChunk(stored, index_.CodingOf(chunk),
                                       slot.decompressor, slot.planes, out));
  return CheckHash(chunk.raw_hash, out, number, "raw");
}

}  // namespace penstock
