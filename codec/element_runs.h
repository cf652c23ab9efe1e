// ElementRuns: a tensor's elements in order, where they lie in its storage.

#ifndef PENSTOCK_CODEC_ELEMENT_RUNS_H_
#define PENSTOCK_CODEC_ELEMENT_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/checked.h"
#include "core/tensor.h"

namespace penstock {

// A tensor's elements in C order, in runs of one stride. The tensor has some.
// Immutable.
class ElementRuns {
 public:
  explicit ElementRuns(const Tensor& tensor) : offset_(tensor.offset()) {
    for (size_t i = 0; i < tensor.shape().size(); ++i) {
      const Dimension next = {tensor.shape()[i], tensor.strides()[i]};
      if (next.size == 1) continue;
      if (!dimensions_.empty() && CheckedMultiply(next.stride, next.size) ==
                                      dimensions_.back().stride) {
        dimensions_.back() = {dimensions_.back().size * next.size, next.stride};
      } else {
        dimensions_.push_back(next);
      }
    }
    if (dimensions_.empty()) dimensions_.push_back({1, 1});
  }

  // Calls bool visit(place, stride, n) for runs that make up the elements
  // [first, first + count): n of them, from the storage's element `place` on,
  // `stride` elements apart. Stops where it returns false.
  template <typename Visit>
  void ForEach(int64_t first, int64_t count, Visit visit) const {
    std::vector<int64_t> position(dimensions_.size());
    int64_t place = offset_;
    for (size_t i = dimensions_.size(); i-- > 0;) {
      position[i] = first % dimensions_[i].size;
      first /= dimensions_[i].size;
      place += position[i] * dimensions_[i].stride;
    }
    const Dimension& inner = dimensions_.back();
    while (count > 0) {
      const int64_t n = std::min(count, inner.size - position.back());
      if (!visit(place, inner.stride, n)) return;
      count -= n;
      place -= position.back() * inner.stride;
      position.back() = 0;
      // Counts up like an odometer, the last dimension fastest.
      for (size_t i = dimensions_.size() - 1; i-- > 0;) {
        place += dimensions_[i].stride;
        if (++position[i] < dimensions_[i].size) break;
        place -= dimensions_[i].size * dimensions_[i].stride;
        position[i] = 0;
      }
    }
  }

 private:
  struct Dimension {
    int64_t size;
    int64_t stride;
  };
  int64_t offset_;
  std::vector<Dimension> dimensions_;  // never empty
};

// Elements [first, first + count) of `tensor`, in C order, to `out`. `bytes`
// are those of its byte_range(). Not for packed dtypes.
void CopyElementRange(const Tensor& tensor, const uint8_t* bytes, int64_t first,
                      int64_t count, uint8_t* out);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_ELEMENT_RUNS_H_
