// Doctor: what a file is, what is wrong with it, and what to do next.

#ifndef PENSTOCK_API_DOCTOR_H_
#define PENSTOCK_API_DOCTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "api/penstock.h"

namespace penstock {

enum class Health {
  kSound,   // a checkpoint that opens, and nothing speaks against it
  kWrong,   // damaged, unfinished, or no checkpoint that can be read
  kUnseen,  // could not be looked at: not there, no permission, a pipe
};

// For people, but for `kind`. Text of the file is quoted as it is: escape it.
struct DoctorReport {
  Health health = Health::kUnseen;
  // For programs: a name of Format for what opens, else that of a Diagnosis
  // ("git-lfs-pointer", "truncated-zip"), "directory", "missing"...
  std::string kind;
  std::string what;  // "a Git LFS pointer, not the file itself"
  std::vector<std::string> findings;  // what is wrong, most telling first
  std::vector<std::string> advice;    // what to do next

  // Of a checkpoint that opens; its bytes are not read (Verify does that).
  bool readable = false;
  std::string writer;
  int64_t file_bytes = 0;
  int64_t num_tensors = 0;
  int64_t raw_bytes = 0;        // of all storages
  int64_t unchecked_bytes = 0;  // of them have no checksum in the file
  std::vector<std::string> warnings;
};

// Looks at `path`, whatever it is: the file, its name, files beside it that
// belong to it, or the well-known names in a directory. Never fails: what went
// wrong is the report.
DoctorReport Diagnose(const std::string& path, const RunOptions& options = {});

// Bytes of an open checkpoint's storages for which its file has no checksum: 0
// of a .pstk; all of formats without checksums; of zip files the records whose
// CRC-32 was not computed.
int64_t UncheckedBytes(const Checkpoint& checkpoint);

}  // namespace penstock

#endif  // PENSTOCK_API_DOCTOR_H_
