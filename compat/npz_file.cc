#include "compat/npz_file.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "compat/extent_source.h"
#include "compat/npy_header.h"
#include "compat/zip_layout.h"
#include "compat/zip_name.h"
#include "compat/zip_record.h"
#include "core/checksum.h"
#include "core/checksum_match.h"
#include "core/graph_builder.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {
namespace {

constexpr absl::string_view kExtension = ".npy";

// Moves the array's place from its header to its numbers, and makes the tensor,
// whose storage has the number `number`.
absl::StatusOr<Tensor> OpenArray(const NpyHeader& header, int64_t number,
                                 StoredAt& place) {
  place.offset += header.header_bytes;
  place.size_bytes = header.data_bytes;
  place.swap_bytes = header.big_endian ? InfoOf(header.dtype).word_bytes : 1;
  std::shared_ptr<Storage> storage;
  if (header.data_bytes > 0) {
    storage = Storage::InFile(header.data_bytes, number);
  } else {
    PENSTOCK_ASSIGN_OR_RETURN(storage, Storage::Allocate(0));
  }
  return Tensor::Make(std::move(storage), header.dtype, header.shape,
                      header.Strides());
}

absl::StatusOr<ForeignFile> ReadNpy(
    std::shared_ptr<const RandomAccessFile> file) {
  ForeignFile npy;
  npy.format = ForeignFormat::kNpy;
  npy.writer = "numpy (.npy)";
  npy.file = file;
  StoredAt place;
  place.name = BaseName(file->path());
  PENSTOCK_ASSIGN_OR_RETURN(const NpyHeader header,
                            ReadNpyHeader(*file, 0, file->size_bytes()));
  PENSTOCK_ASSIGN_OR_RETURN(const Tensor tensor, OpenArray(header, 0, place));
  const int64_t rest =
      file->size_bytes() - header.header_bytes - header.data_bytes;
  if (rest > 0) {
    npy.warnings.push_back(
        absl::StrFormat("%d bytes behind the array are ignored", rest));
  }
  GraphBuilder builder;
  const NodeId root = builder.Tensor(tensor);
  PENSTOCK_ASSIGN_OR_RETURN(npy.root, std::move(builder).Finish(root));
  auto stored = std::make_shared<StoredStorages>();
  stored->files.push_back(std::move(file));
  stored->places.push_back(std::move(place));
  SetStored(std::move(stored), npy);
  return npy;
}

// A place for each record, its offset that of the header.
absl::StatusOr<std::vector<StoredAt>> PlacesOf(
    const std::vector<ZipEntry>& entries, InflatedRecords& inflated) {
  std::vector<StoredAt> places;
  places.reserve(entries.size());
  for (const ZipEntry& entry : entries) {
    if (!absl::EndsWith(entry.name, kExtension)) {
      return absl::UnimplementedError(absl::StrFormat(
          "npz_member: record %s at offset %d is no .npy, as every record of "
          "an .npz file is; take it out (zip -d) and try again",
          QuotedRecordName(entry.name), entry.header_offset));
    }
    StoredAt place;
    place.name = entry.name;
    place.offset = entry.payload_offset;
    if (entry.deflated) {
      place.file = 1;
      PENSTOCK_ASSIGN_OR_RETURN(place.offset, inflated.Add(entry));
    }
    places.push_back(std::move(place));
  }
  return places;
}

absl::StatusOr<NpyHeader> HeaderOf(const RandomAccessFile& file,
                                   const ZipEntry& entry) {
  if (!entry.deflated) {
    return ReadNpyHeader(file, entry.payload_offset, entry.size_bytes);
  }
  // The first bytes alone: opening must not inflate gigabytes. They are
  // compared with the CRC when the numbers are read.
  std::string head;
  const absl::Status inflated =
      InflateZipRecord(file, entry, [&head](absl::Span<const uint8_t> piece) {
        head.append(piece.begin(), piece.end());
        return static_cast<int64_t>(head.size()) < kMaxNpyHeaderBytes
                   ? absl::OkStatus()
                   : absl::CancelledError("enough");
      });
  if (!inflated.ok() && !absl::IsCancelled(inflated)) return inflated;
  return ParseNpyHeader(head, entry.size_bytes);
}

absl::StatusOr<Tensor> OpenRecord(const RandomAccessFile& file,
                                  const ZipEntry& entry, int64_t number,
                                  StoredAt& place) {
  PENSTOCK_ASSIGN_OR_RETURN(const NpyHeader header, HeaderOf(file, entry));
  // Nobody writes it, and a damaged length of the header looks like it.
  if (entry.size_bytes != header.header_bytes + header.data_bytes) {
    return absl::DataLossError(absl::StrFormat(
        "npy_trailing: expected %d bytes, header and array, found %d",
        header.header_bytes + header.data_bytes, entry.size_bytes));
  }
  if (entry.crc32 != 0 && header.data_bytes == 0 &&
      !ChecksumsMatch(entry.crc32, header.crc32)) {
    return absl::DataLossError(
        absl::StrFormat("zip_crc_mismatch: stored %#010x, computed %#010x",
                        entry.crc32, header.crc32));
  }
  // With h and n the CRCs of header and numbers, the record's is h moved over
  // the numbers, xor n. So n is known, and a damaged header shows in it.
  if (entry.crc32 != 0) {
    place.crc32 =
        entry.crc32 ^ CombineCrc32(header.crc32, 0, header.data_bytes);
  }
  return OpenArray(header, number, place);
}

absl::StatusOr<ForeignFile> ReadNpz(
    std::shared_ptr<const RandomAccessFile> file, const NpzOptions& options) {
  ForeignFile npz;
  npz.format = ForeignFormat::kNpz;
  npz.writer = "numpy (.npz)";
  npz.file = file;
  ZipLimits by_exact_name = options.zip;
  by_exact_name.ignores_case = false;
  PENSTOCK_ASSIGN_OR_RETURN(const ZipDirectory directory,
                            ReadZipDirectory(*file, by_exact_name));
  npz.warnings = directory.warnings();
  const std::vector<ZipEntry>& entries = directory.entries();
  auto inflated = std::make_shared<InflatedRecords>(file, options.inflate);
  auto stored = std::make_shared<StoredStorages>();
  PENSTOCK_ASSIGN_OR_RETURN(stored->places, PlacesOf(entries, *inflated));
  stored->files = {std::move(file), std::move(inflated)};
  GraphBuilder builder;
  const NodeId root = builder.Dict();
  for (size_t i = 0; i < entries.size(); ++i) {
    absl::string_view name = entries[i].name;
    name.remove_suffix(kExtension.size());
    absl::StatusOr<Tensor> tensor =
        OpenRecord(*npz.file, entries[i], i, stored->places[i]);
    if (!tensor.ok()) {
      return Annotate(tensor.status(),
                      absl::StrFormat("record %s at offset %d",
                                      QuotedRecordName(entries[i].name),
                                      entries[i].header_offset));
    }
    PENSTOCK_RETURN_IF_ERROR(
        builder.SetItem(root, builder.Str(name), builder.Tensor(*tensor)));
  }
  PENSTOCK_ASSIGN_OR_RETURN(npz.root, std::move(builder).Finish(root));
  SetStored(std::move(stored), npz);
  return npz;
}

}  // namespace

