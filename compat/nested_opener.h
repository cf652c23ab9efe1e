// NestedFiles: the files that may lie in the bytes of a pickle.

#ifndef PENSTOCK_COMPAT_NESTED_OPENER_H_
#define PENSTOCK_COMPAT_NESTED_OPENER_H_

#include <cstdint>

#include "compat/nested_storages.h"

namespace penstock {

// How deep files may lie in each other (pytorch-format.md 16).
inline constexpr int kMaxNestedDepth = 4;

// More bytes than the files in an honest file of `file_bytes` can have, all
// together and in whatever depth.
int64_t NestedBudgetOf(int64_t file_bytes);

// Opens legacy streams and torch.save's zip files, and such files in them. One
// for each outermost file.
//
// Errors: the readers'; kDataLoss for any other kind of file, which torch could
// not load either; kResourceExhausted (nested_depth) beyond kMaxNestedDepth, or
// where all of them together have more than `max_bytes`: the same bytes opened
// again and again would multiply the work.
NestedOpener NestedFiles(int64_t max_bytes);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NESTED_OPENER_H_
