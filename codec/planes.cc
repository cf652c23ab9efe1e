#include "codec/planes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/status_macros.h"

// AVX2 where the machine has it, chosen at run time from the same source, so
// the bytes are the same. Not by ifunc, which runs before a sanitizer is up.
#if defined(__x86_64__) && defined(__GNUC__)
#define PENSTOCK_PLANES_AVX2 1
#endif

namespace penstock {
namespace {

static_assert(std::endian::native == std::endian::little,
              "planes are numbered by little-endian byte");

template <typename Word>
[[gnu::always_inline]] inline Word Load(const uint8_t* at) {
  Word word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

template <typename Word>
[[gnu::always_inline]] inline void Store(Word word, uint8_t* at) {
  std::memcpy(at, &word, sizeof(word));
}

template <typename Word>
struct HalfOf;
template <>
struct HalfOf<uint16_t> {
  using Type = uint8_t;
};
template <>
struct HalfOf<uint32_t> {
  using Type = uint16_t;
};
template <>
struct HalfOf<uint64_t> {
  using Type = uint32_t;
};

template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline Word Difference(const uint8_t* at) {
  const Word x = Load<Word>(at);
  if constexpr (kTransform != Transform::kDelta) return x;
  return static_cast<Word>(x - Load<Word>(at - sizeof(Word)));
}

// The lower halves of n elements to `low`, the upper to `high`. Compilers
// vectorise this and its inverse well, and loops over four or eight planes
// badly or not at all: so planes are made by halving again and again.
template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline void Halve(const uint8_t* __restrict raw,
                                         int64_t n, uint8_t* __restrict low,
                                         uint8_t* __restrict high) {
  using Half = typename HalfOf<Word>::Type;
  for (int64_t i = 0; i < n; ++i) {
    const Word x = Difference<Word, kTransform>(raw + sizeof(Word) * i);
    Store(static_cast<Half>(x), low + sizeof(Half) * i);
    Store(static_cast<Half>(x >> (sizeof(Half) * 8)), high + sizeof(Half) * i);
  }
}

template <typename Word>
[[gnu::always_inline]] inline void Join(const uint8_t* __restrict low,
                                        const uint8_t* __restrict high,
                                        int64_t n, uint8_t* __restrict raw) {
  using Half = typename HalfOf<Word>::Type;
  for (int64_t i = 0; i < n; ++i) {
    const Word x = static_cast<Word>(
        static_cast<Word>(Load<Half>(low + sizeof(Half) * i)) |
        static_cast<Word>(Load<Half>(high + sizeof(Half) * i))
            << (sizeof(Half) * 8));
    Store(x, raw + sizeof(Word) * i);
  }
}

// The sign move, s eeeeeee|e mmmmmmm -> eeeeeeee|s mmmmmmm, on the upper two
// bytes: all of a bfloat16, half of a float32. In bytes, of which a vector
// holds twice as many as of words.
[[gnu::always_inline]] inline void HalveMovingSign(
    const uint8_t* __restrict raw, int64_t n, uint8_t* __restrict low,
    uint8_t* __restrict high) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t x = Load<uint16_t>(raw + 2 * i);
    const uint8_t l = static_cast<uint8_t>(x);
    const uint8_t h = static_cast<uint8_t>(x >> 8);
    low[i] = static_cast<uint8_t>((l & 0x7F) | (h & 0x80));
    high[i] = static_cast<uint8_t>((h << 1) | (l >> 7));
  }
}

[[gnu::always_inline]] inline void JoinMovingSign(
    const uint8_t* __restrict low, const uint8_t* __restrict high, int64_t n,
    uint8_t* __restrict raw) {
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t l = static_cast<uint8_t>((low[i] & 0x7F) | (high[i] << 7));
    const uint8_t h = static_cast<uint8_t>((low[i] & 0x80) | (high[i] >> 1));
    Store(static_cast<uint16_t>(l | h << 8), raw + 2 * i);
  }
}

// Elements that are split or merged at a time, so that halves stay in the
// first-level cache.
constexpr int64_t kPieceElements = 1024;

