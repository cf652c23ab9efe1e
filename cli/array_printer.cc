#include "cli/array_printer.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace penstock {
namespace {

constexpr int64_t kColumns = 75;
constexpr int64_t kGap = -1;  // an index: here some are left out

struct Dimension {
  int64_t size = 0;
  int64_t step = 0;  // elements from one index to the next
  bool has_gap = false;

  int64_t num_shown() const { return has_gap ? size + 1 : size; }
  // The index at a place of what is shown, or kGap.
  int64_t IndexAt(int64_t place) const {
    if (!has_gap || place < kOuterItems) return place;
    return place == kOuterItems ? kGap : place - 1;
  }
};

class ArrayPrinter {
 public:
  ArrayPrinter(const Elements& elements, const ArrayStyle& style,
               std::FILE* out);

  void Print() { PrintFrom(0, 0); }

 private:
  bool is_json() const { return style_.syntax == ArrayStyle::kJson; }
  void Write(absl::string_view text) {
    std::fwrite(text.data(), 1, text.size(), out_);
  }
  std::string Text(int64_t element) const;
  void Measure(size_t dim, int64_t element);
  void PrintFrom(size_t dim, int64_t element);
  void PrintRow(int64_t element);

  const Elements& elements_;
  const ArrayStyle style_;
  std::FILE* const out_;
  const size_t rank_;
  std::vector<Dimension> dims_;
  size_t width_ = 0;  // of the widest element
};

ArrayPrinter::ArrayPrinter(const Elements& elements, const ArrayStyle& style,
                           std::FILE* out)
    : elements_(elements),
      style_(style),
      out_(out),
      rank_(elements.shape.size()),
      dims_(rank_) {
  int64_t count = 1;
  for (size_t dim = rank_; dim-- > 0;) {
    dims_[dim].size = elements.shape[dim];
    dims_[dim].step = count;
    dims_[dim].has_gap = (style.cut_dims >> dim & 1) != 0;
    count *= elements.shape[dim];
  }
  // Measuring costs as much as printing; who prints a million does not look.
  constexpr int64_t kMeasured = 100'000;
  if (!is_json() && rank_ > 0 && count <= kMeasured) Measure(0, 0);
}

std::string ArrayPrinter::Text(int64_t element) const {
  const uint8_t* const bytes =
      elements_.bytes.data() + element * elements_.element_bytes;
  return is_json() ? ElementJson(elements_.dtype, bytes)
                   : ElementText(elements_.dtype, bytes);
}

// As deep as the rank, which is at most kMaxRank.
void ArrayPrinter::Measure(size_t dim, int64_t element) {
  for (int64_t place = 0; place < dims_[dim].num_shown(); ++place) {
    const int64_t index = dims_[dim].IndexAt(place);
    if (index == kGap) continue;
    const int64_t item = element + index * dims_[dim].step;
    if (dim + 1 < rank_) {
      Measure(dim + 1, item);
    } else {
      width_ = std::max(width_, Text(item).size());
    }
  }
}

void ArrayPrinter::PrintFrom(size_t dim, int64_t element) {
  if (rank_ == 0) return Write(Text(element));
  if (dim + 1 == rank_) return PrintRow(element);
  // numpy's blank lines between the parts of higher dimensions.
  const std::string separator =
      (is_json()
           ? ",\n" + std::string(dim + 5, ' ')
           : std::string(rank_ - dim - 1, '\n') + std::string(dim + 1, ' '));
  Write("[");
  for (int64_t place = 0; place < dims_[dim].num_shown(); ++place) {
    if (place > 0) Write(separator);
    const int64_t index = dims_[dim].IndexAt(place);
    if (index == kGap) {
      Write("...");
    } else {
      PrintFrom(dim + 1, element + index * dims_[dim].step);
    }
  }
  Write("]");
}

void ArrayPrinter::PrintRow(int64_t element) {
  std::string line = "[";
  int64_t columns = static_cast<int64_t>(rank_);
  const Dimension& dim = dims_.back();
  for (int64_t place = 0; place < dim.num_shown(); ++place) {
    const bool is_first = place == 0;
    const int64_t index = dim.IndexAt(place);
    std::string text = index == kGap ? "..." : Text(element + index);
    if (is_json()) {
      if (!is_first) line += ", ";
    } else {
      if (index != kGap && text.size() < width_) {
        text.insert(0, width_ - text.size(), ' ');
      }
      const int64_t size = static_cast<int64_t>(text.size());
      if (!is_first && columns + 1 + size > kColumns) {
        line += "\n" + std::string(rank_, ' ');
        columns = static_cast<int64_t>(rank_);
      } else if (!is_first) {
        line += " ";
        ++columns;
      }
      columns += size;
    }
    line += text;
    if (line.size() > 64 << 10) {
      Write(line);
      line.clear();
    }
  }
  Write(line + "]");
}

}  // namespace

void PrintArray(const Elements& elements, const ArrayStyle& style,
                std::FILE* out) {
  ArrayPrinter(elements, style, out).Print();
}

}  // namespace penstock
