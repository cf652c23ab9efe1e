#include "compat/serialization_id.h"

#include <cstddef>
#include <iterator>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// Bucket counts that libstdc++ takes one after the other as a set grows.
constexpr uint64_t kBucketCounts[] = {13,     29,      59,      127,    257,
                                      541,    1109,    2357,    5087,   10273,
                                      20753,  42043,   85229,   172933, 351061,
                                      712697, 1447153, 2938679, 5967347};

uint64_t Mix(uint64_t seed, uint64_t value) {
  return seed ^ (value + 0x9E3779B9 + (seed << 6) + (seed >> 2));
}

uint64_t LoadLittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  return value;
}

// The iteration order of a std::unordered_set: one singly linked list, and for
// each bucket the node *before* its first node.
class NodeOrder {
 public:
  // Takes the node with the next number.
  void Insert(uint64_t hash) {
    if (hashes_.size() == buckets_.size()) Grow();
    hashes_.push_back(hash);
    next_.push_back(kEnd);
    Link(static_cast<int64_t>(hashes_.size()) - 1);
  }

  // Hashes in iteration order, mixed.
  uint64_t Digest() const {
    uint64_t digest = 0;
    for (int64_t node = head_; node != kEnd; node = next_[node]) {
      digest = Mix(digest, hashes_[node]);
    }
    return digest;
  }

 private:
  static constexpr int64_t kEnd = -1;         // no further node
  static constexpr int64_t kBeforeHead = -2;  // the list's own anchor
  static constexpr int64_t kEmpty = -3;       // a bucket without nodes

  int64_t& Bucket(int64_t node) {
    return buckets_[hashes_[node] % buckets_.size()];
  }
  int64_t& After(int64_t node) {
    return node == kBeforeHead ? head_ : next_[node];
  }

  void Link(int64_t node) {
    int64_t& before = Bucket(node);
    if (before == kEmpty) {
      next_[node] = head_;
      if (head_ != kEnd) Bucket(head_) = node;
      head_ = node;
      before = kBeforeHead;
    } else {
      next_[node] = After(before);
      After(before) = node;
    }
  }

  void Grow() {
    PENSTOCK_CHECK(growths_ < std::size(kBucketCounts));
    buckets_.assign(kBucketCounts[growths_++], kEmpty);
    int64_t node = head_;
    head_ = kEnd;
    while (node != kEnd) {
      const int64_t following = next_[node];
      Link(node);
      node = following;
    }
  }

  std::vector<uint64_t> hashes_;  // by node, in order of insertion
  std::vector<int64_t> next_;
  std::vector<int64_t> buckets_;
  int64_t head_ = kEnd;
  size_t growths_ = 0;
};

}  // namespace

uint64_t LibstdcxxHash(absl::string_view text) {
  constexpr uint64_t kMultiplier = 0xC6A4A7935BD1E995;
  constexpr uint64_t kSeed = 0xC70F6907;
  uint64_t hash = kSeed ^ (text.size() * kMultiplier);
  while (text.size() >= 8) {
    uint64_t word = LoadLittleEndian(text.substr(0, 8)) * kMultiplier;
    word ^= word >> 47;
    hash = (hash ^ (word * kMultiplier)) * kMultiplier;
    text.remove_prefix(8);
  }
  if (!text.empty()) hash = (hash ^ LoadLittleEndian(text)) * kMultiplier;
  hash = (hash ^ (hash >> 47)) * kMultiplier;
  return hash ^ (hash >> 47);
}

std::string SerializationId(absl::Span<const IdRecord> records) {
  NodeOrder names;
  uint64_t crcs = 0;
  for (const IdRecord& record : records) {
    names.Insert(LibstdcxxHash(record.name));
    if (record.size_bytes == 0) continue;
    if (record.mistaken_crc32) crcs = Mix(crcs, *record.mistaken_crc32);
    crcs = Mix(crcs, record.crc32);
  }
  return absl::StrFormat("%020d%020d", names.Digest(), crcs);
}

}  // namespace penstock
