// DirectReader: large pieces of a file around the page cache, several at once.

#ifndef PENSTOCK_CORE_DIRECT_READER_H_
#define PENSTOCK_CORE_DIRECT_READER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/types/span.h"

namespace penstock {

// Reads that run while their starter does something else. It tells how much
// came, never why not more: whoever needs the bytes reads them in another way,
// which says what is wrong. Thread-compatible.
class DirectReader {
 public:
  // Pieces that may be under way at once.
  static constexpr int kDepth = 4;

  struct Done {
    int64_t tag = 0;
    int64_t size_bytes = 0;  // read; -1 after an error
  };

  virtual ~DirectReader() = default;  // waits for what is under way

  // Begins to read at `offset`; offset, size and address are multiples of
  // kBufferAlignment. Less comes where the file ends. Fewer than kDepth are
  // under way, and `out` stays until Wait has returned `tag`.
  virtual void Start(int64_t tag, int64_t offset, absl::Span<uint8_t> out) = 0;

  // Waits for one of those that are under way; in any order.
  virtual Done Wait() = 0;
};

// By io_uring on `fd`, which stays open. Null where the system refuses it
// (seccomp, sysctl, an old kernel).
std::unique_ptr<DirectReader> MakeUringReader(int fd);

// By kDepth threads that call `read`, which returns what Done says.
using ReadPiece =
    std::function<int64_t(int64_t offset, absl::Span<uint8_t> out)>;
std::unique_ptr<DirectReader> MakeThreadReader(ReadPiece read);

// By whichever of the two works, on a descriptor of its own with O_DIRECT for
// the file that `fd` is. Null where that cannot be had.
std::unique_ptr<DirectReader> MakeDirectReader(int fd);

// Whether all of [offset, offset + size_bytes) of the file `fd` is in the page
// cache; true where the system does not tell.
bool IsInPageCache(int fd, int64_t offset, int64_t size_bytes);

}  // namespace penstock

#endif  // PENSTOCK_CORE_DIRECT_READER_H_
