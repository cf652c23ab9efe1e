#include "cli/elements.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// What elements of a dtype say.
enum class Kind { kBool, kSigned, kUnsigned, kFloat, kComplex };

Kind KindOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return Kind::kBool;
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0FNU:
      return Kind::kFloat;
    case DType::kComplex32:
    case DType::kComplex64:
    case DType::kComplex128:
      return Kind::kComplex;
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kQInt8:
    case DType::kQInt32:
    case DType::kInt1:
    case DType::kInt2:
    case DType::kInt3:
    case DType::kInt4:
    case DType::kInt5:
    case DType::kInt6:
    case DType::kInt7:
      return Kind::kSigned;
    default:
      return Kind::kUnsigned;
  }
}

// The floating-point dtype of a complex one's two words.
DType WordOf(DType dtype) {
  switch (dtype) {
    case DType::kComplex32:
      return DType::kFloat16;
    case DType::kComplex64:
      return DType::kFloat32;
    case DType::kComplex128:
      return DType::kFloat64;
    default:
      return dtype;
  }
}

uint64_t BitsOf(const uint8_t* bytes, int size) {
  uint64_t bits = 0;
  for (int i = 0; i < size; ++i) bits |= uint64_t{bytes[i]} << (8 * i);
  return bits;
}

// A floating-point dtype below 32 bits.
struct SmallFloat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  // kIeee: the highest exponent is for infinities and NaN. kFinite: all ones
  // are NaN. kUnsignedZero: so is minus zero. kScale: no sign, zero or mantissa
  // (OCP MX E8M0).
  enum { kIeee, kFinite, kUnsignedZero, kScale } special;
};

SmallFloat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return {8, 7, 127, SmallFloat::kIeee};
    case DType::kFloat8E4M3FN:
      return {4, 3, 7, SmallFloat::kFinite};
    case DType::kFloat8E5M2:
      return {5, 2, 15, SmallFloat::kIeee};
    case DType::kFloat8E4M3FNUZ:
      return {4, 3, 8, SmallFloat::kUnsignedZero};
    case DType::kFloat8E5M2FNUZ:
      return {5, 2, 16, SmallFloat::kUnsignedZero};
    case DType::kFloat8E8M0FNU:
      return {8, 0, 127, SmallFloat::kScale};
    default:
      return {5, 10, 15, SmallFloat::kIeee};  // float16
  }
}

uint32_t SignOf(const SmallFloat& format) {
  return format.special == SmallFloat::kScale
             ? 0
             : 1u << (format.exponent_bits + format.mantissa_bits);
}

double Decoded(const SmallFloat& format, uint32_t bits) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const uint32_t sign = SignOf(format);
  const double one = (bits & sign) != 0 ? -1 : 1;
  const uint32_t size = bits & ~sign;
  const uint32_t mantissa_range = 1u << format.mantissa_bits;
  const uint32_t highest = (1u << format.exponent_bits) - 1;
  const uint32_t exponent = size >> format.mantissa_bits;
  const uint32_t mantissa = size & (mantissa_range - 1);
  const bool all_ones = exponent == highest && mantissa == mantissa_range - 1;
  switch (format.special) {
    case SmallFloat::kIeee:
      if (exponent < highest) break;
      return std::copysign(
          mantissa == 0 ? std::numeric_limits<double>::infinity() : kNaN, one);
    case SmallFloat::kFinite:
      if (all_ones) return std::copysign(kNaN, one);
      break;
    case SmallFloat::kUnsignedZero:
      if (bits == sign) return kNaN;
      break;
    case SmallFloat::kScale:
      return all_ones ? kNaN
                      : std::ldexp(1, static_cast<int>(exponent) - format.bias);
  }
  const int power = -format.bias - format.mantissa_bits;
  return exponent == 0 ? one * std::ldexp(mantissa, power + 1)
                       : one * std::ldexp(mantissa_range + mantissa,
                                          power + static_cast<int>(exponent));
}

// The value of a floating-point element.
double FloatAt(DType dtype, const uint8_t* element) {
  if (dtype == DType::kFloat64) {
    double value;
    std::memcpy(&value, element, sizeof(value));
    return value;
  }
  if (dtype == DType::kFloat32) {
    float value;
    std::memcpy(&value, element, sizeof(value));
    return value;
  }
  return Decoded(FormatOf(dtype), static_cast<uint32_t>(BitsOf(
                                      element, InfoOf(dtype).size_bytes)));
}

// The shortest "d.ddde+xx" nearer to a small float, above 0, than to those
// beside it.
std::string SmallDigits(const SmallFloat& format, uint32_t bits) {
  const double value = Decoded(format, bits);
  const double below = Decoded(format, bits - 1);
  double above = Decoded(format, bits + 1);
  if (!std::isfinite(above)) above = value + (value - below);
  for (int digits = 0;; ++digits) {
    std::string text = absl::StrFormat("%.*e", digits, value);
    double back;
    PENSTOCK_CHECK(absl::SimpleAtod(text, &back));
    if (back - value < (above - value) / 2 &&
        value - back < (value - below) / 2) {
      return text;
    }
  }
}

