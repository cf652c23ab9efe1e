#include "compat/pt_source.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Small records that lie together are read together, gaps and all.
constexpr int64_t kGroupBytes = 1 << 20;

}  // namespace

PtSource::PtSource(std::shared_ptr<const RandomAccessFile> file,
                   std::shared_ptr<const PtRecords> records)
    : file_(std::move(file)), records_(std::move(records)) {}

int64_t PtSource::SlotBytes() const { return kChunkBytes + kGroupBytes; }

int64_t PtSource::unverified_bytes() const {
  return read_bytes_ - verified_bytes_;
}

absl::StatusOr<const ZipEntry*> PtSource::EntryOf(const Storage& storage,
                                                  int64_t begin,
                                                  int64_t size) const {
  const std::vector<ZipEntry>& entries = records_->directory.entries();
  if (!storage.in_file() ||
      storage.file_number() >= static_cast<int64_t>(entries.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: a storage that is not in it", file_->path()));
  }
  const ZipEntry& entry = entries[storage.file_number()];
  if (entry.deflated || !RangeFits(begin, size, entry.size_bytes)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: record %s of %d bytes: asked for %d bytes from %d", file_->path(),
        QuotedRecordName(entry.name), entry.size_bytes, size, begin));
  }
  return &entry;
}

absl::StatusOr<absl::Span<const uint8_t>> PtSource::Bytes(const Plan& plan,
                                                          const Chunk& chunk,
                                                          Slot& slot,
                                                          uint8_t* target) {
  uint8_t* out = target;
  if (out == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    out = slot.raw.data();
  }
  PENSTOCK_RETURN_IF_ERROR(Read(plan, chunk, slot, out));
  int64_t end = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    std::memset(out + end, 0, piece.offset - end);
    end = piece.offset + piece.size;
    const absl::Span<uint8_t> bytes(out + piece.offset, piece.size);
    const Storage& storage = *plan.storages[piece.storage];
    PENSTOCK_RETURN_IF_ERROR(
        Verify(records_->directory.entries()[storage.file_number()],
               piece.begin, bytes));
    PENSTOCK_RETURN_IF_ERROR(Swap(storage, piece.begin, bytes));
  }
  return absl::MakeConstSpan(out, chunk.size_bytes);
}

// Puts the file's bytes of each piece to its place in `out`.
absl::Status PtSource::Read(const Plan& plan, const Chunk& chunk, Slot& slot,
                            uint8_t* out) {
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  std::vector<int64_t> offsets;  // of the pieces, in the file
  offsets.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const ZipEntry* entry,
        EntryOf(*plan.storages[piece.storage], piece.begin, piece.size));
    offsets.push_back(entry->payload_offset + piece.begin);
  }
  for (size_t first = 0; first < pieces.size();) {
    const int64_t begin = offsets[first];
    int64_t end = begin + pieces[first].size;
    size_t last = first + 1;
    while (last < pieces.size() && offsets[last] >= end &&
           offsets[last] + pieces[last].size - begin <= kGroupBytes) {
      end = offsets[last] + pieces[last].size;
      ++last;
    }
    uint8_t* const place = out + pieces[first].offset;
    if (last == first + 1) {
      PENSTOCK_RETURN_IF_ERROR(
          file_->Read(begin, absl::MakeSpan(place, end - begin)));
    } else {
      slot.input.Reserve(kGroupBytes);
      PENSTOCK_RETURN_IF_ERROR(
          file_->Read(begin, absl::MakeSpan(slot.input.data(), end - begin)));
      for (size_t i = first; i < last; ++i) {
        std::memcpy(out + pieces[i].offset,
                    slot.input.data() + (offsets[i] - begin), pieces[i].size);
      }
    }
    first = last;
  }
  return absl::OkStatus();
}

absl::Status PtSource::Sample(const Storage& storage, int64_t begin,
                              absl::Span<uint8_t> out) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const ZipEntry* entry,
      EntryOf(storage, begin, static_cast<int64_t>(out.size())));
  PENSTOCK_RETURN_IF_ERROR(file_->Read(entry->payload_offset + begin, out));
  return Swap(storage, begin, out);
}

absl::Status PtSource::Verify(const ZipEntry& entry, int64_t begin,
                              absl::Span<const uint8_t> bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  read_bytes_ += size;
  if (entry.crc32 == 0 || size == 0) return absl::OkStatus();
  Range range{begin + size, Crc32(bytes)};
  if (size == entry.size_bytes) return Compare(entry, range.crc);
  {
    MutexLock lock(mutex_);
    Ranges& ranges = pending_[&entry];
    const auto next = ranges.lower_bound(begin);
    const bool has_previous = next != ranges.begin();
    const auto previous = has_previous ? std::prev(next) : ranges.end();
    // Bytes that were read twice cannot be told apart: the first count.
    if ((next != ranges.end() && next->first < range.end) ||
        (has_previous && previous->second.end > begin)) {
      return absl::OkStatus();
    }
    if (next != ranges.end() && next->first == range.end) {
      range.crc = CombineCrc32(range.crc, next->second.crc,
                               next->second.end - next->first);
      range.end = next->second.end;
      ranges.erase(next);
    }
    if (has_previous && previous->second.end == begin) {
      range.crc =
          CombineCrc32(previous->second.crc, range.crc, range.end - begin);
      begin = previous->first;
    }
    ranges[begin] = range;
    if (begin != 0 || range.end != entry.size_bytes) return absl::OkStatus();
    pending_.erase(&entry);
  }
  return Compare(entry, range.crc);
}

absl::Status PtSource::Compare(const ZipEntry& entry, uint32_t crc) {
  if (crc != entry.crc32) {
    return absl::DataLossError(absl::StrFormat(
        "%s: zip_crc_mismatch: record %s, %d bytes at offset %d: stored "
        "%#010x, computed %#010x",
        file_->path(), QuotedRecordName(entry.name), entry.size_bytes,
        entry.payload_offset, entry.crc32, crc));
  }
  verified_bytes_ += entry.size_bytes;
  return absl::OkStatus();
}

absl::Status PtSource::Swap(const Storage& storage, int64_t begin,
                            absl::Span<uint8_t> bytes) const {
  if (records_->swap_bytes.empty()) return absl::OkStatus();
  const size_t width = records_->swap_bytes[storage.file_number()];
  if (width == 1) return absl::OkStatus();
  if (begin % width != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: a piece of a big-endian record begins at %d, no multiple of %d",
        file_->path(), begin, width));
  }
  // A rest shorter than a number is none, and stays.
  for (size_t i = 0; i + width <= bytes.size(); i += width) {
    std::reverse(bytes.begin() + i, bytes.begin() + i + width);
  }
  return absl::OkStatus();
}

}  // namespace penstock
