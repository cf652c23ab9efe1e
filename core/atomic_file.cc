#include "core/atomic_file.h"

#include <sys/random.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/file.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Every try draws 64 new bits: a second one is next to impossible already.
constexpr int kMaxTries = 100;
// Names may have 255 bytes; 22 of them are the dots, the id and "tmp".
constexpr size_t kMaxKeptBytes = 255 - 22;

uint64_t DrawId() {
  uint64_t id = 0;
  if (getentropy(&id, sizeof(id)) == 0) return id;
  // Unique will do: whoever takes the name first keeps it.
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return static_cast<uint64_t>(now) ^ (static_cast<uint64_t>(getpid()) << 40);
}

std::string TemporaryFor(const std::string& path) {
  std::string name = BaseName(path);
  if (name.size() > kMaxKeptBytes) {
    size_t kept = kMaxKeptBytes;
    // Not within a UTF-8 character: some file systems refuse such names.
    while (kept > 0 && (static_cast<uint8_t>(name[kept]) & 0xC0) == 0x80) {
      --kept;
    }
    name.resize(kept);
  }
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  return absl::StrFormat("%s.%s.%016x.tmp", directory, name, DrawId());
}

}  // namespace

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(
    FileSystem& files, const std::string& path, Caching caching) {
  const std::string name = BaseName(path);
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", path, "\" does not name a file"));
  }
  std::unique_ptr<AtomicFile> atomic(new AtomicFile);
  atomic->files_ = &files;
  atomic->path_ = path;
  CreateOptions options;
  options.caching = caching;
  const absl::StatusOr<FileInfo> old = files.Stat(path);
  if (old.ok()) {
    if (old->type != FileInfo::Type::kRegular) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, old->type == FileInfo::Type::kDirectory
                    ? ": is a directory, not a regular file"
                    : ": is a pipe or a device, not a regular file"));
    }
    atomic->permissions_ = old->permissions;
    // From the start: secrets must not be readable while they are written.
    options.permissions = old->permissions & 0777;
  } else if (!absl::IsNotFound(old.status())) {
    return old.status();
  }
  for (int i = 0; i < kMaxTries; ++i) {
    std::string temporary = TemporaryFor(path);
    auto file = files.Create(temporary, options);
    if (absl::IsAlreadyExists(file.status())) continue;
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(
          absl::StrCat(path, ": there is no such directory"));
    }
    PENSTOCK_RETURN_IF_ERROR(file.status());
    atomic->file_ = *std::move(file);
    atomic->temporary_ = std::move(temporary);
    return atomic;
  }
  return absl::AlreadyExistsError(absl::StrFormat(
      "%s: found no free name for a temporary in %d tries", path, kMaxTries));
}

AtomicFile::~AtomicFile() {
  file_.reset();
  RemoveTemporary();
}

void AtomicFile::RemoveTemporary() {
  if (temporary_.empty()) return;
  const absl::Status status = files_->Unlink(temporary_);
  if (status.ok() || absl::IsNotFound(status)) temporary_.clear();
}

absl::Status AtomicFile::Commit() {
  PENSTOCK_CHECK(!commit_called_);
  commit_called_ = true;
  const absl::Status status = Publish();
  if (!status.ok()) {
    // An error nobody can act on must not hide the one that matters.
    RemoveTemporary();
    return status;
  }
  const absl::Status durable = files_->SyncDirectory(DirectoryOf(path_));
  if (replaced_ != nullptr) files_->CloseReplaced(std::move(replaced_));
  return Annotate(durable,
                  absl::StrCat(path_,
                               ": the new file is complete and visible, but "
                               "may not survive a power cut"));
}

absl::Status AtomicFile::Publish() {
  if (permissions_) {
    // The umask took part in creating it, but has no say in replacing.
    PENSTOCK_RETURN_IF_ERROR(files_->SetPermissions(temporary_, *permissions_));
  }
  PENSTOCK_RETURN_IF_ERROR(file_->Sync());
  PENSTOCK_RETURN_IF_ERROR(file_->Close());
  // Only for speed: what cannot be read is replaced all the same.
  if (auto old = files_->OpenRead(path_); old.ok()) replaced_ = *std::move(old);
  PENSTOCK_RETURN_IF_ERROR(files_->Rename(temporary_, path_));
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace penstock
