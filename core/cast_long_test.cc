// All 2^32 numbers of float32 to both 16-bit formats.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/types/span.h"
#include "core/cast.h"
#include "core/cast_testing.h"
#include "core/dtype.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Casts the float32 numbers of bits [first, last], and expects `expected` of
// each. Returns the number of overflows.
int64_t ExpectAll(DType to, uint32_t first, uint32_t last, uint16_t expected,
                  bool& ok) {
  constexpr uint64_t kBlock = 1 << 14;
  static std::vector<uint32_t> in(kBlock);
  static std::vector<uint16_t> out(kBlock);
  int64_t overflows = 0;
  for (uint64_t begin = first; begin <= last; begin += kBlock) {
    const uint64_t n = std::min<uint64_t>(kBlock, last - begin + 1);
    for (uint64_t i = 0; i < n; ++i) in[i] = static_cast<uint32_t>(begin + i);
    overflows +=
        Cast(DType::kFloat32, to,
             absl::MakeConstSpan(reinterpret_cast<uint8_t*>(in.data()), 4 * n),
             absl::MakeSpan(reinterpret_cast<uint8_t*>(out.data()), 2 * n));
    uint16_t differences = 0;
    for (uint64_t i = 0; i < n; ++i) differences |= out[i] ^ expected;
    ok = ok && differences == 0;
  }
  return overflows;
}

// The numbers that round to one target lie between the middles to both sides of
// it; the middles themselves go to the even one. That is the definition, so
// that 2^16 runs prove 2^32 casts.
void ExpectEveryCast(DType to) {
  const FloatLayout wide = LayoutOf(DType::kFloat32);
  const FloatLayout narrow = LayoutOf(to);
  const FloatLayout finer = {narrow.exponent_bits, narrow.mantissa_bits + 1};
  const auto infinity = static_cast<uint32_t>(narrow.infinity());
  uint64_t num_checked = 0;
  uint32_t first = 0;
  for (uint32_t target = 0; target <= infinity; ++target) {
    auto last = static_cast<uint32_t>(wide.infinity());
    if (target < infinity) {
      const uint64_t middle = CastBits(2 * target + 1, finer, wide);
      last = static_cast<uint32_t>(middle - target % 2);
    }
    bool ok = true;
    const uint32_t size = last - first + 1;
    int64_t overflows =
        ExpectAll(to, first, last, static_cast<uint16_t>(target), ok);
    overflows += ExpectAll(to, first | 0x80000000, last | 0x80000000,
                           static_cast<uint16_t>(target | 0x8000), ok);
    ASSERT_TRUE(ok) << std::hex << target;
    // All but infinity itself.
    ASSERT_EQ(overflows, target == infinity ? 2 * (int64_t{size} - 1) : 0);
    num_checked += 2 * uint64_t{size};
    first = last + 1;
  }
  bool ok = true;
  const auto nan = static_cast<uint16_t>(narrow.quiet_nan());
  EXPECT_EQ(ExpectAll(to, first, 0x7fffffff, nan, ok), 0);
  EXPECT_EQ(ExpectAll(to, first | 0x80000000, 0xffffffff, nan | 0x8000, ok), 0);
  EXPECT_TRUE(ok);
  num_checked += 2 * (uint64_t{0x80000000} - first);
  EXPECT_EQ(num_checked, uint64_t{1} << 32);
}

TEST(CastLongTest, EveryFloatToFloat16) { ExpectEveryCast(DType::kFloat16); }

TEST(CastLongTest, EveryFloatToBFloat16) { ExpectEveryCast(DType::kBFloat16); }

}  // namespace
}  // namespace penstock
