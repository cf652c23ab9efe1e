#include "codec/chunk_cache.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"

namespace penstock {

absl::StatusOr<std::shared_ptr<const AlignedBuffer>> ChunkCache::Get(
    int64_t number, int64_t size_bytes,
    absl::FunctionRef<absl::Status(absl::Span<uint8_t>)> decode) {
  std::shared_ptr<Entry> entry;
  bool added = false;
  {
    MutexLock lock(mutex_);
    entry = FindOrAdd(number, added);
    while (!added && !entry->done) changed_.Wait(mutex_);
  }
  if (added) {
    // Also where decoding throws std::bad_alloc: others wait for this entry.
    absl::Status status = absl::ResourceExhaustedError("out of memory");
    const auto set_done =
        absl::MakeCleanup([&] { SetDone(*entry, std::move(status)); });
    entry->bytes.Reserve(size_bytes);
    status = decode(absl::MakeSpan(entry->bytes.data(), size_bytes));
  }
  // Done, so nobody writes to it any more.
  if (!entry->status.ok()) return entry->status;
  return std::shared_ptr<const AlignedBuffer>(entry, &entry->bytes);
}

int64_t ChunkCache::num_decoded() const {
  MutexLock lock(mutex_);
  return num_decoded_;
}

std::shared_ptr<ChunkCache::Entry> ChunkCache::FindOrAdd(int64_t number,
                                                         bool& added) {
  const auto found = std::find_if(
      entries_.begin(), entries_.end(),
      [number](const auto& entry) { return entry->number == number; });
  added = found == entries_.end();
  if (!added) {
    std::rotate(found, found + 1, entries_.end());
    return entries_.back();
  }
  ++num_decoded_;
  if (static_cast<int64_t>(entries_.size()) >= max_chunks_) {
    entries_.erase(entries_.begin());
  }
  entries_.push_back(std::make_shared<Entry>());
  entries_.back()->number = number;
  return entries_.back();
}

void ChunkCache::SetDone(Entry& entry, absl::Status status) {
  MutexLock lock(mutex_);
  entry.done = true;
  entry.status = std::move(status);
  if (!entry.status.ok()) {
    entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                  [&](const auto& other) {
                                    return other.get() == &entry;
                                  }),
                   entries_.end());
  }
  changed_.NotifyAll();
}

}  // namespace penstock
