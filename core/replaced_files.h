// Files that were replaced, closed in the background.

#ifndef PENSTOCK_CORE_REPLACED_FILES_H_
#define PENSTOCK_CORE_REPLACED_FILES_H_

#include <memory>

#include "core/file.h"

namespace penstock {

// Closes `file` on a thread of its own and returns at once. With the last
// reference to a file that has no name any more the system frees its blocks,
// which took 1.1 s per GB on a mount with `discard` (performance.md 3.1b).
// Thread-safe. Where no thread can be had it is closed here.
void CloseInBackground(std::unique_ptr<RandomAccessFile> file);

// Returns when everything given to CloseInBackground is closed. A process that
// ends without calling it waits for the same in the system's hands.
// Thread-safe.
void WaitForReplacedFiles();

}  // namespace penstock

#endif  // PENSTOCK_CORE_REPLACED_FILES_H_