// The digits of a number that is finite and not 0, without its sign. Whole
// numbers come whole, where 448 could be written 450 in float8; so do scales,
// which are powers of two.
std::string Digits(DType dtype, const uint8_t* element) {
  constexpr double kWhole = 1 << 17;  // beyond all of float16 and float8
  const double value = std::fabs(FloatAt(dtype, element));
  char text[64];
  char* const end = text + sizeof(text);
  if (dtype == DType::kFloat64) {
    return std::string(
        text,
        std::to_chars(text, end, value, std::chars_format::scientific).ptr);
  }
  if (dtype == DType::kFloat32 || dtype == DType::kFloat8E8M0FNU ||
      (value < kWhole && value == std::trunc(value))) {
    return std::string(text, std::to_chars(text, end, static_cast<float>(value),
                                           std::chars_format::scientific)
                                 .ptr);
  }
  const SmallFloat format = FormatOf(dtype);
  const uint32_t bits =
      static_cast<uint32_t>(BitsOf(element, InfoOf(dtype).size_bytes));
  return SmallDigits(format, bits & ~SignOf(format));
}

// Python's layout of "d.ddde+xx": fixed from 1e-4 to below 1e16.
std::string LaidOut(absl::string_view scientific) {
  const size_t e = scientific.find('e');
  int exponent = 0;
  PENSTOCK_CHECK(absl::SimpleAtoi(scientific.substr(e + 1), &exponent));
  std::string digits(scientific.substr(0, e));
  if (exponent < -4 || exponent >= 16) return std::string(scientific);
  if (digits.size() > 1) digits.erase(1, 1);  // the point
  if (exponent < 0) {
    return absl::StrCat("0.", std::string(-exponent - 1, '0'), digits);
  }
  const size_t whole = exponent + 1;
  if (digits.size() <= whole) {
    digits.append(whole - digits.size(), '0');
    return digits + ".0";
  }
  return digits.insert(whole, ".");
}

std::string FloatText(DType dtype, const uint8_t* element) {
  const double value = FloatAt(dtype, element);
  if (std::isnan(value)) return "nan";
  const char* const sign = std::signbit(value) ? "-" : "";
  if (std::isinf(value)) return absl::StrCat(sign, "inf");
  if (value == 0) return absl::StrCat(sign, "0.0");
  return absl::StrCat(sign, LaidOut(Digits(dtype, element)));
}

std::string FloatJson(DType dtype, const uint8_t* element) {
  const std::string text = FloatText(dtype, element);
  if (text == "nan") return "\"NaN\"";
  if (text == "inf") return "\"Infinity\"";
  return text == "-inf" ? "\"-Infinity\"" : text;
}

std::string IntegerText(Kind kind, const uint8_t* element, int size) {
  const uint64_t bits = BitsOf(element, size);
  if (kind == Kind::kUnsigned) return absl::StrCat(bits);
  const int unused = 64 - 8 * size;
  return absl::StrCat(static_cast<int64_t>(bits << unused) >> unused);
}

// Bytes that an element takes in Elements.
int ElementBytes(DType dtype) { return InfoOf(dtype).size_bytes; }

// Turns the sign bits of words around: every `step`-th, from the `first` on.
void FlipSigns(Elements& elements, int first, int step) {
  const int word = InfoOf(elements.dtype).word_bytes;
  std::vector<uint8_t>& bytes = elements.bytes;
  for (size_t i = static_cast<size_t>(word) * (first + 1); i <= bytes.size();
       i += static_cast<size_t>(word) * step) {
    bytes[i - 1] ^= 0x80;
  }
}

absl::Status Resolve(uint8_t flags, Elements& elements) {
  const Kind kind = KindOf(elements.dtype);
  if ((flags & TensorFlags::kConjugated) != 0 && kind == Kind::kComplex) {
    FlipSigns(elements, 1, 2);
  }
  if ((flags & TensorFlags::kNegated) == 0) return absl::OkStatus();
  if (kind != Kind::kComplex && kind != Kind::kFloat) {
    return absl::UnimplementedError(absl::StrCat("a negated tensor of dtype ",
                                                 InfoOf(elements.dtype).name));
  }
  FlipSigns(elements, 0, 1);
  return absl::OkStatus();
}

