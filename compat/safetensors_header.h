// The header of a safetensors file: names, dtypes, shapes and places.

#ifndef PENSTOCK_COMPAT_SAFETENSORS_HEADER_H_
#define PENSTOCK_COMPAT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/file.h"

namespace penstock {

// Of the JSON text; readers and writers of safetensors refuse longer ones.
inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// The key beside the tensors' names.
inline constexpr absl::string_view kSafetensorsMetadata = "__metadata__";

using StringPairs = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kUInt8;
  std::vector<int64_t> shape;  // torch's: kFloat4E2M1FNx2 counts bytes
  // The tensor's bytes, counted from the end of the header.
  int64_t begin = 0;
  int64_t end = 0;
};

struct SafetensorsHeader {
  // By offset, as they lie; those at one offset as the text has them.
  std::vector<SafetensorsEntry> tensors;
  StringPairs metadata;     // as the text has it
  int64_t data_offset = 0;  // of the file: where the header ends
};

// safetensors' name of a dtype ("BF16"); empty where it has none.
absl::string_view SafetensorsName(DType dtype);
// The place of a named dtype in the order in which files are written.
int SafetensorsRank(DType dtype);

// Reads the header and proves that the tensors' bytes cover the rest of the
// file exactly once, each as many as dtype and shape say. Refused is all that
// safetensors 0.8.0 refuses, and what has two meanings or none in torch: a name
// or metadata key twice (it takes the last), NUL in a name, a tensor's fields
// as an array instead of an object, over kMaxRank dimensions.
//
// Errors, each with the tensor's name:
//   kDataLoss       safetensors_header (length, JSON, fields),
//                   safetensors_offsets (gaps, overlaps, bytes too many or
//                   too few)
//   kUnimplemented  safetensors_dtype (one that torch does not have, or an odd
//                   last dimension of F4), safetensors_rank
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(
    const RandomAccessFile& file);

// The same of the JSON text alone; `data_bytes` stand behind it.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         int64_t data_bytes);

// What stands before the tensors' bytes: length, JSON in the order given,
// spaces up to a multiple of 8. Equal to what safetensors 0.8.0 writes.
// Errors: kInvalidArgument where the JSON is over kMaxSafetensorsHeaderBytes.
absl::StatusOr<std::string> FormatSafetensorsHeader(
    absl::Span<const SafetensorsEntry> tensors, const StringPairs& metadata);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SAFETENSORS_HEADER_H_
