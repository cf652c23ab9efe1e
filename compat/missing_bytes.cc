#include "compat/missing_bytes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/json_text.h"
#include "compat/pickle_reader.h"
#include "compat/zip_layout.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

constexpr int64_t kMaxFrontBytes = int64_t{256} << 20;
constexpr int64_t kLocalHeaderBytes = 30;

// [offset, offset + at most `size`) of a file.
absl::StatusOr<std::string> ReadPart(const RandomAccessFile& file,
                                     int64_t offset, int64_t size) {
  std::string bytes(std::clamp<int64_t>(file.size_bytes() - offset, 0, size),
                    '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      offset,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  return bytes;
}

// Sizes of the storages that the pickles of a file name, by key.
class StorageSizes {
 public:
  StorageSizes(const RandomAccessFile& file, PersistentIds ids) {
    // Not to be owned: it outlives this.
    file_ = std::shared_ptr<const RandomAccessFile>(
        std::shared_ptr<const RandomAccessFile>(), &file);
    around_.persistent_ids = ids;
    around_.storages = [this](const StorageReference& reference)
        -> absl::StatusOr<std::shared_ptr<const Storage>> {
      const int64_t size_bytes =
          reference.view ? reference.view->size_bytes : reference.size_bytes;
      if (!reference.view && sizes_.emplace(reference.key, size_bytes).second &&
          total_) {
        total_ = CheckedAdd(*total_, size_bytes);
      }
      return std::shared_ptr<const Storage>(Storage::InFile(size_bytes, 0));
    };
  }

  // Where the pickle that begins at `offset` ends; nothing where there is no
  // whole one.
  std::optional<int64_t> EndOf(int64_t offset) {
    PickleLimits limits;
    limits.max_pickle_bytes = kMaxFrontBytes;
    PickleInput input;
    input.file = file_;
    input.begin = offset;
    const absl::StatusOr<PickleResult> result =
        ReadPickle(input, around_, limits);
    if (!result.ok()) return std::nullopt;
    return offset + result->consumed_bytes;
  }

  int64_t count() const { return static_cast<int64_t>(sizes_.size()); }
  // Nothing on overflow.
  std::optional<int64_t> total() const { return total_; }

 private:
  std::shared_ptr<const RandomAccessFile> file_;
  PickleSurroundings around_;
  absl::flat_hash_map<std::string, int64_t> sizes_;
  std::optional<int64_t> total_ = 0;
};

std::optional<int64_t> Missing(std::optional<int64_t> expected_bytes,
                               const RandomAccessFile& file) {
  if (!expected_bytes) return std::nullopt;
  return std::max<int64_t>(0, *expected_bytes - file.size_bytes());
}

// ------------------------------------------------------------- safetensors

absl::StatusOr<std::optional<int64_t>> MissingOfSafetensors(
    const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::string length, ReadPart(file, 0, 8));
  if (length.size() < 8) return std::optional<int64_t>();
  const uint64_t header_bytes = ZipField(ByteSpan(length), 0, 8);
  if (header_bytes > kMaxFrontBytes) return std::optional<int64_t>();
  const auto data = static_cast<int64_t>(8 + header_bytes);
  if (data > file.size_bytes()) return Missing(data, file);
  PENSTOCK_ASSIGN_OR_RETURN(
      const std::string header,
      ReadPart(file, 8, static_cast<int64_t>(header_bytes)));
  bool in_offsets = false;
  uint64_t last = 0;
  const absl::Status status = ReadJson(header, 8, [&](const JsonEvent& event) {
    if (event.kind == JsonKind::kKey) {
      in_offsets = event.text == "data_offsets";
    } else if (event.kind == JsonKind::kUnsigned && in_offsets) {
      last = std::max(last, event.number);
    }
    return absl::OkStatus();
  });
  if (!status.ok() || last > static_cast<uint64_t>(INT64_MAX)) {
    return std::optional<int64_t>();
  }
  return Missing(CheckedAdd(data, static_cast<int64_t>(last)), file);
}

// --------------------------------------------------------------------- zip

// torch writes data.pkl first and leaves all sizes to the descriptors behind
// the records: so the pickle tells what follows it. Other tools write sizes
// into the local headers.
absl::StatusOr<std::optional<int64_t>> MissingOfZip(
    const RandomAccessFile& file) {
  int64_t offset = 0;
  int64_t read_bytes = 0;
  while (read_bytes < kMaxFrontBytes) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const std::string header,
        ReadPart(file, offset, kLocalHeaderBytes + 0xFFFF));
    read_bytes += static_cast<int64_t>(header.size());
    const absl::Span<const uint8_t> fields = ByteSpan(header);
    if (header.size() < kLocalHeaderBytes) break;
    if (ZipField(fields, 0, 4) != kZipLocalSignature) break;
    const auto name_bytes = static_cast<int64_t>(ZipField(fields, 26, 2));
    const auto size = static_cast<int64_t>(ZipField(fields, 18, 4));
    const int64_t payload = offset + kLocalHeaderBytes + name_bytes +
                            static_cast<int64_t>(ZipField(fields, 28, 2));
    const absl::string_view name =
        absl::string_view(header).substr(kLocalHeaderBytes, name_bytes);
    const bool is_stored = ZipField(fields, 8, 2) == 0;
    const bool is_known = size != 0 && size != kZip64From;
    if (absl::EndsWith(name, "/data.pkl") && is_stored) {
      StorageSizes sizes(file, PersistentIds::kZip);
      if (const auto end = sizes.EndOf(payload); end && sizes.total()) {
        return Missing(CheckedAdd(*end, *sizes.total()), file);
      }
    }
    if (!is_known) break;
    offset = payload + size;
    if (offset > file.size_bytes()) return Missing(offset, file);
    const bool has_descriptor =
        (ZipField(fields, 6, 2) & kZipDescriptorFollows) != 0;
    if (has_descriptor) offset += 16;
  }
  return std::optional<int64_t>();
}

// ------------------------------------------------------------------ legacy

// Magic number, version, platform, the object, its keys; then each storage,
// with the number of its elements before it.
absl::StatusOr<std::optional<int64_t>> MissingOfLegacy(
    const RandomAccessFile& file) {
  StorageSizes sizes(file, PersistentIds::kLegacy);
  std::optional<int64_t> end = 0;
  for (int i = 0; i < 5 && end; ++i) end = sizes.EndOf(*end);
  if (!end || !sizes.total()) return std::optional<int64_t>();
  return Missing(CheckedAdd(*end + 8 * sizes.count(), *sizes.total()), file);
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> MissingBytes(
    FileKind kind, const RandomAccessFile& file) {
  switch (kind) {
    case FileKind::kSafetensors:
      return MissingOfSafetensors(file);
    case FileKind::kZip:
      return MissingOfZip(file);
    case FileKind::kLegacyStream:
      return MissingOfLegacy(file);
    default:
      return std::optional<int64_t>();
  }
}

}  // namespace penstock
