// The header of a .npy file: what numpy.save writes before the numbers.

#ifndef PENSTOCK_COMPAT_NPY_HEADER_H_
#define PENSTOCK_COMPAT_NPY_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dtype.h"
#include "core/file.h"

namespace penstock {

// Longer ones are refused: 64 sizes of 19 digits take less than 2,000 bytes.
inline constexpr int64_t kMaxNpyHeaderBytes = 64 << 10;

// How the numbers of one array lie. Plain data.
struct NpyHeader {
  DType dtype = DType::kUInt8;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<int64_t> shape;  // at most kMaxRank sizes

  int64_t header_bytes = 0;  // the numbers begin behind them
  int64_t data_bytes = 0;    // of the numbers
  uint32_t crc32 = 0;        // of the header's bytes

  // In elements; {} where the order is C's, as Tensor::Make wants it.
  std::vector<int64_t> Strides() const;
};

// Parses the header at the start of `bytes`, the first kMaxNpyHeaderBytes of a
// .npy of `size_bytes`, or all of it. Format versions 1.0, 2.0 and 3.0
// (numpy/lib/_format_impl.py). The dict is read with a grammar of its own: the
// three keys in any order, each once; strings without escapes, True, False, a
// tuple of ints. Nothing is evaluated.
//
// Errors:
//   kDataLoss           npy_magic, npy_header (no such dict), npy_shape
//                       (negative, or more than int64 counts), npy_truncated
//                       (header or numbers need more bytes than there are)
//   kUnimplemented      npy_version; npy_dtype: objects, structures, text,
//                       times and what else is no number of ours, with its
//                       descr
//   kResourceExhausted  npy_limit: over kMaxNpyHeaderBytes, over kMaxRank
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view bytes,
                                         int64_t size_bytes);

// The same of the .npy that lies in [offset, offset + size_bytes) of `file`.
// Errors: ParseNpyHeader's, the file's.
absl::StatusOr<NpyHeader> ReadNpyHeader(const RandomAccessFile& file,
                                        int64_t offset, int64_t size_bytes);

// numpy's name of a dtype, little-endian: "<f4", "|b1"; empty where it has none
// (bfloat16, float8, quantised...).
absl::string_view NpyDescrOf(DType dtype);

// The header, byte for byte as numpy.save 2.x writes it for an array in C
// order, as long as it fits format version 1.0, which kMaxRank sizes do: a
// multiple of 64 bytes. `dtype` must have a descr.
std::string MakeNpyHeader(DType dtype, absl::Span<const int64_t> shape);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NPY_HEADER_H_
