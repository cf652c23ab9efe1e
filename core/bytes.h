// Text and numbers as bytes.

#ifndef PENSTOCK_CORE_BYTES_H_
#define PENSTOCK_CORE_BYTES_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace penstock {

// Numbers and tables go to and from files by memcpy.
static_assert(std::endian::native == std::endian::little);

inline absl::Span<const uint8_t> ByteSpan(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
// The bytes of a string that somebody fills.
inline absl::Span<uint8_t> MutableByteSpan(std::string& text) {
  return {reinterpret_cast<uint8_t*>(text.data()), text.size()};
}

template <typename T>
void AppendLittleEndian(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
// `from` has sizeof(T) bytes.
template <typename T>
T LoadLittleEndian(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace penstock

#endif  // PENSTOCK_CORE_BYTES_H_
