// TextIndex: finds texts by hash that are kept elsewhere.

#ifndef PENSTOCK_CORE_TEXT_INDEX_H_
#define PENSTOCK_CORE_TEXT_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <limits>
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
  // With a hash of the caller's, equal for equal texts; what `text_of` gives
  // may then be anything that knows by `!=` whether it is another text.
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

  // Before several calls of Insert: all their waiting for memory at once.
  void Prefetch(uint32_t hash) const {
    if (!slots_.empty()) {
      __builtin_prefetch(&slots_[hash & (slots_.size() - 1)], 1);
    }
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

}  // namespace penstock

#endif  // PENSTOCK_CORE_TEXT_INDEX_H_
