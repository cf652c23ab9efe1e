#include "compat/inflated_records.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/zip_name.h"
#include "compat/zip_record.h"
#include "core/checked.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

InflateOptions Settled(InflateOptions options) {
  if (options.files == nullptr) options.files = &PosixFileSystem();
  return options;
}

}  // namespace

InflatedRecords::InflatedRecords(std::shared_ptr<const RandomAccessFile> file,
                                 InflateOptions options)
    : file_(std::move(file)),
      options_(Settled(std::move(options))),
      path_(absl::StrCat(file_->path(), " (inflated)")) {}

absl::StatusOr<int64_t> InflatedRecords::Add(const ZipEntry& entry) {
  const absl::Status possible = CheckDeflateRatio(entry);
  if (!possible.ok()) {
    return Annotate(possible,
                    absl::StrCat("record ", QuotedRecordName(entry.name)));
  }
  // The records of one file are disjoint, so that this sum is below its size;
  // with the ratio, the other stays in 64 bits where the file is below 2^52.
  stored_bytes_ += entry.stored_bytes;
  const int64_t limit = std::max(
      options_.max_bytes,
      CheckedMultiply(stored_bytes_, options_.max_growth).value_or(INT64_MAX));
  const int64_t offset = size_bytes_;
  if (!RangeFits(offset, entry.size_bytes, limit)) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "zip_bomb: with record %s of %d bytes the deflated tensors grow from "
        "%d to over %d bytes; re-pack the file without compression if this is "
        "right",
        QuotedRecordName(entry.name), entry.size_bytes, stored_bytes_, limit));
  }
  if (entry.size_bytes == 0) return offset;
  records_.push_back(std::make_unique<Record>(entry));
  records_.back()->offset = offset;
  size_bytes_ += entry.size_bytes;
  return offset;
}

absl::Status InflatedRecords::Read(int64_t offset,
                                   absl::Span<uint8_t> out) const {
  const int64_t size = static_cast<int64_t>(out.size());
  if (!RangeFits(offset, size, size_bytes_)) {
    return absl::DataLossError(
        absl::StrFormat("%s: %d bytes at offset %d wanted, there are %d", path_,
                        size, offset, size_bytes_));
  }
  if (size == 0) return absl::OkStatus();
  const auto behind = std::upper_bound(
      records_.begin(), records_.end(), offset,
      [](int64_t at, const auto& record) { return at < record->offset; });
  const int64_t num_records = static_cast<int64_t>(records_.size());
  for (int64_t i = behind - records_.begin() - 1;
       i < num_records && records_[i]->offset < offset + size; ++i) {
    PENSTOCK_RETURN_IF_ERROR(Prepare(i));
  }
  return spool_.reader->Read(offset, out);
}

// Inflates a record unless that was done.
absl::Status InflatedRecords::Prepare(int64_t number) const {
  Record& record = *records_[number];
  if (record.inflated.load(std::memory_order_acquire)) return absl::OkStatus();
  const MutexLock lock(locks_[number % kNumLocks]);
  if (record.inflated.load(std::memory_order_relaxed)) return absl::OkStatus();
  PENSTOCK_RETURN_IF_ERROR(record.damage);
  const absl::Status status = Inflate(record);
  if (status.ok()) {
    record.inflated.store(true, std::memory_order_release);
    return status;
  }
  const absl::Status named = Annotate(status, file_->path());
  // Whoever reads a damaged gigabyte in pieces shall not inflate it for each.
  // A full disk may be less full the next time.
  if (absl::IsDataLoss(named)) record.damage = named;
  return named;
}

absl::Status InflatedRecords::Inflate(const Record& record) const {
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t free,
                            options_.files->FreeSpace(options_.directory));
  if (free < record.entry.size_bytes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "record %s must be inflated to %d bytes, and %s has %d free",
        QuotedRecordName(record.entry.name), record.entry.size_bytes,
        options_.directory, free));
  }
  PENSTOCK_RETURN_IF_ERROR(OpenSpool());
  int64_t offset = record.offset;
  return InflateZipRecord(
      *file_, record.entry, [&](absl::Span<const uint8_t> piece) {
        const int64_t at = offset;
        offset += static_cast<int64_t>(piece.size());
        return piece.empty() ? absl::OkStatus()
                             : spool_.writer->Write(at, piece);
      });
}

absl::Status InflatedRecords::OpenSpool() const {
  const MutexLock lock(spool_mutex_);
  if (spool_.writer != nullptr) return absl::OkStatus();
  PENSTOCK_ASSIGN_OR_RETURN(spool_,
                            options_.files->CreateUnnamed(options_.directory));
  return absl::OkStatus();
}

}  // namespace penstock
