// Status plumbing: early return, assignment, annotation, and the check for bugs
// of our own. (Debian's Abseil 20220623 has none of these.)

#ifndef PENSTOCK_CORE_STATUS_MACROS_H_
#define PENSTOCK_CORE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace penstock {

// `status` with "context: " before its message; the code stays. OK stays OK.
// Each layer on the way up adds its own noun once: tensor, then file.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// Prints `file:line: message` on stderr and aborts. Only PENSTOCK_CHECK calls
// it.
[[noreturn]] void CheckFailed(const char* file, int line, const char* message);

}  // namespace penstock

// For bugs of our own. Never depends on a file's bytes.
#define PENSTOCK_CHECK(condition)                                       \
  do {                                                                  \
    if (!(condition)) {                                                 \
      ::penstock::CheckFailed(__FILE__, __LINE__, "CHECK " #condition); \
    }                                                                   \
  } while (false)

#define PENSTOCK_RETURN_IF_ERROR(expr)                                  \
  do {                                                                  \
    if (absl::Status penstock_status = (expr); !penstock_status.ok()) { \
      return penstock_status;                                           \
    }                                                                   \
  } while (false)

// PENSTOCK_ASSIGN_OR_RETURN(auto x, F());  `lhs` may not hold a bare comma.
#define PENSTOCK_ASSIGN_OR_RETURN(lhs, expr) \
  PENSTOCK_ASSIGN_OR_RETURN_IMPL_(           \
      PENSTOCK_CONCAT_(penstock_statusor_, __LINE__), lhs, expr)

#define PENSTOCK_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr) \
  auto statusor = (expr);                                    \
  if (!statusor.ok()) return std::move(statusor).status();   \
  lhs = *std::move(statusor)

#define PENSTOCK_CONCAT_(a, b) PENSTOCK_CONCAT_IMPL_(a, b)
#define PENSTOCK_CONCAT_IMPL_(a, b) a##b

#endif  // PENSTOCK_CORE_STATUS_MACROS_H_
