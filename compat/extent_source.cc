#include "compat/extent_source.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "compat/zip_name.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Small records that lie together are read together, gaps and all.
constexpr int64_t kGroupBytes = 1 << 20;

uint32_t CrcOf(const StoredAt& place, absl::Span<const uint8_t> bytes) {
  return place.crc32 == 0 ? 0 : Crc32(bytes);
}

// What is read of `range` at once, in order.
absl::Status ForEachPart(
    const FileRange& range,
    absl::FunctionRef<absl::Status(const FileRange&)> use) {
  for (int64_t at = 0; at < range.size_bytes; at += kGroupBytes) {
    PENSTOCK_RETURN_IF_ERROR(
        use({range.file, range.offset + at,
             std::min(kGroupBytes, range.size_bytes - at)}));
  }
  return absl::OkStatus();
}

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

void SetStored(std::shared_ptr<const StoredStorages> stored,
               ForeignFile& foreign) {
  if (foreign.file != nullptr) {
    foreign.extents = ExtentsOf(*foreign.root.graph(), *stored);
  }
  foreign.new_source = [stored] {
    return std::make_unique<ExtentSource>(stored);
  };
  foreign.stored = std::move(stored);
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

absl::StatusOr<std::vector<ExtentSource::Window>> ExtentSource::WindowsOf(
    const Plan& plan, const Chunk& chunk) const {
  std::vector<Window> windows;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const StoredAt* place,
        PlaceOf(*plan.storages[piece.storage], piece.begin, piece.size));
    const RandomAccessFile* const file = stored_->files[place->file].get();
    const int64_t offset = place->offset + piece.begin;
    if (!windows.empty()) {
      FileRange& last = windows.back().range;
      const int64_t joined = offset + piece.size - last.offset;
      if (last.file == file && offset >= last.offset + last.size_bytes &&
          joined <= kGroupBytes) {
        last.size_bytes = joined;
        ++windows.back().num_pieces;
        continue;
      }
    }
    windows.push_back({{file, offset, piece.size}, 1});
  }
  return windows;
}

void ExtentSource::Start(const Plan& plan, const RunLimits& limits) {
  ahead_.reset();
  if (pages_ != nullptr) return;
  std::vector<ChunkRange> wanted;
  for (const Chunk& chunk : plan.chunks) {
    const auto windows = WindowsOf(plan, chunk);
    if (!windows.ok()) continue;
    for (const Window& window : *windows) {
      ForEachPart(window.range, [&](const FileRange& part) {
        wanted.push_back({chunk.number, part});
        return absl::OkStatus();
      }).IgnoreError();
    }
  }
  ahead_ = ReadAhead::Start(std::move(wanted), limits);
}

absl::Status ExtentSource::Finish() {
  ahead_.reset();
  return absl::OkStatus();
}

// The bytes of `range`, a part of what chunk `number` of the plan needs, where
// they are at hand.
LentBytes ExtentSource::Lend(const FileRange& range, int64_t number) {
  if (pages_ != nullptr && range.file == stored_->files[0].get()) {
    return LentBytes(
        absl::MakeConstSpan(pages_.get() + range.offset, range.size_bytes));
  }
  return ahead_ == nullptr ? LentBytes() : ahead_->Take(number, range);
}

absl::StatusOr<absl::Span<const uint8_t>> ExtentSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<Window> windows,
                            WindowsOf(plan, chunk));
  const absl::Span<const Piece> pieces = plan.pieces_of(chunk);
  if (pieces.size() == 1 && target == nullptr && pages_ != nullptr) {
    const StoredAt& place = PlaceOf(plan, pieces[0]);
    const absl::Span<const uint8_t> bytes =
        Lend(windows[0].range, chunk.number).whole();
    if (!bytes.empty() && place.swap_bytes == 1) {
      PENSTOCK_RETURN_IF_ERROR(
          Verify(place, pieces[0].begin, bytes, CrcOf(place, bytes)));
      return bytes;
    }
  }
  uint8_t* out = target;
  if (out == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    out = slot.raw.data();
  }
  int64_t first = 0;
  std::vector<uint32_t> crcs(pieces.size());
  for (const Window& window : windows) {
    PENSTOCK_RETURN_IF_ERROR(
        ReadWindow(plan, window.range, pieces.subspan(first, window.num_pieces),
                   chunk.number, slot, out,
                   absl::MakeSpan(crcs).subspan(first, window.num_pieces)));
    first += window.num_pieces;
  }
  if (HaveCrcs(plan, pieces)) slot.crcs = std::move(crcs);
  int64_t end = 0;
  for (const Piece& piece : pieces) {
    std::memset(out + end, 0, piece.offset - end);
    end = piece.offset + piece.size;
  }
  return absl::MakeConstSpan(out, chunk.size_bytes);
}

