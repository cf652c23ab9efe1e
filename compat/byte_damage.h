// What copying does to binary files: zeros that were never filled, and bytes
// changed as if they were text.

#ifndef PENSTOCK_COMPAT_BYTE_DAMAGE_H_
#define PENSTOCK_COMPAT_BYTE_DAMAGE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/file.h"

namespace penstock {

// For people.
struct ByteDamage {
  std::string finding;
  std::string advice;
};

// A long run of zeros at the end, where the formats have tables; newlines that
// all have a CR before them, or none where chance alone would give some; bytes
// replaced by U+FFFD. Only for files that are known to be damaged: sound ones
// may look like it. Reads 4 MiB, and the zeros up to 1 GiB.
// Errors: those of reading.
absl::StatusOr<std::optional<ByteDamage>> FindByteDamage(
    const RandomAccessFile& file);

// How many zeros the file begins with; of a file that is zero at the front and
// in 4,096 other places, its size. Reads at most 512 MiB.
absl::StatusOr<int64_t> LeadingZeros(const RandomAccessFile& file);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_BYTE_DAMAGE_H_
