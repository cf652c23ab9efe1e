// NestedFiles: the files that may lie in the bytes of a pickle.

#ifndef PENSTOCK_COMPAT_NESTED_OPENER_H_
#define PENSTOCK_COMPAT_NESTED_OPENER_H_

#include <cstdint>

#include "compat/nested_storages.h"

namespace penstock {

// How deep files may lie in each other (pytorch-format.md 16).
inline constexpr int kMaxNestedDepth = 4;

// Opens legacy streams and torch.save's zip files, and such files in them. One
// for each outermost file, of `file_bytes`.
//
// Errors: the readers'; kDataLoss for any other kind of file, which torch could
// not load either; kResourceExhausted (nested_depth) beyond kMaxNestedDepth, or
// where all of them together have more bytes than honest files could: the same
// bytes opened again and again would multiply the work.
NestedOpener NestedFiles(int64_t file_bytes);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_NESTED_OPENER_H_
