#include "compat/file_pool.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "core/status_macros.h"

namespace penstock {

class FilePool::PooledFile : public RandomAccessFile {
 public:
  PooledFile(std::shared_ptr<FilePool> pool, const RandomAccessFile& file)
      : pool_(std::move(pool)),
        path_(file.path()),
        size_bytes_(file.size_bytes()),
        version_(file.version()) {}
  ~PooledFile() override { pool_->Forget(*this); }

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    PENSTOCK_ASSIGN_OR_RETURN(const OpenFile file, pool_->Find(*this));
    return file->Read(offset, out);
  }
  absl::StatusOr<std::shared_ptr<const uint8_t>> Map(
      int64_t offset, int64_t size_bytes) const override {
    PENSTOCK_ASSIGN_OR_RETURN(const OpenFile file, pool_->Find(*this));
    return file->Map(offset, size_bytes);
  }
  std::unique_ptr<DirectReader> OpenDirect() const override {
    const absl::StatusOr<OpenFile> file = pool_->Find(*this);
    return file.ok() ? (*file)->OpenDirect() : nullptr;
  }
  // Where it cannot be opened, Read says why.
  bool IsCached(int64_t offset, int64_t size_bytes) const override {
    const absl::StatusOr<OpenFile> file = pool_->Find(*this);
    return !file.ok() || (*file)->IsCached(offset, size_bytes);
  }
  void WillRead(int64_t offset, int64_t size_bytes) const override {
    const absl::StatusOr<OpenFile> file = pool_->Find(*this);
    if (file.ok()) (*file)->WillRead(offset, size_bytes);
  }
  int64_t size_bytes() const override { return size_bytes_; }
  FileVersion version() const override { return version_; }
  const std::string& path() const override { return path_; }

 private:
  const std::shared_ptr<FilePool> pool_;
  const std::string path_;
  const int64_t size_bytes_;
  const FileVersion version_;
};

absl::StatusOr<std::shared_ptr<const RandomAccessFile>> FilePool::Open(
    const std::string& path) {
  PENSTOCK_ASSIGN_OR_RETURN(OpenFile file, files_.OpenRead(path));
  const auto pooled =
      std::make_shared<const PooledFile>(shared_from_this(), *file);
  Keep(*pooled, std::move(file));
  return pooled;
}

absl::StatusOr<FilePool::OpenFile> FilePool::Find(const PooledFile& owner) {
  {
    MutexLock lock(mutex_);
    const auto place = places_.find(&owner);
    if (place != places_.end()) {
      open_.splice(open_.begin(), open_, place->second);
      return open_.front().file;
    }
  }
  PENSTOCK_ASSIGN_OR_RETURN(OpenFile file, files_.OpenRead(owner.path()));
  if (file->size_bytes() != owner.size_bytes()) {
    return absl::DataLossError(
        absl::StrFormat("%s: has %d bytes now, had %d when it was opened",
                        owner.path(), file->size_bytes(), owner.size_bytes()));
  }
  if (file->version() != owner.version()) {
    return absl::DataLossError(absl::StrCat(
        owner.path(), ": was replaced or written to while it was read"));
  }
  Keep(owner, file);
  return file;
}

// Closes one where that is one too many, once nobody reads it. Without the
// lock: closing may take long.
void FilePool::Keep(const PooledFile& owner, OpenFile file) {
  OpenFile closed;
  MutexLock lock(mutex_);
  if (places_.contains(&owner)) return;  // another thread was first
  open_.push_front({&owner, std::move(file)});
  places_.emplace(&owner, open_.begin());
  if (open_.size() <= most_open_) return;
  closed = std::move(open_.back().file);
  places_.erase(open_.back().owner);
  open_.pop_back();
}

void FilePool::Forget(const PooledFile& owner) {
  OpenFile closed;
  MutexLock lock(mutex_);
  const auto place = places_.find(&owner);
  if (place == places_.end()) return;
  closed = std::move(place->second->file);
  open_.erase(place->second);
  places_.erase(place);
}

}  // namespace penstock
