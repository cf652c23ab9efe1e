// The FileSystem of the operating system. The only home of open(2).

#ifndef PENSTOCK_CORE_POSIX_FILE_SYSTEM_H_
#define PENSTOCK_CORE_POSIX_FILE_SYSTEM_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

// Stateless, lives for ever. Direct writes that are refused go through the page
// cache from then on; direct() stays true, for the alignment still holds.
FileSystem& PosixFileSystem();

// A pipe, socket or terminal that is open already, to write in order. Closing
// leaves the descriptor open: it is the caller's. Sync does nothing. A reader
// that goes away is an error only where SIGPIPE is ignored: main()'s business.
// `name` stands in error messages ("standard output").
std::unique_ptr<WritableFile> WrapOutputStream(int fd, const std::string& name);

// Copies `fd` to its end into an unnamed temporary in `directory` and opens it
// for positional reading; its space is freed with the last reference.
// Errors: kResourceExhausted, kCancelled is the caller's through `keep_going`
// (called every few MiB; may be null), the OS's otherwise.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> SpoolInputStream(
    int fd, const std::string& name, const std::string& directory,
    const std::function<bool()>& keep_going);

}  // namespace penstock

#endif  // PENSTOCK_CORE_POSIX_FILE_SYSTEM_H_
