#include "core/dtype.h"

#include <array>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// By code. Never reorder: codes stand in files.
constexpr std::array<DTypeInfo, kNumDTypes> kInfos = {{
    {"bool", 1, 1, 1},
    {"uint8", 1, 1, 1},
    {"int8", 1, 1, 1},
    {"uint16", 2, 1, 2},
    {"int16", 2, 1, 2},
    {"uint32", 4, 1, 4},
    {"int32", 4, 1, 4},
    {"uint64", 8, 1, 8},
    {"int64", 8, 1, 8},
    {"float16", 2, 1, 2},
    {"bfloat16", 2, 1, 2},
    {"float32", 4, 1, 4},
    {"float64", 8, 1, 8},
    {"complex32", 4, 1, 2},
    {"complex64", 8, 1, 4},
    {"complex128", 16, 1, 8},
    {"float8_e4m3fn", 1, 1, 1},
    {"float8_e5m2", 1, 1, 1},
    {"float8_e4m3fnuz", 1, 1, 1},
    {"float8_e5m2fnuz", 1, 1, 1},
    {"float8_e8m0fnu", 1, 1, 1},
    {"float4_e2m1fn_x2", 1, 1, 1},
    {"qint8", 1, 1, 1},
    {"quint8", 1, 1, 1},
    {"qint32", 4, 1, 4},
    {"quint4x2", 1, 2, 1},
    {"quint2x4", 1, 4, 1},
    {"bits8", 1, 1, 1},
    {"bits1x8", 1, 1, 1},
    {"bits2x4", 1, 1, 1},
    {"bits4x2", 1, 1, 1},
    {"bits16", 2, 1, 2},
    {"int1", 1, 1, 1},
    {"int2", 1, 1, 1},
    {"int3", 1, 1, 1},
    {"int4", 1, 1, 1},
    {"int5", 1, 1, 1},
    {"int6", 1, 1, 1},
    {"int7", 1, 1, 1},
    {"uint1", 1, 1, 1},
    {"uint2", 1, 1, 1},
    {"uint3", 1, 1, 1},
    {"uint4", 1, 1, 1},
    {"uint5", 1, 1, 1},
    {"uint6", 1, 1, 1},
    {"uint7", 1, 1, 1},
}};

}  // namespace

const DTypeInfo& InfoOf(DType dtype) {
  PENSTOCK_CHECK(static_cast<int>(dtype) < kNumDTypes);
  return kInfos[static_cast<int>(dtype)];
}

std::optional<DType> DTypeFromName(absl::string_view name) {
  for (int code = 0; code < kNumDTypes; ++code) {
    if (kInfos[code].name == name) return static_cast<DType>(code);
  }
  return std::nullopt;
}

std::optional<DType> DTypeFromCode(int64_t code) {
  if (code < 0 || code >= kNumDTypes) return std::nullopt;
  return static_cast<DType>(code);
}

std::optional<int64_t> BytesFor(DType dtype, int64_t num_elements) {
  if (num_elements < 0) return std::nullopt;
  const DTypeInfo& info = InfoOf(dtype);
  const int64_t groups = num_elements / info.values_per_byte +
                         (num_elements % info.values_per_byte != 0);
  int64_t bytes;
  if (__builtin_mul_overflow(groups, info.size_bytes, &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace penstock
