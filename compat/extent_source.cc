#include "compat/extent_source.h"

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

int64_t ExtentSource::SlotBytes() const { return kRunBytes + kGroupBytes; }

int64_t ExtentSource::unverified_bytes() const {
  return read_bytes_ - verified_bytes_;
}

std::vector<FileExtent> ExtentsOf(const Graph& graph,
                                  const StoredStorages& stored) {
  std::vector<FileExtent> extents;
  int64_t number = 0;
  for (const auto& storage : graph.storages()) {
    const int64_t i = number++;
    if (!storage->in_file() || storage->size_bytes() == 0) continue;
    const StoredAt& place = stored.places[storage->file_number()];
    if (place.file != 0 || place.swap_bytes != 1 || place.is_part) continue;
    extents.push_back({place.offset, i});
  }
  std::sort(extents.begin(), extents.end(),
            [](const FileExtent& a, const FileExtent& b) {
              return a.file_offset < b.file_offset;
            });
  return extents;
}

void SwapNumbers(int width, absl::Span<uint8_t> bytes) {
  if (width == 1) return;
  for (size_t i = 0; i + width <= bytes.size(); i += width) {
    std::reverse(bytes.begin() + i, bytes.begin() + i + width);
  }
}

absl::StatusOr<const StoredAt*> ExtentSource::PlaceOf(const Storage& storage,
                                                      int64_t begin,
                                                      int64_t size) const {
  const std::vector<StoredAt>& places = stored_->places;
  if (!storage.in_file() ||
      storage.file_number() >= static_cast<int64_t>(places.size())) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: a storage that is not in it", stored_->files[0]->path()));
  }
  const StoredAt& place = places[storage.file_number()];
  if (!RangeFits(begin, size, place.size_bytes)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: record %s of %d bytes: asked for %d bytes from %d",
        stored_->files[place.file]->path(), QuotedRecordName(place.name),
        place.size_bytes, size, begin));
  }
  return &place;
}

absl::StatusOr<absl::Span<const uint8_t>> ExtentSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
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
    const StoredAt& place = stored_->places[storage.file_number()];
    PENSTOCK_RETURN_IF_ERROR(Verify(place, piece.begin, bytes));
    PENSTOCK_RETURN_IF_ERROR(Swap(place, piece.begin, bytes));
  }
  return absl::MakeConstSpan(out, chunk.size_bytes);
}

// Puts the file's bytes of each piece to its place in `out`.
absl::Status ExtentSource::Read(const Plan& plan, const Chunk& chunk,
                                Slot& slot, uint8_t* out) {
  struct Place {
    int64_t file, offset;
  };
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  std::vector<Place> places;  // of the pieces
  places.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const StoredAt* place,
        PlaceOf(*plan.storages[piece.storage], piece.begin, piece.size));
    places.push_back({place->file, place->offset + piece.begin});
  }
  for (size_t first = 0; first < pieces.size();) {
    const RandomAccessFile& file = *stored_->files[places[first].file];
    const int64_t begin = places[first].offset;
    int64_t end = begin + pieces[first].size;
    size_t last = first + 1;
    while (last < pieces.size() && places[last].file == places[first].file &&
           places[last].offset >= end &&
           places[last].offset + pieces[last].size - begin <= kGroupBytes) {
      end = places[last].offset + pieces[last].size;
      ++last;
    }
    uint8_t* const target = out + pieces[first].offset;
    if (last == first + 1) {
      PENSTOCK_RETURN_IF_ERROR(
          file.Read(begin, absl::MakeSpan(target, end - begin)));
    } else {
      slot.input.Reserve(kGroupBytes);
      PENSTOCK_RETURN_IF_ERROR(
          file.Read(begin, absl::MakeSpan(slot.input.data(), end - begin)));
      for (size_t i = first; i < last; ++i) {
        std::memcpy(out + pieces[i].offset,
                    slot.input.data() + (places[i].offset - begin),
                    pieces[i].size);
      }
    }
    first = last;
  }
  return absl::OkStatus();
}

absl::Status ExtentSource::Sample(const Storage& storage, int64_t begin,
                                  absl::Span<uint8_t> out) {
  PENSTOCK_ASSIGN_OR_RETURN(
      const StoredAt* place,
      PlaceOf(storage, begin, static_cast<int64_t>(out.size())));
  PENSTOCK_RETURN_IF_ERROR(
      stored_->files[place->file]->Read(place->offset + begin, out));
  return Swap(*place, begin, out);
}

