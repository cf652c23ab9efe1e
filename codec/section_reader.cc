#include "codec/section_reader.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "codec/format.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

SectionHead ParseHead(const uint8_t* entry) {
  SectionHead section;
  section.type = LoadLittleEndian<uint32_t>(entry);
  section.flags = LoadLittleEndian<uint32_t>(entry + 4);
  section.size_bytes = LoadLittleEndian<int64_t>(entry + 8);
  section.hash = LoadLittleEndian<Hash128>(entry + 16);
  return section;
}

int64_t PaddedBytes(const SectionHead& section) {
  return AlignUp(section.size_bytes, kSectionAlignment);
}

}  // namespace

SectionReader::SectionReader(const RandomAccessFile& file, int64_t offset,
                             int64_t size_bytes)
    : file_(file), position_(offset), end_(offset + size_bytes) {
  tile_.Reserve(std::min(size_bytes, kTileBytes));
}

// At most kTileBytes, until the next call.
absl::StatusOr<absl::Span<const uint8_t>> SectionReader::Next(
    int64_t size_bytes) {
  const absl::Span<uint8_t> bytes(tile_.data(), size_bytes);
  PENSTOCK_RETURN_IF_ERROR(file_.Read(position_, bytes));
  position_ += size_bytes;
  hasher_.Update(bytes);
  return bytes;
}

absl::StatusOr<std::vector<SectionHead>> SectionReader::ReadDirectory() {
  const int64_t limit = end_ - position_;
  if (limit < kDirectoryHeadBytes) {
    return absl::DataLossError("directory: index too short");
  }
  PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> head,
                            Next(kDirectoryHeadBytes));
  const int64_t count = LoadLittleEndian<uint32_t>(head.data());
  if (LoadLittleEndian<uint32_t>(&head[4]) != 0) {
    return absl::DataLossError("directory: reserved bytes are not 0");
  }
  if (count > (limit - kDirectoryHeadBytes) / kDirectoryEntryBytes) {
    return absl::DataLossError(absl::StrFormat(
        "directory: %d sections in an index of %d bytes", count, limit));
  }
  std::vector<SectionHead> sections;
  absl::Span<const uint8_t> entries;
  int64_t end = kDirectoryHeadBytes + kDirectoryEntryBytes * count;
  for (int64_t i = 0; i < count; ++i) {
    if (entries.empty()) {
      PENSTOCK_ASSIGN_OR_RETURN(
          entries,
          Next(std::min(kTileBytes, (count - i) * kDirectoryEntryBytes)));
    }
    const SectionHead section = ParseHead(entries.data());
    entries.remove_prefix(kDirectoryEntryBytes);
    if (!RangeFits(end, section.size_bytes, limit) ||
        PaddedBytes(section) > limit - end) {
      return absl::DataLossError(absl::StrFormat(
          "section of type %u: %d bytes at %d of an index of %d", section.type,
          section.size_bytes, end, limit));
    }
    if ((section.flags & ~kSectionRequired) != 0) {
      return absl::UnimplementedError(
          absl::StrFormat("section of type %u: unknown flags %#x", section.type,
                          section.flags));
    }
    if (!sections.empty() && section.type <= sections.back().type) {
      return absl::DataLossError(absl::StrFormat(
          "directory: section type %u after %u: types must ascend",
          section.type, sections.back().type));
    }
    end += PaddedBytes(section);
    sections.push_back(section);
  }
  if (end == limit) return sections;
  return absl::DataLossError(absl::StrFormat(
      "directory: sections end at %d of an index of %d bytes", end, limit));
}

absl::Status SectionReader::ReadBody(
    const SectionHead& section,
    absl::FunctionRef<absl::Status(absl::Span<const uint8_t>)> take) {
  Hasher hasher;
  for (int64_t left = section.size_bytes; left > 0;) {
    PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> tile,
                              Next(std::min(kTileBytes, left)));
    hasher.Update(tile);
    PENSTOCK_RETURN_IF_ERROR(take(tile));
    left -= static_cast<int64_t>(tile.size());
  }
  const Hash128 computed = hasher.Digest();
  if (!ChecksumsMatch(section.hash, computed)) {
    return absl::DataLossError(absl::StrFormat(
        "section of type %u: hash mismatch: expected %s, computed %s",
        section.type, section.hash.ToHex(), computed.ToHex()));
  }
  PENSTOCK_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> padding,
                            Next(PaddedBytes(section) - section.size_bytes));
  if (std::any_of(padding.begin(), padding.end(),
                  [](uint8_t byte) { return byte != 0; })) {
    return absl::DataLossError(
        absl::StrFormat("section of type %u: padding is not 0", section.type));
  }
  return absl::OkStatus();
}

absl::StatusOr<Hash128> SectionReader::HashAll() {
  while (position_ < end_) {
    PENSTOCK_RETURN_IF_ERROR(
        Next(std::min(kTileBytes, end_ - position_)).status());
  }
  return hasher_.Digest();
}

}  // namespace penstock
