// SurveyZip: every record that some reader of a zip file would find, and where
// readers would disagree.
//
// The strict reader (compat/zip_reader.h) takes one interpretation or refuses.
// A scan needs all of them: Python's, miniz' in torch, and those of careless
// programs.

#ifndef PENSTOCK_COMPAT_ZIP_SURVEY_H_
#define PENSTOCK_COMPAT_ZIP_SURVEY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "compat/byte_window.h"
#include "compat/scan.h"

namespace penstock {

// More entries than these are not looked at, which is a finding.
inline constexpr int64_t kMaxSurveyEntries = 1 << 20;

// One record, as one of its headers describes it.
struct ZipRecordSeen {
  std::string name;
  int64_t header_offset = 0;
  int64_t data_begin = 0;
  int64_t stored_bytes = 0;  // 0 where only a descriptor behind it says
  int64_t size_bytes = 0;
  int method = 0;
  int flags = 0;

  bool deflated() const { return method == 8; }
  // Encrypted in earnest, as far as its header can tell: the flag alone is a
  // trick against scanners, which torch does not fall for.
  bool encrypted() const;
};

struct ZipSurvey {
  std::vector<ZipRecordSeen> records;
  std::vector<ScanFinding> findings;  // kZip and kUnseen, `record` its name
};

// The local header at `offset`, if there is one that could be meant.
std::optional<ZipRecordSeen> LocalHeaderAt(ByteWindow& window, int64_t offset);

// Adds what the central directory says that belongs to the end record at
// `offset`; nothing where there is no directory.
void SurveyDirectory(ByteWindow& window, int64_t offset, ZipSurvey& survey);

// Surveys the end records that a reader would look for: in the last 64 KiB.
// Returns their offsets.
std::vector<int64_t> SurveyTail(ByteWindow& window, ZipSurvey& survey);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_ZIP_SURVEY_H_
