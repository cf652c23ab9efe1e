#include "cli/array_file_name.h"

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace penstock {
namespace {

constexpr size_t kMaxNameBytes = 255;  // of one component, on most systems
constexpr absl::string_view kEscaped = "%/\\:*?\"<>|";

}  // namespace

absl::StatusOr<std::string> ArrayFileName(absl::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<uint8_t>(name[i]);
    const bool escape = byte < 0x20 || byte > 0x7E ||
                        kEscaped.find(name[i]) != kEscaped.npos ||
                        (i == 0 && name[i] == '.');
    if (escape) {
      absl::StrAppendFormat(&result, "%%%02X", byte);
    } else {
      result.push_back(name[i]);
    }
  }
  if (result.empty()) result = "%";
  result += ".npy";
  if (result.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": a file name of ", result.size(),
                     " bytes, at most ", kMaxNameBytes, " are possible"));
  }
  return result;
}

}  // namespace penstock
