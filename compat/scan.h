// What a scan of a file for what its pickles could do finds: plain data.

#ifndef PENSTOCK_COMPAT_SCAN_H_
#define PENSTOCK_COMPAT_SCAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace penstock {

// Ascending: the level of several findings is their highest.
enum class ScanLevel {
  kAllow,      // what checkpoints consist of; can do nothing else
  kUnknown,    // code of somebody's project: safe where that project is
  kUnseen,     // the scan could not look inside
  kDangerous,  // can run anything, or hides something
};

// "allow", "unknown", "unseen", "dangerous".
absl::string_view NameOf(ScanLevel level);

enum class ScanKind {
  kGlobal,  // a pickle names module and name
  kPickle,  // a pickle does something that no global says, or is broken
  kZip,     // a zip file with two meanings
  kUnseen,  // encrypted, of a format that is not known here, over a limit
};

// "global", "pickle", "zip", "unseen".
absl::string_view NameOf(ScanKind kind);

// Texts are as they stand in the file, any bytes, cut at kMaxScanNameBytes.
struct ScanFinding {
  ScanKind kind = ScanKind::kGlobal;
  ScanLevel level = ScanLevel::kAllow;
  std::string module;  // of kGlobal
  std::string name;
  // Where: the record, with those that it lies in before it ("a.pt!b/data.pkl";
  // empty: the file itself), and the offset in it of the opcode, or of what is
  // odd.
  std::string record;
  int64_t offset = 0;
  std::string opcode;  // pickletools' name, of the one at `offset`; or empty
  // The opcode that calls the global ("REDUCE"); empty: it is only named.
  std::string called_by;
  std::string reason;  // for people; empty for kAllow
};

inline constexpr int64_t kMaxScanNameBytes = 256;
// Of one file: all others only count.
inline constexpr int64_t kMaxScanFindings = 10'000;

struct ScanReport {
  ScanLevel level = ScanLevel::kAllow;  // the highest of the findings
  // Those below the highest, for who treats them apart; of all findings, those
  // left out, too.
  bool unseen = false;
  bool unknown = false;
  int64_t file_bytes = 0;
  int64_t num_pickles = 0;
  // In the order of the file, each global once for each pickle, those allowed
  // too; at most kMaxScanFindings.
  std::vector<ScanFinding> findings;
  int64_t num_left_out = 0;
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SCAN_H_
