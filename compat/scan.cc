#include "compat/scan.h"

namespace penstock {

absl::string_view NameOf(ScanLevel level) {
  switch (level) {
    case ScanLevel::kAllow:
      return "allow";
    case ScanLevel::kUnknown:
      return "unknown";
    case ScanLevel::kUnseen:
      return "unseen";
    case ScanLevel::kDangerous:
      return "dangerous";
  }
  return "";
}

absl::string_view NameOf(ScanKind kind) {
  switch (kind) {
    case ScanKind::kGlobal:
      return "global";
    case ScanKind::kPickle:
      return "pickle";
    case ScanKind::kZip:
      return "zip";
    case ScanKind::kUnseen:
      return "unseen";
  }
  return "";
}

}  // namespace penstock
