// TextIndex: finds texts by hash that are kept elsewhere.

#ifndef PENSTOCK_CORE_TEXT_INDEX_H_
#define PENSTOCK_CORE_TEXT_INDEX_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace penstock {

// Numbers of texts, by the texts, which it does not hold: whoever asks gives
// `text_of`, from a number to its text, each time. Eight bytes for each number
// and as much room again, in one table, where a map of strings would take an
// allocation each. The hash is seeded by the process. Thread-compatible.
class TextIndex {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // Forgets everything, and makes room for `num_texts`.
  void Reset(size_t num_texts) {
    size_t capacity = 8;
    while (capacity < 2 * num_texts) capacity *= 2;
    slots_.assign(capacity, Slot());
    size_ = 0;
  }

  static uint32_t HashOf(absl::string_view text) {
    return static_cast<uint32_t>(absl::Hash<absl::string_view>()(text));
  }

  // A text with its hash: HashOf's, or one of the caller's that is equal for
  // texts which are to count as equal.
  struct Hashed {
    absl::string_view text;
    uint32_t hash;
  };

  // Reset, and Insert of 0, 1, 2... up to `num_texts`, but waiting for memory
  // once for many. `hashed_of` gives a number's text as std::optional<Hashed>.
  // Ends with the first number that has no text, or one that is there already,
  // and returns it; else `num_texts`, which is at most kNone.
  template <typename HashedOf, typename TextOf>
  uint32_t Fill(uint32_t num_texts, const HashedOf& hashed_of,
                const TextOf& text_of);

  // The number of the text equal to `text`; kNone where there is none.
  template <typename TextOf>
  uint32_t Find(absl::string_view text, const TextOf& text_of) const {
    return Find(text, HashOf(text), text_of);
  }
  template <typename TextOf>
  uint32_t Find(absl::string_view text, uint32_t hash,
                const TextOf& text_of) const {
    if (slots_.empty()) return kNone;
    return slots_[PlaceOf(text, hash, text_of)].number;
  }

  // Takes in `number`, which is below kNone and whose text is `text`, and gives
  // it back; where an equal text is there already, only gives that one's.
  template <typename TextOf>
  uint32_t Insert(absl::string_view text, uint32_t number,
                  const TextOf& text_of) {
    return Insert(text, HashOf(text), number, text_of);
  }
  // With a hash of the caller's; what `text_of` gives may then be anything that
  // knows by `!=` whether it is another text.
  template <typename TextOf>
  uint32_t Insert(absl::string_view text, uint32_t hash, uint32_t number,
                  const TextOf& text_of) {
    if (2 * (size_ + 1) > slots_.size()) Grow();
    Slot& slot = slots_[PlaceOf(text, hash, text_of)];
    if (slot.number == kNone) {
      slot = {hash, number};
      ++size_;
    }
    return slot.number;
  }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t number = kNone;
  };

  // Where `text` is, or belongs. There is always a free slot.
  template <typename TextOf>
  size_t PlaceOf(absl::string_view text, uint32_t hash,
                 const TextOf& text_of) const {
    const size_t mask = slots_.size() - 1;
    size_t place = hash & mask;
    while (
        slots_[place].number != kNone &&
        (slots_[place].hash != hash || text_of(slots_[place].number) != text)) {
      place = (place + 1) & mask;
    }
    return place;
  }

  void Grow() {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(old.empty() ? 8 : 2 * old.size(), Slot());
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.number == kNone) continue;
      size_t place = slot.hash & mask;
      while (slots_[place].number != kNone) place = (place + 1) & mask;
      slots_[place] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two of them, at most half in use
  size_t size_ = 0;
};

template <typename HashedOf, typename TextOf>
uint32_t TextIndex::Fill(uint32_t num_texts, const HashedOf& hashed_of,
                         const TextOf& text_of) {
  constexpr uint32_t kBatch = 16;
  std::optional<Hashed> batch[kBatch];
  Reset(num_texts);
  for (uint32_t begin = 0; begin < num_texts; begin += kBatch) {
    const uint32_t count = std::min(kBatch, num_texts - begin);
    for (uint32_t i = 0; i < count; ++i) {
      batch[i] = hashed_of(begin + i);
      if (!batch[i]) break;
      __builtin_prefetch(&slots_[batch[i]->hash & (slots_.size() - 1)], 1);
    }
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t number = begin + i;
      if (!batch[i] ||
          Insert(batch[i]->text, batch[i]->hash, number, text_of) != number) {
        return number;
      }
    }
  }
  return num_texts;
}

}  // namespace penstock

#endif  // PENSTOCK_CORE_TEXT_INDEX_H_
