// XXH3-128 for native files, CRC-32 for zip. The only home of both libraries.

#ifndef PENSTOCK_CORE_CHECKSUM_H_
#define PENSTOCK_CORE_CHECKSUM_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"

namespace penstock {

// An XXH3-128 in the canonical (big-endian) byte order of the xxHash project,
// as it stands in a file.
struct Hash128 {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const Hash128&) const = default;
  std::string ToHex() const;
};

// XXH3-128 of `bytes`. Seeded, so that a right chunk in a wrong place is wrong.
Hash128 HashOf(absl::Span<const uint8_t> bytes, uint64_t seed = 0);

// The same over bytes that come in pieces. Thread-compatible.
class Hasher {
 public:
  explicit Hasher(uint64_t seed = 0);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void Update(absl::Span<const uint8_t> bytes);
  Hash128 Digest() const;  // of all bytes so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// CRC-32 (IEEE, as in zip) of `bytes`, going on from `crc` (0 at the start).
uint32_t Crc32(absl::Span<const uint8_t> bytes, uint32_t crc = 0);

// The CRC-32 of A followed by B, where B has `b_size_bytes` bytes.
uint32_t CombineCrc32(uint32_t crc_a, uint32_t crc_b, int64_t b_size_bytes);

}  // namespace penstock

#endif  // PENSTOCK_CORE_CHECKSUM_H_
