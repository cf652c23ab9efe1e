// MatchesGlob: names by pattern.

#ifndef PENSTOCK_CORE_GLOB_H_
#define PENSTOCK_CORE_GLOB_H_

#include "absl/strings/string_view.h"

namespace penstock {

// Whether `glob` matches all of `name`: `*` any text, dots included, `?` one
// byte, `[a-z]` one byte of a set and `[!a-z]` of no set, as in a shell;
// anything else itself. A `[` that is not closed is itself. At most
// glob.size() * name.size() steps.
bool MatchesGlob(absl::string_view glob, absl::string_view name);

}  // namespace penstock

#endif  // PENSTOCK_CORE_GLOB_H_
