// Names of zip records: which are good, which are one to torch.

#ifndef PENSTOCK_COMPAT_ZIP_NAME_H_
#define PENSTOCK_COMPAT_ZIP_NAME_H_

#include <string>

#include "absl/strings/string_view.h"

namespace penstock {

// Why nobody should see a record of this name, "contains NUL"; empty where it
// is good: relative, UTF-8, at most kMaxRecordNameBytes.
absl::string_view RecordNameProblem(absl::string_view name);

// True for the name of a file in some directory: one component of a path, and
// neither "." nor "..".
bool IsFileName(absl::string_view name);

// `name` for a message: quoted, cut, control characters and bytes over 0x7F
// escaped.
std::string QuotedRecordName(absl::string_view name);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_NAME_H_