// Planes first, first + 1, ... of n <= kPieceElements elements, to or from byte
// `at` of each plane. The sign is in the upper half.
template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline void SplitPiece(
    const uint8_t* raw, int64_t n,
    const std::array<uint8_t*, kMaxPlanes>& planes, int first, int64_t at) {
  using Half = typename HalfOf<Word>::Type;
  if constexpr (sizeof(Half) == 1) {
    uint8_t* low = planes[first] + at;
    uint8_t* high = planes[first + 1] + at;
    if constexpr (kTransform == Transform::kSignMove) {
      HalveMovingSign(raw, n, low, high);
    } else {
      Halve<Word, kTransform>(raw, n, low, high);
    }
  } else {
    constexpr Transform kOfHigh = kTransform == Transform::kSignMove
                                      ? Transform::kSignMove
                                      : Transform::kNone;
    alignas(64) uint8_t low[kPieceElements * sizeof(Half)];
    alignas(64) uint8_t high[kPieceElements * sizeof(Half)];
    Halve<Word, kTransform>(raw, n, low, high);
    SplitPiece<Half, Transform::kNone>(low, n, planes, first, at);
    SplitPiece<Half, kOfHigh>(high, n, planes, first + sizeof(Half), at);
  }
}

template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline void MergePiece(
    const std::array<const uint8_t*, kMaxPlanes>& planes, int first, int64_t at,
    int64_t n, uint8_t* raw) {
  using Half = typename HalfOf<Word>::Type;
  if constexpr (sizeof(Half) == 1) {
    if constexpr (kTransform == Transform::kSignMove) {
      JoinMovingSign(planes[first] + at, planes[first + 1] + at, n, raw);
    } else {
      Join<Word>(planes[first] + at, planes[first + 1] + at, n, raw);
    }
  } else {
    alignas(64) uint8_t low[kPieceElements * sizeof(Half)];
    alignas(64) uint8_t high[kPieceElements * sizeof(Half)];
    MergePiece<Half, Transform::kNone>(planes, first, at, n, low);
    MergePiece<Half, kTransform>(planes, first + sizeof(Half), at, n, high);
    Join<Word>(low, high, n, raw);
  }
}

// Arguments of the loops below, which exist once per instruction set.
struct SplitArgs {
  const uint8_t* raw;  // of the chunk
  ElementRange range;
  const std::array<uint8_t*, kMaxPlanes>* planes;
};
struct MergeArgs {
  const std::array<const uint8_t*, kMaxPlanes>* planes;
  ElementRange range;
  uint8_t* raw;  // of the chunk
};

template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline void SplitAny(const SplitArgs& args) {
  int64_t begin = args.range.begin;
  // The first element of a chunk is its own difference.
  if (kTransform == Transform::kDelta && begin == 0 && args.range.end > 0) {
    SplitPiece<Word, Transform::kNone>(args.raw, 1, *args.planes, 0, 0);
    begin = 1;
  }
  for (; begin < args.range.end; begin += kPieceElements) {
    SplitPiece<Word, kTransform>(
        args.raw + begin * sizeof(Word),
        std::min(kPieceElements, args.range.end - begin), *args.planes, 0,
        begin - args.range.begin);
  }
}

// Turns n differences into sums, behind the sum `before`. Returns the last one.
template <typename Word>
[[gnu::always_inline]] inline Word SumUp(Word before, int64_t n, uint8_t* raw) {
  for (int64_t i = 0; i < n; ++i) {
    before = static_cast<Word>(before + Load<Word>(raw + i * sizeof(Word)));
    Store(before, raw + i * sizeof(Word));
  }
  return before;
}

template <typename Word, Transform kTransform>
[[gnu::always_inline]] inline void MergeAny(const MergeArgs& args) {
  const int64_t first = args.range.begin;
  Word sum = 0;
  if (kTransform == Transform::kDelta && first > 0) {
    sum = Load<Word>(args.raw + (first - 1) * sizeof(Word));
  }
  for (int64_t begin = first; begin < args.range.end; begin += kPieceElements) {
    uint8_t* raw = args.raw + begin * sizeof(Word);
    const int64_t n = std::min(kPieceElements, args.range.end - begin);
    MergePiece<Word, kTransform>(*args.planes, 0, begin - first, n, raw);
    if constexpr (kTransform == Transform::kDelta) {
      sum = SumUp<Word>(sum, n, raw);
    }
  }
}

template <typename Word, Transform kTransform>
void SplitPlain(const SplitArgs& args) {
  SplitAny<Word, kTransform>(args);
}
template <typename Word, Transform kTransform>
void MergePlain(const MergeArgs& args) {
  MergeAny<Word, kTransform>(args);
}

