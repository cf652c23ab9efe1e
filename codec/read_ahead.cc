#include "codec/read_ahead.h"

#include <algorithm>
#include <system_error>

#include "codec/copy.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kRing = ReadAhead::kRingBytes;
// What is handed to the system at once. Half and twice as much are as fast.
constexpr int64_t kPieceBytes = int64_t{1} << 20;
// A larger range could wait for the room that it takes itself.
constexpr int64_t kMaxRangeBytes = kRing / 4;
// So much between two ranges is read too, rather than beginning anew.
constexpr int64_t kMaxGapBytes = int64_t{64} << 10;
// Less is read before a thread has begun to.
constexpr int64_t kLeastBytes = int64_t{8} << 20;
// Places at which the page cache is asked.
constexpr int64_t kNumSamples = 64;
// Of what is read into memory that is not in the processor's cache either.
constexpr int64_t kReadBytes = int64_t{256} << 10;

bool IsWorthwhile(absl::Span<const ChunkRange> wanted) {
  int64_t total = 0;
  for (const auto& [chunk, range] : wanted) total += range.size_bytes;
  if (total < kLeastBytes) return false;
  // Every so many bytes.
  const int64_t step = total / kNumSamples;
  int64_t next = 0;
  for (const auto& [chunk, range] : wanted) {
    next -= range.size_bytes;
    if (next >= 0) continue;
    next += step;
    if (!range.file->IsCached(range.offset + range.size_bytes / 2, 1)) {
      return true;
    }
  }
  return false;
}

}  // namespace

LentBytes& LentBytes::operator=(LentBytes&& other) noexcept {
  GiveBack();
  parts_ = std::exchange(other.parts_, {});
  owner_ = std::exchange(other.owner_, nullptr);
  number_ = other.number_;
  return *this;
}

void LentBytes::GiveBack() {
  if (owner_ != nullptr) owner_->GiveBack(number_);
  owner_ = nullptr;
}

std::unique_ptr<ReadAhead> ReadAhead::Start(std::vector<ChunkRange> wanted,
                                            const RunLimits& limits) {
  if (limits.spare_bytes < kRing || !IsWorthwhile(wanted)) return nullptr;
  std::unique_ptr<ReadAhead> ahead(new ReadAhead(std::move(wanted), limits));
  try {
    ahead->thread_ = std::thread([started = ahead.get()] { started->Run(); });
  } catch (const std::system_error&) {
    return nullptr;  // no more threads: it goes without
  }
  return ahead;
}

ReadAhead::ReadAhead(std::vector<ChunkRange> wanted, const RunLimits& limits)
    : wanted_(std::move(wanted)),
      num_slots_(limits.num_slots),
      is_free_(wanted_.size()) {
  ring_.Reserve(kRing);
  places_.reserve(wanted_.size());
}

ReadAhead::~ReadAhead() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

LentBytes ReadAhead::Take(int64_t chunk, const FileRange& range) {
  LentBytes lent;
  const auto is_before = [](const ChunkRange& a, int64_t number) {
    return a.chunk < number;
  };
  const auto first =
      std::lower_bound(wanted_.begin(), wanted_.end(), chunk, is_before);
  auto found = first;
  while (found != wanted_.end() && found->chunk == chunk &&
         !(found->range == range)) {
    ++found;
  }
  if (found == wanted_.end() || found->chunk != chunk) return lent;
  const size_t index = found - wanted_.begin();
  const auto first_in_use = std::lower_bound(wanted_.begin(), first,
                                             chunk - num_slots_ + 1, is_before);
  MutexLock lock(mutex_);
  PassTo(first_in_use - wanted_.begin());
  if (is_free_[index]) return lent;
  const auto end = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return places_[index] + range.size_bytes;
  };
  while (places_.size() <= index ||
         (places_[index] >= 0 && complete_ < end() && broken_ >= end())) {
    changed_.Wait(mutex_);
  }
  if (places_[index] < 0 || broken_ < end()) {
    is_free_[index] = true;
    PassTo(first_used_);
    return lent;
  }
  const int64_t begin = places_[index] % kRing;
  const int64_t size = std::min(range.size_bytes, kRing - begin);
  lent.parts_ = {absl::MakeConstSpan(ring_.data() + begin, size),
                 absl::MakeConstSpan(ring_.data(), range.size_bytes - size)};
  lent.owner_ = this;
  lent.number_ = static_cast<int64_t>(index);
  return lent;
}

void ReadAhead::GiveBack(int64_t number) {
  MutexLock lock(mutex_);
  is_free_[number] = true;
  PassTo(first_used_);
}

// Nothing before `number` is used any more, nor what was given back behind it.
void ReadAhead::PassTo(int64_t number) {
  const int64_t before = first_used_;
  const int64_t count = static_cast<int64_t>(is_free_.size());
  while (first_used_ < count &&
         (first_used_ < number || is_free_[first_used_])) {
    is_free_[first_used_++] = true;
  }
  if (first_used_ != before) changed_.NotifyAll();
}

