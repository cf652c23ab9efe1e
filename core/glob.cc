#include "core/glob.h"

#include <cstddef>

namespace penstock {
namespace {

// The length of what stands for one byte at the start of `glob` (not empty, no
// `*`); 0 where it does not stand for `byte`.
size_t MatchOne(absl::string_view glob, char byte) {
  if (glob[0] == '?') return 1;
  if (glob[0] != '[') return glob[0] == byte ? 1 : 0;
  const bool negated = glob.size() > 1 && (glob[1] == '!' || glob[1] == '^');
  const size_t first = negated ? 2 : 1;
  // A `]` that comes first belongs to the set.
  const size_t end = glob.find(']', first + 1);
  if (end == absl::string_view::npos) return byte == '[' ? 1 : 0;
  const auto value = static_cast<unsigned char>(byte);
  bool is_in = false;
  for (size_t i = first; i < end; ++i) {
    const auto low = static_cast<unsigned char>(glob[i]);
    auto high = low;
    if (i + 2 < end && glob[i + 1] == '-') {
      high = static_cast<unsigned char>(glob[i + 2]);
      i += 2;
    }
    is_in = is_in || (low <= value && value <= high);
  }
  return is_in != negated ? end + 1 : 0;
}

}  // namespace

bool MatchesGlob(absl::string_view glob, absl::string_view name) {
  constexpr size_t kNone = absl::string_view::npos;
  size_t g = 0;
  size_t n = 0;
  // Only the last star can be too short: an earlier one has found the least
  // that the glob up to the last can match.
  size_t star = kNone;
  size_t after_star = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = ++g;
      after_star = n;
      continue;
    }
    const size_t taken =
        g < glob.size() ? MatchOne(glob.substr(g), name[n]) : 0;
    if (taken > 0) {
      g += taken;
      ++n;
    } else if (star != kNone) {
      g = star;
      n = ++after_star;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

}  // namespace penstock
