#include "compat/scan_start.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "compat/zip_layout.h"
#include "core/bytes.h"

namespace penstock {

using ::absl::string_view;

ScanStart StartOf(const ZipRecordSeen& record, int64_t file_bytes) {
  ScanStart start;
  start.begin = record.data_begin;
  start.end =
      record.stored_bytes > 0
          ? std::min(file_bytes, record.data_begin + record.stored_bytes)
          : file_bytes;
  start.empty = record.stored_bytes == 0;
  start.name = record.name;
  start.method = record.method;
  start.flagged = (record.flags & 1) != 0;
  start.encrypted = record.encrypted();
  return start;
}

ScanStart StartBehindZip(ByteWindow& window, int64_t offset) {
  const int64_t file_bytes = window.file_bytes();
  ScanStart start{file_bytes, file_bytes, "(behind the zip)"};
  const string_view record = window.Get(offset, kEndBytes);
  if (record.size() == kEndBytes) {
    start.begin =
        offset + kEndBytes + LoadLittleEndian<uint16_t>(record.data() + 20);
  }
  return start;
}

bool IsNamedPickle(string_view name) {
  for (const string_view ending : {".pkl", ".pickle", ".debug_pkl"}) {
    if (absl::EndsWithIgnoreCase(name, ending)) return true;
  }
  // Members of torch's tar files.
  return name == "sys_info" || name == "pickle" || name == "storages" ||
         name == "tensors";
}

int64_t NpyHeaderBytes(string_view head) {
  if (head.size() < 12) return 0;
  const auto at = [&](size_t i) {
    return int64_t{static_cast<uint8_t>(head[i])};
  };
  if (at(6) == 1) return 10 + at(8) + (at(9) << 8);
  return 12 + at(8) + (at(9) << 8) + (at(10) << 16) + (at(11) << 24);
}

bool IsZlib(string_view head) {
  return head.size() >= 2 && (head[0] & 0x0F) == 8 && (head[0] & 0x80) == 0 &&
         (static_cast<uint8_t>(head[0]) * 256 + static_cast<uint8_t>(head[1])) %
                 31 ==
             0 &&
         head[0] == 0x78;
}

bool IsBzip2Block(string_view head) {
  const string_view block = head.substr(0, 10).substr(4);
  return block == "1AY&SY" || block == "\x17rE8P\x90";
}

bool IsText(string_view bytes) {
  return absl::c_all_of(bytes, [](unsigned char c) {
    return absl::ascii_isprint(c) || absl::ascii_isspace(c);
  });
}

bool MayHoldObjects(string_view head) {
  const size_t end = head.find('}');
  return absl::StrContains(head.substr(0, end), 'O') ||
         absl::StrContains(head.substr(0, end), '\\') ||
         end == string_view::npos;
}

}  // namespace penstock