// Whether each of `pieces` is given as it lies in a record that has a CRC.
bool ExtentSource::HaveCrcs(const Plan& plan,
                            absl::Span<const Piece> pieces) const {
  return std::all_of(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    const StoredAt& place = PlaceOf(plan, piece);
    return place.crc32 != 0 && place.swap_bytes == 1;
  });
}

// Puts the bytes of the pieces, which are what `range` holds, to their places
// in the chunk at `out`, and their CRCs, where they are looked at, to `crcs`.
absl::Status ExtentSource::ReadWindow(const Plan& plan, const FileRange& range,
                                      absl::Span<const Piece> pieces,
                                      int64_t number, Slot& slot, uint8_t* out,
                                      absl::Span<uint32_t> crcs) {
  if (pieces.size() == 1) {
    const Piece& piece = pieces[0];
    const StoredAt& place = PlaceOf(plan, piece);
    uint32_t& crc = crcs[0];
    const auto read_part = [&](const FileRange& part) {
      return ReadInTiles(part, Lend(part, number),
                         out + piece.offset + (part.offset - range.offset),
                         [&](absl::Span<const uint8_t> tile) {
                           if (place.crc32 != 0) crc = Crc32(tile, crc);
                         });
    };
    PENSTOCK_RETURN_IF_ERROR(ForEachPart(range, read_part));
    const absl::Span<uint8_t> bytes(out + piece.offset, piece.size);
    PENSTOCK_RETURN_IF_ERROR(Verify(place, piece.begin, bytes, crc));
    return Swap(place, piece.begin, bytes);
  }
  const LentBytes lent = Lend(range, number);
  absl::Span<const uint8_t> all = lent.whole();
  if (all.empty()) {
    slot.input.Reserve(kGroupBytes);
    PENSTOCK_RETURN_IF_ERROR(ReadInTiles(range, lent, slot.input.data(),
                                         [](absl::Span<const uint8_t>) {}));
    all = absl::MakeConstSpan(slot.input.data(), range.size_bytes);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const StoredAt& place = PlaceOf(plan, piece);
    const absl::Span<uint8_t> bytes(out + piece.offset, piece.size);
    std::memcpy(bytes.data(),
                all.data() + (place.offset + piece.begin - range.offset),
                bytes.size());
    crcs[i] = CrcOf(place, bytes);
    PENSTOCK_RETURN_IF_ERROR(Verify(place, piece.begin, bytes, crcs[i]));
    PENSTOCK_RETURN_IF_ERROR(Swap(place, piece.begin, bytes));
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

// `crc`: of `bytes`, which are unchanged; not looked at where the record has
// none.
absl::Status ExtentSource::Verify(const StoredAt& place, int64_t begin,
                                  absl::Span<const uint8_t> bytes,
                                  uint32_t crc) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  read_bytes_ += size;
  if (place.crc32 == 0 || size == 0) return absl::OkStatus();
  if (size == place.size_bytes) return Compare(place, crc);
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
    // What does not match stays so for whoever asks again.
    PENSTOCK_RETURN_IF_ERROR(Compare(place, first->second.crc));
    pending_.erase(&place);
    complete_.insert(&place);
  }
  return absl::OkStatus();
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
      PENSTOCK_RETURN_IF_ERROR(
          Verify(*gap.place, gap.begin, buffer, Crc32(buffer)));
      gap.begin += static_cast<int64_t>(buffer.size());
    }
  }
  return absl::OkStatus();
}

absl::Status ExtentSource::Compare(const StoredAt& place, uint32_t crc) {
  if (!ChecksumsMatch(place.crc32, crc)) {
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
