// What the tests of tar files share: members by hand.

#ifndef PENSTOCK_COMPAT_TAR_TESTING_H_
#define PENSTOCK_COMPAT_TAR_TESTING_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace penstock {

// 512 bytes with the checksum that they should have.
inline std::string TarHeader(absl::string_view name, absl::string_view size,
                             char type = '0') {
  std::string header(512, '\0');
  header.replace(0, name.size(), name.data(), name.size());
  header.replace(100, 8, std::string("0000600\0", 8));
  header.replace(124, size.size(), size.data(), size.size());
  header[156] = type;
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(148, 8, 8, ' ');
  int64_t sum = 0;
  for (const char byte : header) sum += static_cast<uint8_t>(byte);
  header.replace(148, 8, absl::StrFormat("%06o", sum) + std::string("\0 ", 2));
  return header;
}

inline std::string TarSize(int64_t size) {
  return absl::StrFormat("%011o", size);
}

inline std::string Tarred(absl::string_view name, absl::string_view bytes,
                          char type = '0') {
  const int64_t size = static_cast<int64_t>(bytes.size());
  return absl::StrCat(TarHeader(name, TarSize(size), type), bytes,
                      std::string((512 - size % 512) % 512, '\0'));
}

inline std::string PaxRecord(absl::string_view key, absl::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest;
  while (rest + absl::StrCat(length).size() != length) ++length;
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

inline std::string TarEnd() { return std::string(1024, '\0'); }

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_TAR_TESTING_H_
