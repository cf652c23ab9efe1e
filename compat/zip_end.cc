#include "compat/zip_end.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/zip_layout.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using Bytes = absl::Span<const uint8_t>;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(what);
}

absl::Status MultiDisk() {
  return absl::UnimplementedError(
      "zip_multidisk: a part of a zip split over several disks; join the parts "
      "first");
}

// Replaces `end` by what the zip64 end says. `plain` is the end record at
// `end_offset`, `locator` what stands before it.
absl::Status ReadZip64End(const RandomAccessFile& file, int64_t end_offset,
                          Bytes plain, Bytes locator, ZipEnd& end) {
  const int64_t locator_offset = end_offset - kZip64LocatorBytes;
  const uint64_t offset = ZipField(locator, 8, 8);
  if (ZipField(locator, 4, 4) != 0 || ZipField(locator, 16, 4) != 1) {
    return MultiDisk();
  }
  if (locator_offset < kZip64EndBytes ||
      offset > static_cast<uint64_t>(locator_offset - kZip64EndBytes)) {
    return Damaged(absl::StrFormat(
        "zip_bad_central: zip64 locator at offset %d points to %d, behind "
        "itself or past the end",
        locator_offset, offset));
  }
  uint8_t fields[kZip64EndBytes];
  PENSTOCK_RETURN_IF_ERROR(
      file.Read(static_cast<int64_t>(offset), absl::MakeSpan(fields)));
  const Bytes zip64(fields);
  if (ZipField(zip64, 0, 4) != kZip64EndSignature ||
      ZipField(zip64, 4, 8) != locator_offset - offset - 12) {
    return Damaged(
        absl::StrFormat("zip_bad_central: no zip64 end of central directory at "
                        "offset %d, where "
                        "the locator at %d says",
                        offset, locator_offset));
  }
  if (ZipField(zip64, 16, 8) != 0 ||
      ZipField(zip64, 24, 8) != ZipField(zip64, 32, 8)) {
    return MultiDisk();
  }
  for (const int64_t disk : {ZipField(plain, 4, 2), ZipField(plain, 6, 2)}) {
    if (disk != 0 && disk != 0xFFFF) return MultiDisk();
  }
  struct Pair {
    uint64_t wide, plain, clamp;
  };
  const Pair pairs[] = {
      {ZipField(zip64, 32, 8), ZipField(plain, 10, 2), 0xFFFF},
      {ZipField(zip64, 32, 8), ZipField(plain, 8, 2), 0xFFFF},
      {ZipField(zip64, 40, 8), ZipField(plain, 12, 4), 0xFFFFFFFF},
      {ZipField(zip64, 48, 8), ZipField(plain, 16, 4), 0xFFFFFFFF}};
  for (const Pair& pair : pairs) {
    if (pair.plain != pair.clamp && pair.plain != pair.wide) {
      return Damaged(absl::StrFormat(
          "zip_bad_central: end of central directory at offset %d says %d, its "
          "zip64 form at %d says %d",
          end_offset, pair.plain, offset, pair.wide));
    }
    if (pair.wide > INT64_MAX) {
      return Damaged("zip_bad_central: zip64 end with a number over 2^63");
    }
  }
  end.num_records = static_cast<int64_t>(pairs[0].wide);
  end.directory_bytes = static_cast<int64_t>(pairs[2].wide);
  end.directory_offset = static_cast<int64_t>(pairs[3].wide);
  if (CheckedAdd(end.directory_offset, end.directory_bytes) != offset) {
    return Damaged(absl::StrFormat(
        "zip_bad_central: central directory of %d bytes at offset %d does not "
        "end at its zip64 end, offset %d",
        end.directory_bytes, end.directory_offset, offset));
  }
  return absl::OkStatus();
}

