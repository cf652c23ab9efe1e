#include "core/checksum.h"

#include <isa-l/crc.h>
#include <zlib.h>
#if defined(__x86_64__)
// Takes AVX2 or AVX-512 where the machine has them: twice the plain header's
// speed at least, for a binary that still runs everywhere.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

Hash128 Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  Hash128 result;
  static_assert(sizeof(canonical.digest) == sizeof(result.bytes));
  std::memcpy(result.bytes.data(), canonical.digest, sizeof(result.bytes));
  return result;
}

}  // namespace

std::string Hash128::ToHex() const {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

Hash128 HashOf(absl::Span<const uint8_t> bytes, uint64_t seed) {
  return Canonical(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

struct Hasher::State {
  State() : xxh3(XXH3_createState()) { PENSTOCK_CHECK(xxh3 != nullptr); }
  ~State() { XXH3_freeState(xxh3); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* const xxh3;
};

Hasher::Hasher(uint64_t seed) : state_(std::make_unique<State>()) {
  XXH3_128bits_reset_withSeed(state_->xxh3, seed);
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::Update(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  XXH3_128bits_update(state_->xxh3, bytes.data(), bytes.size());
}

Hash128 Hasher::Digest() const {
  return Canonical(XXH3_128bits_digest(state_->xxh3));
}

uint32_t Crc32(absl::Span<const uint8_t> bytes, uint32_t crc) {
  if (bytes.empty()) return crc;
  return crc32_gzip_refl(crc, bytes.data(), bytes.size());
}

uint32_t CombineCrc32(uint32_t crc_a, uint32_t crc_b, int64_t b_size_bytes) {
  static_assert(sizeof(z_off_t) == sizeof(int64_t));
  PENSTOCK_CHECK(b_size_bytes >= 0);
  return static_cast<uint32_t>(crc32_combine(crc_a, crc_b, b_size_bytes));
}

}  // namespace penstock
