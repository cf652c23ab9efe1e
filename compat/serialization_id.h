// The record `.data/serialization_id` of a torch.save file, digit for digit.

#ifndef PENSTOCK_COMPAT_SERIALIZATION_ID_H_
#define PENSTOCK_COMPAT_SERIALIZATION_ID_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace penstock {

inline constexpr int64_t kSerializationIdBytes = 40;

// What the id depends on, of one record.
struct IdRecord {
  absl::string_view name;  // without the archive's prefix
  int64_t size_bytes = 0;
  uint32_t crc32 = 0;
  // Bytes 4 to 7 of a payload of 8 bytes or more that begins with the signature
  // of a data descriptor; nothing for any other. torch's writer takes such a
  // payload for a descriptor.
  std::optional<uint32_t> mistaken_crc32;
};

// What torch 2.1 and later write on Linux: 20 digits that depend on the names,
// 20 that depend on the CRCs (pytorch-format.md 2.8). `records` are all but the
// id itself, in file order, with distinct names; at most 5967347.
//
// The names are hashed in the order in which libstdc++'s unordered_set would
// iterate, on every platform, so that equal content gives equal files.
std::string SerializationId(absl::Span<const IdRecord> records);

// libstdc++'s std::hash<std::string>: MurmurHash64A with its fixed seed.
uint64_t LibstdcxxHash(absl::string_view text);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_SERIALIZATION_ID_H_
