#include "codec/element_runs.h"

#include <cstring>

#include "core/dtype.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

template <int kWidth>
void CopyEach(const uint8_t* from, int64_t stride_bytes, int64_t n,
              uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(to + i * kWidth, from + i * stride_bytes, kWidth);
  }
}

void CopyRun(const uint8_t* from, int64_t stride, int64_t n, int width,
             uint8_t* to) {
  if (stride == 1) {
    std::memcpy(to, from, n * width);
    return;
  }
  switch (width) {
    case 1:
      return CopyEach<1>(from, stride, n, to);
    case 2:
      return CopyEach<2>(from, stride * 2, n, to);
    case 4:
      return CopyEach<4>(from, stride * 4, n, to);
    case 8:
      return CopyEach<8>(from, stride * 8, n, to);
    default:
      PENSTOCK_CHECK(width == 16);
      return CopyEach<16>(from, stride * 16, n, to);
  }
}

}  // namespace

void CopyElementRange(const Tensor& tensor, const uint8_t* bytes, int64_t first,
                      int64_t count, uint8_t* out) {
  const int width = InfoOf(tensor.dtype()).size_bytes;
  const int64_t lead = tensor.byte_range().begin;
  ElementRuns(tensor).ForEach(
      first, count, [&](int64_t place, int64_t stride, int64_t n) {
        CopyRun(bytes + place * width - lead, stride, n, width, out);
        out += n * width;
        return true;
      });
}

}  // namespace penstock