// Each value of a packed tensor into a byte of its own.
void Unpack(const Tensor& tensor, std::vector<uint8_t>& out) {
  const absl::Span<const uint8_t> bytes = tensor.storage()->bytes();
  const int per_byte = InfoOf(tensor.dtype()).values_per_byte;
  const int width = 8 / per_byte;
  std::vector<int64_t> index(tensor.shape().size());
  int64_t at = tensor.offset();
  for (uint8_t& value : out) {
    value =
        static_cast<uint8_t>(bytes[at / per_byte] >> (at % per_byte * width)) &
        ((1 << width) - 1);
    for (size_t dim = index.size(); dim-- > 0;) {
      at += tensor.strides()[dim];
      if (++index[dim] < tensor.shape()[dim]) break;
      at -= index[dim] * tensor.strides()[dim];
      index[dim] = 0;
    }
  }
}

}  // namespace

absl::StatusOr<Elements> ElementsOf(const Tensor& tensor, uint8_t flags) {
  Elements elements;
  elements.dtype = tensor.dtype();
  elements.shape.assign(tensor.shape().begin(), tensor.shape().end());
  elements.element_bytes = ElementBytes(tensor.dtype());
  const bool packed = InfoOf(tensor.dtype()).values_per_byte > 1;
  const int64_t size = packed ? tensor.num_elements() : tensor.size_bytes();
  try {
    elements.bytes.resize(size);
  } catch (const std::exception&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", size, " bytes of elements"));
  }
  if (packed) {
    Unpack(tensor, elements.bytes);
  } else {
    PENSTOCK_RETURN_IF_ERROR(tensor.CopyTo(absl::MakeSpan(elements.bytes)));
  }
  PENSTOCK_RETURN_IF_ERROR(Resolve(flags, elements));
  return elements;
}

DType RawNumpyDTypeOf(DType dtype) {
  switch (KindOf(dtype)) {
    case Kind::kBool:
      return dtype;
    case Kind::kSigned:
      // Odd widths and quantised ones keep their sign: it is theirs.
      return ElementBytes(dtype) == 1  ? DType::kInt8
             : dtype == DType::kQInt32 ? DType::kInt32
                                       : dtype;
    default:
      break;
  }
  switch (dtype) {
    case DType::kFloat16:
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kComplex64:
    case DType::kComplex128:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64:
      return dtype;
    default:
      break;
  }
  switch (ElementBytes(dtype)) {
    case 1:
      return DType::kUInt8;
    case 2:
      return DType::kUInt16;
    default:
      return DType::kUInt32;
  }
}

DType NumpyDTypeOf(DType dtype) {
  const Kind kind = KindOf(dtype);
  if (kind == Kind::kComplex) {
    return dtype == DType::kComplex32 ? DType::kComplex64 : dtype;
  }
  if (kind != Kind::kFloat) return RawNumpyDTypeOf(dtype);
  return dtype == DType::kFloat16 || dtype == DType::kFloat64 ? dtype
                                                              : DType::kFloat32;
}

Elements InDType(Elements elements, DType dtype) {
  const DType from = WordOf(elements.dtype);
  const DType to = WordOf(dtype);
  if (to != DType::kFloat32 || from == DType::kFloat32) {
    // The same bytes under another name.
    PENSTOCK_CHECK(ElementBytes(dtype) == elements.element_bytes);
    elements.dtype = dtype;
    return elements;
  }
  const int width = InfoOf(from).size_bytes;
  const size_t num_words = elements.bytes.size() / width;
  std::vector<uint8_t> bytes(num_words * sizeof(float));
  for (size_t i = 0; i < num_words; ++i) {
    const float value =
        static_cast<float>(FloatAt(from, elements.bytes.data() + i * width));
    std::memcpy(bytes.data() + i * sizeof(float), &value, sizeof(float));
  }
  elements.dtype = dtype;
  elements.element_bytes = ElementBytes(dtype);
  elements.bytes = std::move(bytes);
  return elements;
}

std::string ElementText(DType dtype, const uint8_t* element) {
  const Kind kind = KindOf(dtype);
  switch (kind) {
    case Kind::kBool:
      return *element != 0 ? "True" : "False";
    case Kind::kFloat:
      return FloatText(dtype, element);
    case Kind::kComplex: {
      const DType word = WordOf(dtype);
      const std::string imaginary =
          FloatText(word, element + InfoOf(word).size_bytes);
      return absl::StrCat(FloatText(word, element),
                          imaginary[0] == '-' ? "" : "+", imaginary, "j");
    }
    default:
      return IntegerText(kind, element, ElementBytes(dtype));
  }
}

std::string ElementJson(DType dtype, const uint8_t* element) {
  const Kind kind = KindOf(dtype);
  switch (kind) {
    case Kind::kBool:
      return *element != 0 ? "true" : "false";
    case Kind::kFloat:
      return FloatJson(dtype, element);
    case Kind::kComplex: {
      const DType word = WordOf(dtype);
      return absl::StrCat("[", FloatJson(word, element), ", ",
                          FloatJson(word, element + InfoOf(word).size_bytes),
                          "]");
    }
    default:
      return ElementText(dtype, element);
  }
}

}  // namespace penstock
