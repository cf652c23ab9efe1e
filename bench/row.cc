#include "bench/row.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "bench/statistics.h"

namespace penstock::bench {

absl::string_view NameOf(Section section) {
  switch (section) {
    case Section::kCopy:
      return "copy";
    case Section::kWrite:
      return "write";
    case Section::kRead:
      return "read";
    case Section::kSave:
      return "save";
    case Section::kLoadCold:
      return "load cold";
    case Section::kLoadWarm:
      return "load warm";
    case Section::kLoadIdle:
      return "load idle";
    case Section::kPart:
      return "part";
    case Section::kConvert:
      return "convert";
    case Section::kOpen:
      return "open";
  }
  return "?";
}

std::string Row::Name() const {
  return absl::StrCat(NameOf(section), "/", contender, "/", what);
}

double Row::Rate(double of_seconds) const {
  return of_seconds > 0 ? static_cast<double>(bytes) / of_seconds : 0;
}

Section CeilingSectionOf(Section section) {
  switch (section) {
    case Section::kCopy:
    case Section::kLoadWarm:
    case Section::kLoadIdle:
      return Section::kCopy;
    case Section::kWrite:
    case Section::kSave:
    case Section::kConvert:
      return Section::kWrite;
    case Section::kRead:
    case Section::kLoadCold:
      return Section::kRead;
    case Section::kPart:
    case Section::kOpen:
      break;
  }
  return Section::kOpen;
}

double CeilingRate(const std::vector<Row>& rows, Section section) {
  if (section == Section::kOpen) return 0;
  double highest = 0;
  for (const Row& row : rows) {
    if (row.section != section) continue;
    highest = std::max(highest, row.Rate(SpreadOf(row.seconds).median));
  }
  return highest;
}

}  // namespace penstock::bench
