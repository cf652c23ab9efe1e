#include "compat/tiling.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/checked.h"

namespace penstock {
namespace {

constexpr size_t kMaxCorners = size_t{1} << 22;

int64_t CountOf(absl::Span<const int64_t> size) {
  int64_t count = 1;
  for (const int64_t n : size) count *= n;
  return count;
}

}  // namespace

void JoinDimensions(std::vector<int64_t>& shape, absl::Span<Box> boxes) {
  std::vector<bool> joins(shape.size());  // the one before
  size_t rank = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    const bool divided =
        std::any_of(boxes.begin(), boxes.end(),
                    [&](const Box& box) { return box.size[d] != shape[d]; });
    joins[d] = !divided && rank > 0;
    if (!joins[d]) ++rank;
  }
  const auto join = [&](std::vector<int64_t>& numbers) {
    size_t to = 0;
    for (size_t d = 0; d < joins.size(); ++d) {
      if (joins[d]) {
        numbers[to - 1] *= shape[d];
      } else {
        numbers[to++] = numbers[d];
      }
    }
    numbers.resize(to);
  };
  for (Box& box : boxes) {
    join(box.begin);
    join(box.size);
    if (rank == 0) box = {{0}, {1}};
  }
  std::vector<int64_t> joined = shape;
  join(joined);
  shape = rank == 0 ? std::vector<int64_t>{1} : std::move(joined);
}

// The sum of the boxes, as functions that are 1 inside, is that of the whole
// exactly where their differences along all dimensions are equal: those are
// nothing but corners with signs.
absl::Status CheckTiling(absl::Span<const int64_t> shape,
                         absl::Span<const Box> boxes) {
  const size_t rank = shape.size();
  if (rank > 20 || (boxes.size() + 1) << rank > kMaxCorners) {
    return absl::UnimplementedError(absl::StrFormat(
        "unsupported_format: %d chunks that divide %d dimensions", boxes.size(),
        rank));
  }
  absl::flat_hash_map<std::vector<int64_t>, int64_t> corners;
  const auto add = [&](const Box& box, int64_t sign) {
    for (size_t corner = 0; corner < size_t{1} << rank; ++corner) {
      std::vector<int64_t> at = box.begin;
      int64_t sum = sign;
      for (size_t d = 0; d < rank; ++d) {
        if ((corner >> d & 1) == 0) continue;
        at[d] += box.size[d];
        sum = -sum;
      }
      const auto found = corners.try_emplace(std::move(at), 0).first;
      found->second += sum;
      if (found->second == 0) corners.erase(found);
    }
  };
  std::optional<int64_t> covered = 0;
  for (const Box& box : boxes) {
    add(box, 1);
    covered = covered ? CheckedAdd(*covered, CountOf(box.size)) : covered;
  }
  add({std::vector<int64_t>(rank, 0),
       std::vector<int64_t>(shape.begin(), shape.end())},
      -1);
  if (corners.empty()) return absl::OkStatus();
  const int64_t wanted = CountOf(shape);
  if (covered && *covered < wanted) {
    return absl::DataLossError(absl::StrFormat(
        "tensor_bounds: its chunks hold %d elements of %d: some are missing",
        *covered, wanted));
  }
  const auto first = std::min_element(
      corners.begin(), corners.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  return absl::DataLossError(absl::StrFormat(
      "tensor_bounds: its chunks overlap: they do not fit together at [%s]",
      absl::StrJoin(first->first, ", ")));
}

int64_t ElementsBefore(absl::Span<const int64_t> shape, const Box& box,
                       int64_t index) {
  int64_t inner = CountOf(shape);  // elements of the shape
  int64_t box_inner = CountOf(box.size);
  if (index >= inner) return box_inner;
  int64_t before = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    inner /= shape[d];
    const int64_t at = index / inner - box.begin[d];
    index %= inner;
    if (at < 0) return before;
    if (at >= box.size[d]) return before + box_inner;
    box_inner /= box.size[d];
    before += at * box_inner;
  }
  return before;
}

}  // namespace penstock
