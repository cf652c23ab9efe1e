#include "core/python_keys.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace penstock {
namespace {

// Of a tuple that contains itself without a list between: only a damaged file
// has one.
constexpr uint32_t kOpen = 0xFFFFFFFF;

bool IsContinuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the UTF-8 sequence that `bytes` starts with, which is not ASCII; 0
// for a bad one.
size_t SequenceSize(absl::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = at(0);
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if (!IsContinuation(at(i))) return 0;
  }
  if (lead == 0xE0 && at(1) < 0xA0) return 0;  // overlong
  if (lead == 0xF0 && at(1) < 0x90) return 0;  // overlong
  if (lead == 0xF4 && at(1) > 0x8F) return 0;  // over U+10FFFF
  return size;
}

void AppendWord(uint64_t word, std::string& out) {
  char bytes[sizeof(word)];
  std::memcpy(bytes, &word, sizeof(word));
  out.append(bytes, sizeof(bytes));
}

std::string TaggedWord(char tag, uint64_t word) {
  std::string form(1, tag);
  AppendWord(word, form);
  return form;
}

// An integral `value` that int64_t does not hold, as the bytes of a kBigInt.
std::string BigIntOf(double value) {
  int exponent;
  const double fraction = std::frexp(value, &exponent);
  const auto mantissa = static_cast<int64_t>(std::ldexp(fraction, 53));
  const int shift = exponent - 53;  // > 0: the value is over 2^63
  __int128 low = static_cast<__int128>(mantissa) * (int64_t{1} << (shift % 8));
  std::string bytes(shift / 8, '\0');
  for (int i = 0; i < 9; ++i, low >>= 8) {
    bytes.push_back(static_cast<char>(low & 0xFF));
  }
  while (bytes.size() > 1 && !IsMinimalBigInt(bytes)) bytes.pop_back();
  return bytes;
}

// Empty for NaN, which equals nothing but the very same object.
std::string FloatForm(double value) {
  if (std::isnan(value)) return "";
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isinf(value) || value != std::trunc(value)) {
    return TaggedWord('f', bits);
  }
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (value >= -kTwoTo63 && value < kTwoTo63) {
    return TaggedWord('i', static_cast<uint64_t>(static_cast<int64_t>(value)));
  }
  return absl::StrCat("I", BigIntOf(value));
}

std::string ComplexForm(absl::string_view bytes) {
  double parts[2];
  std::memcpy(parts, bytes.data(), sizeof(parts));
  if (parts[1] == 0) return FloatForm(parts[0]);
  std::string form = "c";
  for (const double part : parts) {
    if (std::isnan(part)) return "";
    const double unsigned_zero = part == 0 ? 0 : part;
    uint64_t bits;
    std::memcpy(&bits, &unsigned_zero, sizeof(bits));
    AppendWord(bits, form);
  }
  return form;
}

}  // namespace

bool IsPythonText(absl::string_view bytes) {
  while (!bytes.empty()) {
    uint64_t word;
    while (bytes.size() >= sizeof(word)) {
      std::memcpy(&word, bytes.data(), sizeof(word));
      if ((word & 0x8080808080808080u) != 0) break;
      bytes.remove_prefix(sizeof(word));
    }
    if (bytes.empty()) return true;
    const bool ascii = static_cast<uint8_t>(bytes[0]) < 0x80;
    const size_t size = ascii ? 1 : SequenceSize(bytes);
    if (size == 0) return false;
    bytes.remove_prefix(size);
  }
  return true;
}

bool IsMinimalBigInt(absl::string_view twos_complement) {
  const size_t size = twos_complement.size();
  if (size <= sizeof(int64_t)) return false;
  const auto last = static_cast<uint8_t>(twos_complement[size - 1]);
  const bool negative = static_cast<uint8_t>(twos_complement[size - 2]) >= 0x80;
  return last != (negative ? 0xFF : 0x00);
}

bool IsHashable(NodeKind kind) {
  return kind != NodeKind::kList && kind != NodeKind::kDict &&
         kind != NodeKind::kSet && kind != NodeKind::kByteArray;
}

