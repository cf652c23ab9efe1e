#include "compat/restored_file.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compat/origin.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {

absl::StatusOr<std::unique_ptr<RestoredFile>> RestoredFile::Open(
    const NativeFile& native) {
  PENSTOCK_ASSIGN_OR_RETURN(FileLayout layout, LayOutOrigin(native));
  return std::unique_ptr<RestoredFile>(
      new RestoredFile(native, std::move(layout)));
}

RestoredFile::RestoredFile(const NativeFile& native, FileLayout layout)
    : layout_(std::move(layout)),
      path_(absl::StrCat(native.file().path(), " (origin)")),
      source_(native) {
  int64_t glue = 0;
  for (size_t i = 0; i < layout_.glue_bytes.size(); ++i) {
    if (layout_.glue_bytes[i] > 0) {
      parts_.push_back({size_bytes_, glue, nullptr});
    }
    glue += layout_.glue_bytes[i];
    size_bytes_ += layout_.glue_bytes[i];
    if (i == layout_.storages.size()) break;
    const Storage* const storage = layout_.storages[i].get();
    if (storage->size_bytes() == 0) continue;
    parts_.push_back({size_bytes_, 0, storage});
    size_bytes_ += storage->size_bytes();
  }
}

absl::Status RestoredFile::Read(int64_t offset, absl::Span<uint8_t> out) const {
  if (!RangeFits(offset, static_cast<int64_t>(out.size()), size_bytes_)) {
    return absl::DataLossError(
        absl::StrCat(path_, ": no ", out.size(), " bytes at ", offset));
  }
  const MutexLock lock(mutex_);
  auto part = std::upper_bound(parts_.begin(), parts_.end(), offset,
                               [](int64_t at, const Part& next) {
                                 return at < next.begin;
                               }) -
              1;
  while (!out.empty()) {
    const int64_t end =
        part + 1 == parts_.end() ? size_bytes_ : (part + 1)->begin;
    const int64_t size =
        std::min<int64_t>(end - offset, static_cast<int64_t>(out.size()));
    const int64_t begin = offset - part->begin;
    PENSTOCK_RETURN_IF_ERROR(
        part->storage == nullptr
            ? ReadGlue(part->glue_begin + begin, out.first(size))
            : source_.Sample(*part->storage, begin, out.first(size)));
    out.remove_prefix(size);
    offset += size;
    ++part;
  }
  return absl::OkStatus();
}

absl::Status RestoredFile::ReadGlue(int64_t begin,
                                    absl::Span<uint8_t> out) const {
  std::string bytes;
  PENSTOCK_RETURN_IF_ERROR(
      layout_.glue(begin, static_cast<int64_t>(out.size()), bytes));
  std::memcpy(out.data(), bytes.data(), out.size());
  return absl::OkStatus();
}

std::vector<std::pair<int64_t, int64_t>> RestoredFile::TensorRanges() const {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const Part& part : parts_) {
    if (part.storage == nullptr) continue;
    ranges.emplace_back(part.begin, part.begin + part.storage->size_bytes());
  }
  return ranges;
}

const Storage* RestoredFile::StorageAt(int64_t offset) const {
  const auto part = std::lower_bound(
      parts_.begin(), parts_.end(), offset,
      [](const Part& before, int64_t at) { return before.begin < at; });
  return part == parts_.end() || part->begin != offset ? nullptr
                                                       : part->storage;
}

}  // namespace penstock
