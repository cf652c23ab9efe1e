#include "core/file.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace penstock {

absl::StatusOr<std::shared_ptr<const uint8_t>> RandomAccessFile::Map(
    int64_t, int64_t) const {
  return absl::UnimplementedError(
      absl::StrCat(path(), ": this kind of file cannot be mapped"));
}

std::unique_ptr<DirectReader> RandomAccessFile::OpenDirect() const {
  return nullptr;
}

bool RandomAccessFile::IsCached(int64_t, int64_t) const { return true; }

void RandomAccessFile::WillRead(int64_t, int64_t) const {}

void FileSystem::CloseReplaced(std::unique_ptr<RandomAccessFile>) {}

absl::StatusOr<UnnamedFile> FileSystem::CreateUnnamed(
    const std::string& directory) {
  return absl::UnimplementedError(
      absl::StrCat(directory, ": no files without names here"));
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

}  // namespace penstock
