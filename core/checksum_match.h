// Whether bytes are those that their checksum was taken of: the one place where
// that is judged.

#ifndef PENSTOCK_CORE_CHECKSUM_MATCH_H_
#define PENSTOCK_CORE_CHECKSUM_MATCH_H_

namespace penstock {

// True in builds for fuzzing alone, where the checks that stand behind those of
// checksums would never be reached: only --config=fuzz defines the macro.
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
inline constexpr bool kTakesAnyChecksum = true;
#else
inline constexpr bool kTakesAnyChecksum = false;
#endif

template <typename Checksum>
bool ChecksumsMatch(const Checksum& stored, const Checksum& computed) {
  return stored == computed || kTakesAnyChecksum;
}

}  // namespace penstock

#endif  // PENSTOCK_CORE_CHECKSUM_MATCH_H_