absl::StatusOr<ForeignFile> OpenNpy(
    std::shared_ptr<const RandomAccessFile> file) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> npy = ReadNpy(std::move(file));
  if (!npy.ok()) return Annotate(npy.status(), path);
  return npy;
}

absl::StatusOr<bool> StartsAsNpz(const RandomAccessFile& file) {
  std::vector<uint8_t> head(
      std::min(file.size_bytes(), kLocalHeaderBytes + kMaxRecordNameBytes));
  PENSTOCK_RETURN_IF_ERROR(file.Read(0, absl::MakeSpan(head)));
  if (static_cast<int64_t>(head.size()) < kLocalHeaderBytes ||
      ZipField(head, 0, 4) != kZipLocalSignature) {
    return false;
  }
  const absl::string_view rest(reinterpret_cast<const char*>(head.data()),
                               head.size());
  return absl::EndsWith(
      rest.substr(kLocalHeaderBytes).substr(0, ZipField(head, 26, 2)),
      kExtension);
}

absl::StatusOr<ForeignFile> OpenNpz(
    std::shared_ptr<const RandomAccessFile> file, const NpzOptions& options) {
  const std::string path = file->path();
  absl::StatusOr<ForeignFile> npz = ReadNpz(std::move(file), options);
  if (!npz.ok()) return Annotate(npz.status(), path);
  return npz;
}

}  // namespace penstock