#ifdef PENSTOCK_PLANES_AVX2
template <typename Word, Transform kTransform>
[[gnu::target("avx2")]] void SplitAvx2(const SplitArgs& args) {
  SplitAny<Word, kTransform>(args);
}
template <typename Word, Transform kTransform>
[[gnu::target("avx2")]] void MergeAvx2(const MergeArgs& args) {
  MergeAny<Word, kTransform>(args);
}
bool HasAvx2() { return __builtin_cpu_supports("avx2"); }
#endif

template <typename Word, Transform kTransform>
void Split(const SplitArgs& args) {
#ifdef PENSTOCK_PLANES_AVX2
  if (HasAvx2()) return SplitAvx2<Word, kTransform>(args);
#endif
  SplitPlain<Word, kTransform>(args);
}

template <typename Word, Transform kTransform>
void Merge(const MergeArgs& args) {
#ifdef PENSTOCK_PLANES_AVX2
  if (HasAvx2()) return MergeAvx2<Word, kTransform>(args);
#endif
  MergePlain<Word, kTransform>(args);
}

template <typename Word>
void SplitWords(Transform transform, const SplitArgs& args) {
  PENSTOCK_CHECK(TransformFits(transform, sizeof(Word)));
  if constexpr (sizeof(Word) != 8) {
    if (transform == Transform::kSignMove) {
      return Split<Word, Transform::kSignMove>(args);
    }
  }
  if constexpr (sizeof(Word) != 2) {
    if (transform == Transform::kDelta) {
      return Split<Word, Transform::kDelta>(args);
    }
  }
  Split<Word, Transform::kNone>(args);
}

template <typename Word>
void MergeWords(Transform transform, const MergeArgs& args) {
  PENSTOCK_CHECK(TransformFits(transform, sizeof(Word)));
  if constexpr (sizeof(Word) != 8) {
    if (transform == Transform::kSignMove) {
      return Merge<Word, Transform::kSignMove>(args);
    }
  }
  if constexpr (sizeof(Word) != 2) {
    if (transform == Transform::kDelta) {
      return Merge<Word, Transform::kDelta>(args);
    }
  }
  Merge<Word, Transform::kNone>(args);
}

}  // namespace

bool TransformFits(Transform transform, int width) {
  switch (transform) {
    case Transform::kNone:
      return true;
    case Transform::kSignMove:
      return width == 2 || width == 4;
    case Transform::kDelta:
      return width == 4 || width == 8;
  }
  return false;
}

void SplitPlanes(absl::Span<const uint8_t> raw, int width, Transform transform,
                 uint8_t* planes) {
  const int64_t n = static_cast<int64_t>(raw.size()) / width;
  std::array<uint8_t*, kMaxPlanes> places{};
  for (int i = 0; i < width; ++i) places[i] = planes + i * n;
  SplitElements(raw.data(), {0, n}, width, transform, places);
  std::copy(raw.begin() + n * width, raw.end(), planes + n * width);
}

void MergePlanes(const uint8_t* planes, int width, Transform transform,
                 absl::Span<uint8_t> raw) {
  const int64_t n = static_cast<int64_t>(raw.size()) / width;
  std::array<const uint8_t*, kMaxPlanes> places{};
  for (int i = 0; i < width; ++i) places[i] = planes + i * n;
  MergeElements(places, {0, n}, width, transform, raw.data());
  std::copy(planes + n * width, planes + raw.size(), raw.begin() + n * width);
}

void SplitElements(const uint8_t* raw, ElementRange range, int width,
                   Transform transform,
                   const std::array<uint8_t*, kMaxPlanes>& planes) {
  const SplitArgs args{raw, range, &planes};
  switch (width) {
    case 1:
      std::copy(raw + range.begin, raw + range.end, planes[0]);
      return;
    case 2:
      return SplitWords<uint16_t>(transform, args);
    case 4:
      return SplitWords<uint32_t>(transform, args);
    default:
      return SplitWords<uint64_t>(transform, args);
  }
}

void MergeElements(const std::array<const uint8_t*, kMaxPlanes>& planes,
                   ElementRange range, int width, Transform transform,
                   uint8_t* raw) {
  const MergeArgs args{&planes, range, raw};
  switch (width) {
    case 1:
      std::copy(planes[0], planes[0] + (range.end - range.begin),
                raw + range.begin);
      return;
    case 2:
      return MergeWords<uint16_t>(transform, args);
    case 4:
      return MergeWords<uint32_t>(transform, args);
    default:
      return MergeWords<uint64_t>(transform, args);
  }
}

}  // namespace penstock