bool PythonKeys::AreDistinctTexts(absl::Span<const NodeId> pairs) {
  using Hashed = TextIndex::Hashed;
  const auto hashed_of = [&](uint32_t pair) -> std::optional<Hashed> {
    const NodeView key = view_(pairs[2 * size_t{pair}]);
    if (key.kind != NodeKind::kStr && key.kind != NodeKind::kPy2Str) {
      return std::nullopt;
    }
    return Hashed{key.bytes, TextIndex::HashOf(key.bytes)};
  };
  const auto text_of = [&](uint32_t pair) {
    return view_(pairs[2 * size_t{pair}]).bytes;
  };
  const auto num_pairs = static_cast<uint32_t>(pairs.size() / 2);
  return distinct_.Fill(num_pairs, hashed_of, text_of) == num_pairs;
}

uint32_t PythonKeys::ClassOf(NodeId id) {
  NodeView view = view_(id);
  uint32_t found;
  if (FindClass(id, view, found)) return found;
  std::vector<Frame> stack = {{id, view, 0}};
  std::vector<uint32_t> classes;  // of the items so far of all on the stack
  while (!stack.empty()) {
    Frame& frame = stack.back();
    if (frame.next < frame.view.children.size()) {
      const NodeId child = frame.view.children[frame.next++];
      view = view_(child);
      if (FindClass(child, view, found)) {
        classes.push_back(found);
      } else {
        nodes_[child] = kOpen;
        stack.push_back({child, view, 0});
      }
      continue;
    }
    const size_t first = classes.size() - frame.next;
    found =
        InternItems(frame.view.kind, absl::MakeSpan(classes).subspan(first));
    nodes_[frame.id] = found;
    classes.resize(first);
    classes.push_back(found);
    stack.pop_back();
  }
  return found;
}

bool PythonKeys::FindClass(NodeId id, const NodeView& view, uint32_t& found) {
  if (view.kind == NodeKind::kStr || view.kind == NodeKind::kPy2Str) {
    const auto [it, is_new] = texts_.try_emplace(view.bytes, num_classes_);
    num_classes_ += is_new ? 1 : 0;
    found = it->second;
    return true;
  }
  if (view.kind == NodeKind::kTuple || view.kind == NodeKind::kFrozenSet) {
    const auto it = nodes_.find(id);
    if (it == nodes_.end()) return false;
    found = it->second;
    return true;
  }
  std::string form = Form(view);
  if (!form.empty()) {
    found = Intern(std::move(form));
    return true;
  }
  const auto [it, is_new] = nodes_.try_emplace(id, num_classes_);
  num_classes_ += is_new ? 1 : 0;
  found = it->second;
  return true;
}

uint32_t PythonKeys::Intern(std::string form) {
  const auto [it, is_new] = forms_.try_emplace(std::move(form), num_classes_);
  num_classes_ += is_new ? 1 : 0;
  return it->second;
}

uint32_t PythonKeys::InternItems(NodeKind kind, absl::Span<uint32_t> classes) {
  size_t count = classes.size();
  std::string form = "(";
  if (kind == NodeKind::kFrozenSet) {
    form = "{";
    std::sort(classes.begin(), classes.end());
    count = std::unique(classes.begin(), classes.end()) - classes.begin();
  }
  if (count > 0) {
    form.append(reinterpret_cast<const char*>(classes.data()),
                count * sizeof(uint32_t));
  }
  return Intern(std::move(form));
}

std::string PythonKeys::Form(const NodeView& view) const {
  switch (view.kind) {
    case NodeKind::kNone:
      return "n";
    case NodeKind::kBool:
    case NodeKind::kInt:
      return TaggedWord('i', view.payload);
    case NodeKind::kBigInt:
      return absl::StrCat("I", view.bytes);
    case NodeKind::kFloat: {
      double value;
      std::memcpy(&value, &view.payload, sizeof(value));
      return FloatForm(value);
    }
    case NodeKind::kComplex:
      return ComplexForm(view.bytes);
    case NodeKind::kBytes:
      return absl::StrCat("b", view.bytes);
    case NodeKind::kGlobal: {
      const absl::string_view module = view_(view.children[0]).bytes;
      std::string form = TaggedWord('g', module.size());
      absl::StrAppend(&form, module, view_(view.children[1]).bytes);
      return form;
    }
    default:
      return "";
  }
}

}  // namespace penstock
