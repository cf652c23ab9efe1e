// Storage: flat bytes that tensors view.

#ifndef PENSTOCK_CORE_STORAGE_H_
#define PENSTOCK_CORE_STORAGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace penstock {

// Flat bytes on one device, shared by the tensors that view them: allocated
// here, adopted from the caller, mapped from a file, or *still in a file*, in
// which case only size and place are known and a Source (codec/source.h) reads
// them. That last kind makes opening instant and lets a conversion stream.
//
// Identity matters: two tensors are tied where their storages are one object.
// Thread-compatible; the bytes belong to whoever made the storage.
class Storage {
 public:
  // Bytes aligned to 64, from the heap (huge-page advice from 4 MiB on), not
  // initialised. Errors: kInvalidArgument (negative), kResourceExhausted.
  static absl::StatusOr<std::shared_ptr<Storage>> Allocate(int64_t size_bytes);

  // The caller's bytes. `release` runs once, with the last reference, on any
  // thread; it may be null where the caller outlives the storage.
  static std::shared_ptr<Storage> Adopt(absl::Span<uint8_t> bytes,
                                        std::function<void()> release);

  // `size_bytes` that are not in memory: storage `file_number` of the file that
  // the checkpoint's Source reads. Never negative, either of them.
  static std::shared_ptr<Storage> InFile(int64_t size_bytes,
                                         int64_t file_number);
  // The same for storages 0, 1, 2... of a file, `sizes_bytes` long, in one
  // allocation, which lives as long as any of them.
  static std::vector<std::shared_ptr<Storage>> AllInFile(
      absl::Span<const int64_t> sizes_bytes);

  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  int64_t size_bytes() const { return size_bytes_; }

  bool in_file() const { return file_number_ >= 0; }
  int64_t file_number() const { return file_number_; }  // -1 when in memory

  // The bytes; in_file() must be false. The mutable form is for whoever fills
  // a new storage before it is shared.
  absl::Span<const uint8_t> bytes() const;
  absl::Span<uint8_t> mutable_bytes();

  // PyTorch's location text, "cpu" unless set: where the bytes lay when they
  // were saved ("cuda:1"). It is kept and written back; it moves nothing.
  const std::string& location() const;
  void set_location(absl::string_view location);

 private:
  Storage() = default;

  uint8_t* data_ = nullptr;
  int64_t size_bytes_ = 0;
  int64_t file_number_ = -1;
  std::unique_ptr<const std::string> location_;  // null: "cpu"
  std::function<void()> release_;
};

}  // namespace penstock

#endif  // PENSTOCK_CORE_STORAGE_H_
