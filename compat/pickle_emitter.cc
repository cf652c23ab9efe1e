#include "compat/pickle_emitter.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "compat/pickle_text.h"

namespace penstock::pickle {

PickleEmitter::PickleEmitter(int protocol) : protocol_(protocol) {
  Code(kProto);
  LittleEndian(protocol, 1);
}

void PickleEmitter::LittleEndian(uint64_t value, int width) {
  for (int i = 0; i < width; ++i) {
    out_.push_back(static_cast<char>(value >> 8 * i));
  }
}

void PickleEmitter::Int(int64_t value) {
  if (value >= 0 && value <= 0xFF) {
    Code(kBinInt1);
    LittleEndian(value, 1);
  } else if (value >= 0 && value <= 0xFFFF) {
    Code(kBinInt2);
    LittleEndian(value, 2);
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    Code(kBinInt);
    LittleEndian(value, 4);
  } else {
    int width = 8;
    while (value >> (8 * width - 9) == (value < 0 ? -1 : 0)) --width;
    Code(kLong1);
    LittleEndian(width, 1);
    LittleEndian(value, width);
  }
}

void PickleEmitter::BigInt(absl::string_view twos_complement) {
  const bool is_short = twos_complement.size() < 256;
  Code(is_short ? kLong1 : kLong4);
  LittleEndian(twos_complement.size(), is_short ? 1 : 4);
  absl::StrAppend(&out_, twos_complement);
}

void PickleEmitter::Float(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  Code(kBinFloat);
  LittleEndian(__builtin_bswap64(bits), 8);
}

MemoIndex PickleEmitter::Str(absl::string_view utf8) {
  Code(kBinUnicode);
  LittleEndian(utf8.size(), 4);
  absl::StrAppend(&out_, utf8);
  return Put();
}

MemoIndex PickleEmitter::Py2Str(absl::string_view bytes) {
  const bool is_short = bytes.size() < 256;
  Code(is_short ? kShortBinString : kBinString);
  LittleEndian(bytes.size(), is_short ? 1 : 4);
  absl::StrAppend(&out_, bytes);
  return Put();
}

MemoIndex PickleEmitter::Put() {
  const bool is_short = next_memo_ < 256;
  Code(is_short ? kBinPut : kLongBinPut);
  LittleEndian(next_memo_, is_short ? 1 : 4);
  return next_memo_++;
}

void PickleEmitter::Get(MemoIndex index) {
  const bool is_short = index < 256;
  Code(is_short ? kBinGet : kLongBinGet);
  LittleEndian(index, is_short ? 1 : 4);
}

MemoIndex PickleEmitter::FindSharedStr(absl::string_view utf8) const {
  const auto found = shared_strs_.find(utf8);
  return found == shared_strs_.end() ? kNoMemo : found->second;
}

void PickleEmitter::ShareStr(absl::string_view utf8, MemoIndex index) {
  shared_strs_.try_emplace(std::string(utf8), index);
}

MemoIndex PickleEmitter::SharedStr(absl::string_view utf8) {
  MemoIndex index = FindSharedStr(utf8);
  if (index != kNoMemo) {
    Get(index);
    return index;
  }
  index = Str(utf8);
  ShareStr(utf8, index);
  return index;
}

void PickleEmitter::Global(absl::string_view module, absl::string_view name) {
  const auto [place, is_new] =
      globals_.try_emplace(std::make_pair(module, name), kNoMemo);
  if (!is_new) return Get(place->second);
  GlobalName written = {module, name};
  if (protocol_ < 3) written = ToPython2(written);
  Code(kGlobal);
  absl::StrAppend(&out_, written.module, "\n", written.name, "\n");
  place->second = Put();
}

void PickleEmitter::BeginTuple(int64_t count) {
  if (count > 3) Code(kMark);
}

MemoIndex PickleEmitter::EndTuple(int64_t count) {
  constexpr Op kEnds[] = {kEmptyTuple, kTuple1, kTuple2, kTuple3};
  Code(count > 3 ? kTuple : kEnds[count]);
  return count > 0 ? Put() : kNoMemo;
}

void PickleEmitter::IntTuple(absl::Span<const int64_t> values) {
  const int64_t count = static_cast<int64_t>(values.size());
  BeginTuple(count);
  for (int64_t value : values) Int(value);
  EndTuple(count);
}

void PickleEmitter::EmptyOrderedDict() {
  Global("collections", "OrderedDict");
  Code(kEmptyTuple);
  Code(kReduce);
  Put();
}

void PickleEmitter::Bytes(absl::string_view bytes) {
  Global("_codecs", "encode");
  const std::string text = Latin1ToUtf8(bytes);
  // CPython has one object for each Latin-1 character, and for the empty text.
  if (bytes.size() <= 1) {
    SharedStr(text);
  } else {
    Str(text);
  }
  SharedStr("latin1");
  EndTuple(2);
  Code(kReduce);
}

bool HasAtMostOneCharacter(absl::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) {
           return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
         }) <= 1;
}

bool SharesByValue(absl::string_view utf8) {
  return HasAtMostOneCharacter(utf8) ||
         std::all_of(utf8.begin(), utf8.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

}  // namespace penstock::pickle
