#include "bench/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "bench/descriptor.h"
#include "core/file.h"
#include "core/status_macros.h"

namespace penstock::bench {
namespace {

absl::StatusOr<int64_t> SizeOf(const Descriptor& file,
                               const std::string& path) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, path);
  return info.st_size;
}

// Of pages that are written already; those that are not cannot be dropped.
absl::Status Advise(const Descriptor& file, const std::string& path) {
  if (fsync(file.get()) != 0) return absl::ErrnoToStatus(errno, path);
  const int error = posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  return error == 0 ? absl::OkStatus() : absl::ErrnoToStatus(error, path);
}

}  // namespace

absl::StatusOr<int64_t> CachedBytes(const std::string& path) {
  PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                            Descriptor::Open(path, O_RDONLY));
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size, SizeOf(file, path));
  if (size == 0) return 0;
  void* const pages = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (pages == MAP_FAILED) return absl::ErrnoToStatus(errno, path);
  const auto unmap = absl::MakeCleanup([pages, size] { munmap(pages, size); });
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  std::vector<uint8_t> resident((size + page_bytes - 1) / page_bytes);
  if (mincore(pages, size, resident.data()) != 0) {
    return absl::ErrnoToStatus(errno, path);
  }
  const int64_t num_resident =
      std::count_if(resident.begin(), resident.end(),
                    [](uint8_t page) { return (page & 1) != 0; });
  return num_resident * page_bytes;
}

absl::Status DropFromCache(const std::string& path) {
  PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                            Descriptor::Open(path, O_RDONLY));
  int64_t left = 0;
  // Pages that are still on their way through the kernel's lists stay the
  // first time.
  for (int attempt = 0; attempt < 3; ++attempt) {
    PENSTOCK_RETURN_IF_ERROR(Advise(file, path));
    PENSTOCK_ASSIGN_OR_RETURN(left, CachedBytes(path));
    if (left == 0) return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrFormat(
      "%s: %d bytes stay in the page cache: no cold reading here", path, left));
}

absl::Status BringIntoCache(const std::string& path) {
  PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                            Descriptor::Open(path, O_RDONLY));
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size, SizeOf(file, path));
  PENSTOCK_ASSIGN_OR_RETURN(int64_t cached, CachedBytes(path));
  if (cached >= size) return absl::OkStatus();
  std::vector<uint8_t> buffer(1 << 20);
  for (int64_t offset = 0; offset < size;) {
    const ssize_t n = pread(file.get(), buffer.data(), buffer.size(), offset);
    if (n <= 0) return absl::ErrnoToStatus(n < 0 ? errno : EIO, path);
    offset += n;
  }
  PENSTOCK_ASSIGN_OR_RETURN(cached, CachedBytes(path));
  if (cached >= size) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrFormat("%s: of %d bytes only %d stay in the page cache: no warm "
                      "reading here",
                      path, size, cached));
}

absl::Status MakeDurable(const std::string& path) {
  for (const std::string& name : {path, DirectoryOf(path)}) {
    PENSTOCK_ASSIGN_OR_RETURN(const Descriptor file,
                              Descriptor::Open(name, O_RDONLY));
    if (fsync(file.get()) != 0) return absl::ErrnoToStatus(errno, name);
  }
  return absl::OkStatus();
}

}  // namespace penstock::bench