// Where the memory begins that may not be written to.
int64_t ReadAhead::Tail() {
  while (!placed_.empty() && is_free_[placed_.front()]) placed_.pop_front();
  if (placed_.empty()) return complete_;
  return std::min(complete_, places_[placed_.front()] / kBufferAlignment *
                                 kBufferAlignment);
}

void ReadAhead::Run() {
  bool works = true;
  for (size_t i = 0; i < wanted_.size() && works; ++i) {
    works = Fetch(wanted_[i].range);
  }
  if (works) works = Submit(1);
  while (under_way_ > 0) WaitForPiece();
  reader_.reset();
  MutexLock lock(mutex_);
  if (!works) broken_ = std::min(broken_, head_);
  places_.resize(wanted_.size(), -1);
  changed_.NotifyAll();
}

// False where nothing more can be read.
bool ReadAhead::Fetch(const FileRange& range) {
  if (range.size_bytes == 0 || range.size_bytes > kMaxRangeBytes ||
      range.file->IsCached(range.offset, range.size_bytes)) {
    Place(-1);
    return true;
  }
  const bool goes_on = range.file == file_ && range.offset >= range_end_ &&
                       range.offset - range_end_ <= kMaxGapBytes;
  if (!goes_on && !BeginSegment(range)) return false;
  range_end_ = range.offset + range.size_bytes;
  goal_ = AlignUp(range_end_ + shift_, kBufferAlignment);
  Place(range.offset + shift_);
  return Submit(kPieceBytes);
}

bool ReadAhead::BeginSegment(const FileRange& range) {
  if (!Submit(1)) return false;
  if (range.file != file_) {
    while (under_way_ > 0) WaitForPiece();
    file_ = range.file;
    reader_ = file_->OpenDirect();
    if (reader_ == nullptr) return false;
  }
  shift_ = head_ - range.offset / kBufferAlignment * kBufferAlignment;
  return true;
}

// Hands over what is wanted, while it is at least so much.
bool ReadAhead::Submit(int64_t least_bytes) {
  while (goal_ - head_ >= least_bytes) {
    // The ring ends before kPieceBytes do, now and then.
    const int64_t size =
        std::min({goal_ - head_, kPieceBytes, kRing - head_ % kRing});
    if (!WaitForRoom(size)) return false;
    const int64_t offset = head_ - shift_;
    pieces_.push_back(
        {head_, head_ + size, std::min(size, file_->size_bytes() - offset)});
    reader_->Start(first_piece_ + static_cast<int64_t>(pieces_.size()) - 1,
                   offset, absl::MakeSpan(ring_.data() + head_ % kRing, size));
    ++under_way_;
    head_ += size;
  }
  return true;
}

// False where the run is over, or an earlier piece did not come.
bool ReadAhead::WaitForRoom(int64_t size_bytes) {
  while (true) {
    {
      MutexLock lock(mutex_);
      while (true) {
        if (stopped_ || broken_ <= head_) return false;
        const bool has_room = head_ + size_bytes - Tail() <= kRing;
        if (has_room && under_way_ < DirectReader::kDepth) return true;
        if (under_way_ > 0) break;
        changed_.Wait(mutex_);
      }
    }
    WaitForPiece();
  }
}

void ReadAhead::WaitForPiece() {
  const DirectReader::Done done = reader_->Wait();
  --under_way_;
  Piece& piece = pieces_[done.tag - first_piece_];
  piece.done = true;
  MutexLock lock(mutex_);
  if (done.size_bytes < piece.least_bytes) {
    broken_ = std::min(broken_, piece.begin);
  }
  while (!pieces_.empty() && pieces_.front().done) {
    complete_ = pieces_.front().end;
    pieces_.pop_front();
    ++first_piece_;
  }
  changed_.NotifyAll();
}

void ReadAhead::Place(int64_t position) {
  MutexLock lock(mutex_);
  if (position >= 0) {
    placed_.push_back(static_cast<int64_t>(places_.size()));
  }
  places_.push_back(position);
  if (position < 0) changed_.NotifyAll();
}

absl::Status ReadInTiles(
    const FileRange& range, const LentBytes& lent, uint8_t* out,
    absl::FunctionRef<void(absl::Span<const uint8_t>)> see) {
  for (const absl::Span<const uint8_t> part : lent.parts()) {
    CopyInTiles(part, out, see);
    out += part.size();
  }
  if (!lent.empty()) return absl::OkStatus();
  for (int64_t done = 0; done < range.size_bytes;) {
    const absl::Span<uint8_t> tile(
        out + done, std::min(kReadBytes, range.size_bytes - done));
    PENSTOCK_RETURN_IF_ERROR(range.file->Read(range.offset + done, tile));
    see(tile);
    done += static_cast<int64_t>(tile.size());
  }
  return absl::OkStatus();
}

}  // namespace penstock
