// Where a scan begins to look in a file, and what the bytes there look like.

#ifndef PENSTOCK_COMPAT_SCAN_START_H_
#define PENSTOCK_COMPAT_SCAN_START_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "compat/byte_window.h"
#include "compat/zip_survey.h"

namespace penstock {

// Bytes [begin, end) that a program would take for a file of its own.
struct ScanStart {
  int64_t begin = 0;
  int64_t end = 0;
  std::string name;
  int method = 0;
  bool empty = false;      // by its headers; `end` is the file's, then
  bool flagged = false;    // as encrypted
  bool encrypted = false;  // in earnest
};

// Of a record of a zip file of `file_bytes`.
ScanStart StartOf(const ZipRecordSeen& record, int64_t file_bytes);

// What follows the end record at `offset` and its comment; nothing where that
// cannot be read, which `window` knows.
ScanStart StartBehindZip(ByteWindow& window, int64_t offset);

// Whether programs take a record of this name for a pickle.
bool IsNamedPickle(absl::string_view name);

// The offset behind the header of a .npy, which `head` begins with; 0 where it
// is none.
int64_t NpyHeaderBytes(absl::string_view head);

// Of a .npy: whether its array may be pickled. What is escaped is not read.
bool MayHoldObjects(absl::string_view head);

// The head of a zlib stream, as programs write it.
bool IsZlib(absl::string_view head);

// The head of a bzip2 file: its first block, or its end.
bool IsBzip2Block(absl::string_view head);

// Nothing but printable characters, blanks and ends of lines.
bool IsText(absl::string_view bytes);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SCAN_START_H_
