// ArrayFileName: a file name for a tensor.

#ifndef PENSTOCK_CLI_ARRAY_FILE_NAME_H_
#define PENSTOCK_CLI_ARRAY_FILE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace penstock {

// "NAME.npy" as one path component that every file system takes: control
// characters, bytes over 0x7E, any of %/\:*?"<>| and a dot in front become %XX.
// So two names never share a file, and none is hidden or leads out of its
// folder. An empty name is "%.npy".
// Errors: kInvalidArgument for more than 255 bytes.
absl::StatusOr<std::string> ArrayFileName(absl::string_view name);

}  // namespace penstock

#endif  // PENSTOCK_CLI_ARRAY_FILE_NAME_H_
