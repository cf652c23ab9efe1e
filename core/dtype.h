// Element types: every dtype that PyTorch can put into a file.

#ifndef PENSTOCK_CORE_DTYPE_H_
#define PENSTOCK_CORE_DTYPE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace penstock {

// The 46 dtypes of torch 2.13 (pytorch-format.md 4.1). Codes are frozen: they
// stand in .pstk files. New ones are appended.
enum class DType : uint8_t {
  kBool = 0,
  kUInt8 = 1,
  kInt8 = 2,
  kUInt16 = 3,
  kInt16 = 4,
  kUInt32 = 5,
  kInt32 = 6,
  kUInt64 = 7,
  kInt64 = 8,
  kFloat16 = 9,
  kBFloat16 = 10,
  kFloat32 = 11,
  kFloat64 = 12,
  kComplex32 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kFloat8E4M3FN = 16,
  kFloat8E5M2 = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2FNUZ = 19,
  kFloat8E8M0FNU = 20,
  kFloat4E2M1FNx2 = 21,  // a shape counts bytes, two values in each
  kQInt8 = 22,
  kQUInt8 = 23,
  kQInt32 = 24,
  kQUInt4x2 = 25,  // a shape counts values, two in a byte
  kQUInt2x4 = 26,  // a shape counts values, four in a byte
  kBits8 = 27,
  kBits1x8 = 28,
  kBits2x4 = 29,
  kBits4x2 = 30,
  kBits16 = 31,
  kInt1 = 32,  // kInt1..kUInt7: one byte an element
  kInt2 = 33,
  kInt3 = 34,
  kInt4 = 35,
  kInt5 = 36,
  kInt6 = 37,
  kInt7 = 38,
  kUInt1 = 39,
  kUInt2 = 40,
  kUInt3 = 41,
  kUInt4 = 42,
  kUInt5 = 43,
  kUInt6 = 44,
  kUInt7 = 45,
};

inline constexpr int kNumDTypes = 46;

// What one dtype is. Immutable, static.
struct DTypeInfo {
  absl::string_view name;  // torch's, without "torch.": "bfloat16"
  int size_bytes;          // of one element; of one byte-group if packed
  int values_per_byte;     // 1; 2 or 4 for the packed quantised ones
  // Width of the number that byte order and byte planes act on: size_bytes, but
  // half of it for complex types.
  int word_bytes;
};

// `dtype` must be a named enumerator.
const DTypeInfo& InfoOf(DType dtype);

// Nothing for an unknown name or code. Aliases ("float", "half") are unknown.
std::optional<DType> DTypeFromName(absl::string_view name);
std::optional<DType> DTypeFromCode(int64_t code);

// Bytes that `num_elements` consecutive elements take, rounded up for packed
// ones; nothing on overflow or a negative count.
std::optional<int64_t> BytesFor(DType dtype, int64_t num_elements);

}  // namespace penstock

#endif  // PENSTOCK_CORE_DTYPE_H_