// Tries `tail[at]`, which has an end's signature, as the end of the file.
// `tail` begins at `tail_offset` and runs to the file's end.
absl::StatusOr<ZipEnd> TryEnd(const RandomAccessFile& file, Bytes tail,
                              int64_t tail_offset, int64_t at) {
  const int64_t end_offset = tail_offset + at;
  const int64_t left = static_cast<int64_t>(tail.size()) - at - kEndBytes;
  if (left < 0) return Damaged("zip_truncated: the last bytes are missing");
  const Bytes plain = tail.subspan(at, kEndBytes);
  const int64_t comment_bytes = ZipField(plain, 20, 2);
  if (comment_bytes > left) {
    return Damaged(
        absl::StrFormat("zip_truncated: a comment of %d bytes has %d left",
                        comment_bytes, left));
  }
  ZipEnd end;
  end.bytes_behind = left - comment_bytes;
  const bool has_locator =
      at >= kZip64LocatorBytes &&
      ZipField(tail, at - kZip64LocatorBytes, 4) == kZip64LocatorSignature;
  if (has_locator) {
    PENSTOCK_RETURN_IF_ERROR(ReadZip64End(
        file, end_offset, plain,
        tail.subspan(at - kZip64LocatorBytes, kZip64LocatorBytes), end));
    return end;
  }
  if (ZipField(plain, 4, 4) != 0 ||
      ZipField(plain, 8, 2) != ZipField(plain, 10, 2)) {
    return MultiDisk();
  }
  end.num_records = ZipField(plain, 10, 2);
  end.directory_bytes = ZipField(plain, 12, 4);
  end.directory_offset = ZipField(plain, 16, 4);
  if (end.directory_offset + end.directory_bytes != end_offset) {
    return Damaged(absl::StrFormat(
        "zip_bad_central: central directory of %d bytes at offset %d does not "
        "end at the end record, offset %d",
        end.directory_bytes, end.directory_offset, end_offset));
  }
  return end;
}

// True where a reader that does not go by offsets finds a directory: right
// before the end record `tail[at]`, which does not fit this file.
absl::StatusOr<bool> HasDirectoryBefore(const RandomAccessFile& file,
                                        Bytes tail, int64_t tail_offset,
                                        int64_t at) {
  if (static_cast<int64_t>(tail.size()) - at < kEndBytes) return false;
  int64_t directory_end = tail_offset + at;
  auto directory_bytes = static_cast<uint64_t>(ZipField(tail, at + 12, 4));
  const int64_t wide = at - kZip64LocatorBytes - kZip64EndBytes;
  if (wide >= 0 && ZipField(tail, wide, 4) == kZip64EndSignature) {
    directory_end = tail_offset + wide;
    directory_bytes = ZipField(tail, wide + 40, 8);
  }
  if (directory_bytes < kCentralHeaderBytes ||
      directory_bytes > static_cast<uint64_t>(directory_end)) {
    return false;
  }
  uint8_t signature[4];
  PENSTOCK_RETURN_IF_ERROR(
      file.Read(directory_end - static_cast<int64_t>(directory_bytes),
                absl::MakeSpan(signature)));
  return ZipField(signature, 0, 4) == kZipCentralSignature;
}

absl::Status TwoEnds() {
  return Damaged(
      "zip_bad_central: two ends of central directory, so two files in one");
}

}  // namespace

absl::StatusOr<ZipEnd> FindZipEnd(const RandomAccessFile& file) {
  const int64_t size = file.size_bytes();
  // The locator may stand before the first place where the end may.
  const int64_t tail_bytes =
      std::min<int64_t>(size, 0xFFFF + kEndBytes + kZip64LocatorBytes);
  const int64_t tail_offset = size - tail_bytes;
  std::vector<uint8_t> tail(tail_bytes);
  PENSTOCK_RETURN_IF_ERROR(file.Read(tail_offset, absl::MakeSpan(tail)));
  std::optional<ZipEnd> found;
  absl::Status error = Damaged(
      "zip_truncated: central directory missing; is the download incomplete?");
  bool first = true;
  bool has_other = false;  // behind the one that fits
  for (int64_t at = tail_bytes - 4; at >= 0; --at) {
    if (tail[at] != 'P' || ZipField(tail, at, 4) != kZipEndSignature) continue;
    absl::StatusOr<ZipEnd> end = TryEnd(file, tail, tail_offset, at);
    if (!end.ok()) {
      if (first) error = std::move(end).status();
      first = false;
      if (!found && !has_other) {
        PENSTOCK_ASSIGN_OR_RETURN(
            has_other, HasDirectoryBefore(file, tail, tail_offset, at));
      }
      continue;
    }
    if (found && found->directory_offset != end->directory_offset) {
      return TwoEnds();
    }
    if (!found) found = *end;
  }
  if (!found) return error;
  if (has_other) return TwoEnds();
  return *found;
}

}  // namespace penstock