absl::Status ExtentSource::Verify(const StoredAt& place, int64_t begin,
                                  absl::Span<const uint8_t> bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  read_bytes_ += size;
  if (place.crc32 == 0 || size == 0) return absl::OkStatus();
  const uint32_t crc = Crc32(bytes);
  if (size == place.size_bytes) return Compare(place, crc);
  uint32_t whole_crc = 0;
  {
    MutexLock lock(mutex_);
    if (complete_.contains(&place)) return absl::OkStatus();
    Ranges& ranges = pending_[&place];
    // Bytes that were read twice cannot be told apart: the first count. So the
    // parts that no range has yet are added.
    while (!bytes.empty()) {
      const int64_t end = begin + static_cast<int64_t>(bytes.size());
      const auto next = ranges.upper_bound(begin);
      const bool covered =
          next != ranges.begin() && std::prev(next)->second.end > begin;
      const int64_t stop =
          covered ? std::min(end, std::prev(next)->second.end)
                  : (next == ranges.end() ? end : std::min(end, next->first));
      const absl::Span<const uint8_t> part = bytes.first(stop - begin);
      if (!covered) {
        AddRange(begin, {stop, stop - begin == size ? crc : Crc32(part)},
                 ranges);
      }
      bytes.remove_prefix(part.size());
      begin = stop;
    }
    const auto first = ranges.begin();
    if (first->first != 0 || first->second.end != place.size_bytes) {
      return absl::OkStatus();
    }
    whole_crc = first->second.crc;
    pending_.erase(&place);
    complete_.insert(&place);
  }
  return Compare(place, whole_crc);
}

// Joins a range, which overlaps none, with its neighbours.
void ExtentSource::AddRange(int64_t begin, Range range, Ranges& ranges) {
  const auto next = ranges.lower_bound(begin);
  if (next != ranges.begin()) {
    const auto previous = std::prev(next);
    if (previous->second.end == begin) {
      range.crc =
          CombineCrc32(previous->second.crc, range.crc, range.end - begin);
      begin = previous->first;
    }
  }
  if (next != ranges.end() && next->first == range.end) {
    range.crc = CombineCrc32(range.crc, next->second.crc,
                             next->second.end - next->first);
    range.end = next->second.end;
    ranges.erase(next);
  }
  ranges[begin] = range;
}

absl::Status ExtentSource::VerifyRest() {
  struct Gap {
    const StoredAt* place;
    int64_t begin, end;
  };
  std::vector<Gap> gaps;
  {
    MutexLock lock(mutex_);
    for (const auto& [place, ranges] : pending_) {
      int64_t begin = 0;
      for (const auto& [next, range] : ranges) {
        if (next > begin) gaps.push_back({place, begin, next});
        begin = range.end;
      }
      if (begin < place->size_bytes) {
        gaps.push_back({place, begin, place->size_bytes});
      }
    }
  }
  std::vector<uint8_t> buffer;
  for (Gap& gap : gaps) {
    while (gap.begin < gap.end) {
      buffer.resize(std::min(kGroupBytes, gap.end - gap.begin));
      PENSTOCK_RETURN_IF_ERROR(stored_->files[gap.place->file]->Read(
          gap.place->offset + gap.begin, absl::MakeSpan(buffer)));
      PENSTOCK_RETURN_IF_ERROR(Verify(*gap.place, gap.begin, buffer));
      gap.begin += static_cast<int64_t>(buffer.size());
    }
  }
  return absl::OkStatus();
}

absl::Status ExtentSource::Compare(const StoredAt& place, uint32_t crc) {
  if (crc != place.crc32) {
    return absl::DataLossError(absl::StrFormat(
        "%s: zip_crc_mismatch: record %s, %d bytes at offset %d: stored "
        "%#010x, computed %#010x",
        stored_->files[place.file]->path(), QuotedRecordName(place.name),
        place.size_bytes, place.offset, place.crc32, crc));
  }
  verified_bytes_ += place.size_bytes;
  return absl::OkStatus();
}

absl::Status ExtentSource::Swap(const StoredAt& place, int64_t begin,
                                absl::Span<uint8_t> bytes) const {
  if (begin % place.swap_bytes != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: a piece of a big-endian record begins at %d, no multiple of %d",
        stored_->files[place.file]->path(), begin, place.swap_bytes));
  }
  SwapNumbers(place.swap_bytes, bytes);
  return absl::OkStatus();
}

}  // namespace penstock
