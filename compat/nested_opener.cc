#include "compat/nested_opener.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/file_kind.h"
#include "compat/legacy_file.h"
#include "compat/pickle_reader.h"
#include "compat/pt_file.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// For pickles that were deflated: a file may be shorter than what is in it.
constexpr int64_t kLeastBudget = int64_t{4} << 30;

// `bytes_left` is shared by all that one file leads to.
NestedOpener OpenerAt(int depth, std::shared_ptr<int64_t> bytes_left) {
  return [depth, bytes_left](std::shared_ptr<const RandomAccessFile> file)
             -> absl::StatusOr<ForeignFile> {
    if (depth > kMaxNestedDepth) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("nested_depth: a file in a file, more than %d deep",
                          kMaxNestedDepth));
    }
    if (file->size_bytes() > *bytes_left) {
      return absl::ResourceExhaustedError(
          "nested_depth: the files in the bytes of pickles are, in all, larger "
          "than the file could hold without repeating itself");
    }
    *bytes_left -= file->size_bytes();
    PENSTOCK_ASSIGN_OR_RETURN(const FileKind kind, DetectKind(*file));
    switch (kind) {
      case FileKind::kZip:
        return OpenPt(std::move(file), {}, OpenerAt(depth + 1, bytes_left));
      case FileKind::kLegacyStream:
        return OpenLegacy(std::move(file), {}, OpenerAt(depth + 1, bytes_left));
      default:
        return absl::DataLossError(absl::StrCat(
            "legacy_magic: bytes that torch.load is to open are neither a "
            "legacy stream nor a zip file, but ",
            TextOf(kind).what));
    }
  };
}

}  // namespace

int64_t NestedBudgetOf(int64_t file_bytes) {
  const int64_t honest = file_bytes > INT64_MAX / kMaxNestedDepth
                             ? INT64_MAX
                             : kMaxNestedDepth * file_bytes;
  return std::max(honest, kLeastBudget);
}

NestedOpener NestedFiles(int64_t max_bytes) {
  return OpenerAt(1, std::make_shared<int64_t>(max_bytes));
}

}  // namespace penstock
