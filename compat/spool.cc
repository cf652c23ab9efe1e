#include "compat/spool.h"

#include <cstring>

#include "absl/strings/str_format.h"
#include "compat/sub_file.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {

absl::Status TextFile::Read(int64_t offset, absl::Span<uint8_t> out) const {
  if (!RangeFits(offset, static_cast<int64_t>(out.size()), size_bytes())) {
    return absl::DataLossError(
        absl::StrFormat("no %d bytes at %d in memory", out.size(), offset));
  }
  if (!out.empty()) std::memcpy(out.data(), &bytes_[offset], out.size());
  return absl::OkStatus();
}

absl::Status Spool::Append(absl::Span<const uint8_t> bytes) {
  const int64_t begin = size_bytes_;
  size_bytes_ += static_cast<int64_t>(bytes.size());
  if (size_bytes_ <= kMaxSpoolMemory) {
    memory_.append(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  if (unnamed_.writer == nullptr) {
    PENSTOCK_ASSIGN_OR_RETURN(unnamed_, files_.CreateUnnamed(directory_));
    PENSTOCK_RETURN_IF_ERROR(unnamed_.writer->Write(0, ByteSpan(memory_)));
    memory_ = std::string();
  }
  return unnamed_.writer->Write(begin, bytes);
}

std::shared_ptr<const RandomAccessFile> Spool::Finish() && {
  if (unnamed_.writer == nullptr) {
    return std::make_shared<TextFile>(std::move(memory_));
  }
  return std::make_shared<SubFile>(std::move(unnamed_.reader), 0, size_bytes_);
}

}  // namespace penstock
