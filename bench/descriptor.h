// A file descriptor of one's own: ceilings and the page cache are about the
// machine, so they go around our FileSystem.

#ifndef PENSTOCK_BENCH_DESCRIPTOR_H_
#define PENSTOCK_BENCH_DESCRIPTOR_H_

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace penstock::bench {

// Closes itself. Move-only.
class Descriptor {
 public:
  // As open(2), close-on-exec. Errors: the OS's, with the path.
  static absl::StatusOr<Descriptor> Open(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
    }
    return Descriptor(fd);
  }

  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }

  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_DESCRIPTOR_H_
