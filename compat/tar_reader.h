// The members of a tar file, as far as torch.save's need it.

#ifndef PENSTOCK_COMPAT_TAR_READER_H_
#define PENSTOCK_COMPAT_TAR_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

inline constexpr int64_t kMaxTarMembers = 100'000;

// One member. Its bytes were proven to lie within the file.
struct TarMember {
  std::string name;  // as it stands there: any bytes
  int64_t header_offset = 0;
  int64_t offset = 0;
  int64_t size_bytes = 0;
  char type = '0';  // '0': a regular file, 'x' and the like are used up here
};

// Reads the headers (v7, ustar, pax, GNU) up to the two zero blocks or the end
// of the file; of pax headers `path` and `size`, of GNU's the long names. The
// file need not be of torch's. Nothing is unpacked.
//
// Errors:
//   kDataLoss           tar_bad: a checksum, a size that is no number or goes
//                       beyond the file, a pax header that is none
//   kResourceExhausted  tar_bad: over kMaxTarMembers, or a header of over 1 MiB
absl::StatusOr<std::vector<TarMember>> ReadTarDirectory(
    const RandomAccessFile& file);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TAR_READER_H_
