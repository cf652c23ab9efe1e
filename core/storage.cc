#include "core/storage.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/aligned_buffer.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kAlignment = 64;
// Whole huge pages: with less the ends of the range would stay small ones.
constexpr int64_t kHugePageBytes = int64_t{2} << 20;
// More than any machine has. An allocator that is asked for absurd sizes may
// stop the process (sanitizers do) instead of refusing.
constexpr int64_t kMaxAllocationBytes = int64_t{1} << 44;

}  // namespace

absl::StatusOr<std::shared_ptr<Storage>> Storage::Allocate(int64_t size_bytes) {
  if (size_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("storage size %d is negative", size_bytes));
  }
  const bool is_huge = size_bytes >= kHugePageThreshold;
  void* data = nullptr;
  // At least one byte, so that data() of an empty storage is no null pointer.
  if (size_bytes > kMaxAllocationBytes ||
      posix_memalign(&data, is_huge ? kHugePageBytes : kAlignment,
                     size_bytes > 0 ? size_bytes : 1) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("no memory for a storage of %d bytes", size_bytes));
  }
  // Advice only: without huge pages filling is slower, not wrong.
  if (is_huge) (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  return Adopt(absl::MakeSpan(static_cast<uint8_t*>(data), size_bytes),
               [data] { std::free(data); });
}

std::shared_ptr<Storage> Storage::Adopt(absl::Span<uint8_t> bytes,
                                        std::function<void()> release) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = bytes.data();
  storage->size_bytes_ = static_cast<int64_t>(bytes.size());
  storage->release_ = std::move(release);
  return storage;
}

std::shared_ptr<Storage> Storage::InFile(int64_t size_bytes,
                                         int64_t file_number) {
  PENSTOCK_CHECK(size_bytes >= 0 && file_number >= 0);
  std::shared_ptr<Storage> storage(new Storage);
  storage->size_bytes_ = size_bytes;
  storage->file_number_ = file_number;
  return storage;
}

std::vector<std::shared_ptr<Storage>> Storage::AllInFile(
    absl::Span<const int64_t> sizes_bytes) {
  const std::shared_ptr<Storage[]> all(new Storage[sizes_bytes.size()]);
  std::vector<std::shared_ptr<Storage>> storages;
  storages.reserve(sizes_bytes.size());
  for (size_t i = 0; i < sizes_bytes.size(); ++i) {
    PENSTOCK_CHECK(sizes_bytes[i] >= 0);
    all[i].size_bytes_ = sizes_bytes[i];
    all[i].file_number_ = static_cast<int64_t>(i);
    storages.emplace_back(all, &all[i]);
  }
  return storages;
}

Storage::~Storage() {
  if (release_) release_();
}

absl::Span<const uint8_t> Storage::bytes() const {
  PENSTOCK_CHECK(!in_file());
  return absl::MakeConstSpan(data_, size_bytes_);
}

absl::Span<uint8_t> Storage::mutable_bytes() {
  PENSTOCK_CHECK(!in_file());
  return absl::MakeSpan(data_, size_bytes_);
}

const std::string& Storage::location() const {
  static const std::string* const kCpu = new std::string("cpu");
  return location_ == nullptr ? *kCpu : *location_;
}

void Storage::set_location(absl::string_view location) {
  location_ = location == "cpu" ? nullptr
                                : std::make_unique<const std::string>(location);
}

}  // namespace penstock
