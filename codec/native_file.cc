#include "codec/native_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "codec/format.h"
#include "codec/native_index.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxCachedChunks = 8;
constexpr int64_t kMaxCachedBytes = 8 << 20;

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

absl::StatusOr<NativeIndex> ReadNative(const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const Header header, ReadHeader(file));
  PENSTOCK_ASSIGN_OR_RETURN(const Footer footer, ReadFooter(file));
  const int64_t frame_offset = footer.index_offset - kFrameHeaderBytes;
  std::array<uint8_t, kFrameHeaderBytes> frame;
  PENSTOCK_RETURN_IF_ERROR(file.Read(frame_offset, absl::MakeSpan(frame)));
  const std::string expected = PackFrameHeader(kIndexFrame, footer.index_bytes);
  if (std::memcmp(frame.data(), expected.data(), expected.size()) != 0) {
    return absl::DataLossError(absl::StrFormat(
        "index at offset %d: frame header is damaged", frame_offset));
  }
  absl::StatusOr<NativeIndex> index =
      ReadIndex(file, footer, header.chunk_bytes);
  if (index.ok()) return index;
  return Annotate(index.status(),
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

absl::StatusOr<std::unique_ptr<NativeFile>> NativeFile::Open(
    std::shared_ptr<const RandomAccessFile> file) {
  absl::StatusOr<NativeIndex> index = ReadNative(*file);
  if (!index.ok()) return Annotate(index.status(), file->path());
  return std::unique_ptr<NativeFile>(
      new NativeFile(std::move(file), *std::move(index)));
}

NativeFile::NativeFile(std::shared_ptr<const RandomAccessFile> file,
                       NativeIndex index)
    : file_(std::move(file)),
      index_(std::move(index)),
      max_chunk_bytes_(MaxChunkBytes(index_)),
      cache_(std::clamp<int64_t>(kMaxCachedBytes / max_chunk_bytes_, 1,
                                 kMaxCachedChunks)) {}

Plan NativeFile::PlanForFirst(size_t num_storages) const {
  std::vector<StorageRange> ranges;
  ranges.reserve(num_storages);
  for (size_t i = 0; i < num_storages; ++i) {
    ranges.push_back(
        {static_cast<int64_t>(i), 0, index_.storages[i].size_bytes});
  }
  return PlanFor(ranges);
}

Plan NativeFile::TreePlan() const {
  return PlanForFirst(index_.graph->storages().size());
}

Plan NativeFile::FilePlan() const {
  return PlanForFirst(index_.storages.size());
}

Plan NativeFile::PlanFor(absl::Span<const StorageRange> ranges) const {
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

int64_t NativeFile::StoredBytes(int64_t storage) const {
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

}  // namespace penstock
