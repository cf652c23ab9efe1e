#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "core/dtype.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Where the bytes [range) of storage `number` lie in a native file, if they are
// there as they are, in one piece.
absl::StatusOr<int64_t> OffsetInNative(const NativeIndex& index, int64_t number,
                                       ByteRange range) {
  const FileStorage& storage = index.storages[number];
  const FileChunk& first = index.chunks[storage.first_chunk];
  const int64_t begin = first.offset + storage.offset_in_chunk;
  const int64_t last = storage.first_chunk + index.NumChunksOf(storage);
  int64_t end = first.offset;
  for (int64_t i = storage.first_chunk; i < last; ++i) {
    const FileChunk& chunk = index.chunks[i];
    if (chunk.coded != 0) {
      return absl::UnimplementedError(
          "its bytes are compressed (convert with --codec none to map them)");
    }
    if (chunk.offset != end) {
      return absl::UnimplementedError(
          "it is so large that it lies in several pieces");
    }
    end = chunk.offset + chunk.raw_bytes;
  }
  return begin + range.begin;
}

// The same for a foreign file.
absl::StatusOr<int64_t> OffsetInForeign(const Checkpoint::Opened& opened,
                                        int64_t number, ByteRange range) {
  if (opened.foreign.file == nullptr) {
    return absl::UnimplementedError("its checkpoint has several files");
  }
  const int64_t begin = opened.extent_offsets[number];
  if (begin < 0) {
    return absl::UnimplementedError(
        "its bytes are compressed or big-endian in the file");
  }
  return begin + range.begin;
}

absl::StatusOr<Tensor> MapView(const Checkpoint::Opened& opened,
                               const NamedTensor& entry) {
  const Tensor& view = entry.tensor;
  const ByteRange range = view.byte_range();
  if (range.size() == 0) {
    PENSTOCK_ASSIGN_OR_RETURN(auto empty, Storage::Allocate(0));
    return RebasedOn(std::move(empty), view);
  }
  PENSTOCK_ASSIGN_OR_RETURN(
      const int64_t offset,
      opened.OffsetInFile(
          opened.root.graph()->tables().tensors[entry.number].storage, range));
  const int width = InfoOf(view.dtype()).word_bytes;
  if (offset % width != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "its bytes begin at %d, not at a multiple of %d", offset, width));
  }
  PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<const uint8_t> pages,
                            opened.file()->Map(offset, range.size()));
  // Nobody writes to a storage that is const from here on.
  uint8_t* const bytes = const_cast<uint8_t*>(pages.get());
  std::shared_ptr<Storage> storage =
      Storage::Adopt(absl::MakeSpan(bytes, range.size()),
                     [pages]() mutable { pages.reset(); });
  storage->set_location(view.storage()->location());
  return RebasedOn(std::move(storage), view);
}

}  // namespace

const RandomAccessFile* Checkpoint::Opened::file() const {
  return native != nullptr ? &native->file() : foreign.file.get();
}

absl::StatusOr<int64_t> Checkpoint::Opened::OffsetInFile(
    int64_t number, ByteRange range) const {
  return native != nullptr ? OffsetInNative(native->index(), number, range)
                           : OffsetInForeign(*this, number, range);
}

absl::StatusOr<Tensor> Checkpoint::Map(absl::string_view name) const {
  const NamedTensor* entry = opened_->state_dict().Find(name);
  if (entry == nullptr) return NoTensor(opened_->path, name);
  absl::StatusOr<Tensor> mapped = MapView(*opened_, *entry);
  if (absl::IsUnimplemented(mapped.status())) {
    return Annotate(mapped.status(),
                    absl::StrCat(opened_->path, ": tensor \"", name,
                                 "\" can be read, but not mapped"));
  }
  return mapped;
}

}  // namespace penstock
