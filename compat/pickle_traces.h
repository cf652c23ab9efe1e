// Whether bytes are a pickle that somebody could load, or look like one by
// chance: tensors hold every sequence of bytes sooner or later.

#ifndef PENSTOCK_COMPAT_PICKLE_TRACES_H_
#define PENSTOCK_COMPAT_PICKLE_TRACES_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "compat/byte_window.h"
#include "compat/pickle_walk.h"

namespace penstock {

// So many bytes are enough for NextTrace to judge one place.
inline constexpr size_t kTraceBytes = 160;

// The first place from `begin` on, below `end`, where a pickle, a zip header or
// an end record may begin; `end` where there is none. `bytes` may go on behind
// `end`, by kTraceBytes where there are so many.
size_t NextTrace(absl::string_view bytes, size_t begin, size_t end);

// Why a walk began where it did.
enum class WalkTrust {
  kSure,      // a pickle is meant to be here
  kAnchored,  // a program that wants a pickle would look here
  kFound,     // anywhere: by NextTrace
};

// Whether what the walk found is to be reported. For kFound, a terabyte of
// noise gives less than one by chance. `bytes` is what those from where it
// began to where it ended look like.
enum class WalkedOver { kText, kBytes };
bool IsBelievable(const PickleWalk& walk, WalkTrust trust, WalkedOver bytes);

// Walks as who knows joblib's arrays does and, as far as what that finds is
// more than chance, as who does not. Arguments: PickleWalker's.
PickleWalk WalkBothWays(ByteWindow& window, ByteWindow& names, int64_t& budget,
                        int64_t begin);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_PICKLE_TRACES_H_
