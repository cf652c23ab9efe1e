#include "compat/byte_damage.h"

#include <algorithm>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kWindowBytes = 1 << 20;
constexpr int64_t kTextBytes = 4 << 20;  // looked at for signs of text
constexpr int64_t kMaxZeroBytes = int64_t{1} << 30;
constexpr int64_t kMaxFrontBytes = int64_t{256} << 20;
constexpr int64_t kSampleBytes = 64 << 10;
constexpr int64_t kNumSamples = 4096;
// Tables at the end of a checkpoint hold no such run of zeros.
constexpr int64_t kLongRun = 4096;

constexpr const char* kBinaryAdvice =
    "bytes are lost for good: fetch it again in binary mode (FTP: binary, Git: "
    "`* -text` in .gitattributes, Windows: no text mode)";

bool IsZero(uint8_t byte) { return byte == 0; }

absl::StatusOr<int64_t> TrailingZeros(const RandomAccessFile& file) {
  int64_t zeros = 0;
  std::vector<uint8_t> window;
  while (zeros < std::min(file.size_bytes(), kMaxZeroBytes)) {
    window.resize(std::min(kWindowBytes, file.size_bytes() - zeros));
    const auto size = static_cast<int64_t>(window.size());
    PENSTOCK_RETURN_IF_ERROR(
        file.Read(file.size_bytes() - zeros - size, absl::MakeSpan(window)));
    const auto last = std::find_if_not(window.rbegin(), window.rend(), IsZero);
    zeros += last - window.rbegin();
    if (last != window.rend()) break;
  }
  return zeros;
}

// What is counted in the file's first part.
struct TextSigns {
  int64_t num_bytes = 0;
  int64_t num_lf = 0;
  int64_t num_cr = 0;
  int64_t num_crlf = 0;
  int64_t num_replaced = 0;  // EF BF BD, which is U+FFFD
};

absl::StatusOr<TextSigns> CountTextSigns(const RandomAccessFile& file) {
  std::vector<uint8_t> bytes(std::min(kTextBytes, file.size_bytes()));
  PENSTOCK_RETURN_IF_ERROR(file.Read(0, absl::MakeSpan(bytes)));
  TextSigns signs;
  signs.num_bytes = static_cast<int64_t>(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    signs.num_cr += bytes[i] == '\r';
    if (bytes[i] == '\n') {
      ++signs.num_lf;
      signs.num_crlf += i > 0 && bytes[i - 1] == '\r';
    }
    signs.num_replaced += i + 2 < bytes.size() && bytes[i] == 0xef &&
                          bytes[i + 1] == 0xbf && bytes[i + 2] == 0xbd;
  }
  return signs;
}

}  // namespace

absl::StatusOr<std::optional<ByteDamage>> FindByteDamage(
    const RandomAccessFile& file) {
  PENSTOCK_ASSIGN_OR_RETURN(const TextSigns signs, CountTextSigns(file));
  if (signs.num_replaced >= 8 && signs.num_replaced > signs.num_bytes / 256) {
    return ByteDamage{
        absl::StrCat(
            "it was read as UTF-8 text and written again: ", signs.num_replaced,
            " bytes became U+FFFD in the first ", signs.num_bytes),
        kBinaryAdvice};
  }
  if (signs.num_lf >= 8 && signs.num_crlf == signs.num_lf) {
    return ByteDamage{
        absl::StrCat("it went through a conversion of line ends to Windows' "
                     "(LF to CR LF): all ",
                     signs.num_lf, " newlines in the first ", signs.num_bytes,
                     " bytes have a CR before them"),
        kBinaryAdvice};
  }
  const double by_chance =
      static_cast<double>(signs.num_lf) * static_cast<double>(signs.num_cr) /
      static_cast<double>(std::max<int64_t>(1, signs.num_bytes));
  if (by_chance >= 20 && signs.num_crlf == 0) {
    return ByteDamage{
        absl::StrCat("it seems to have gone through a conversion of line ends "
                     "(CR LF to LF): the first ",
                     signs.num_bytes,
                     " bytes hold no CR LF, where chance gives ",
                     static_cast<int64_t>(by_chance)),
        kBinaryAdvice};
  }
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t zeros, TrailingZeros(file));
  if (zeros >= kLongRun) {
    return ByteDamage{
        absl::StrCat("its last ", zeros,
                     " bytes are zeros: room was reserved "
                     "for a download or copy that did not finish"),
        "finish the download or the copy, or fetch the file again"};
  }
  return std::optional<ByteDamage>();
}

absl::StatusOr<int64_t> LeadingZeros(const RandomAccessFile& file) {
  std::vector<uint8_t> window;
  int64_t zeros = 0;
  while (zeros < std::min(file.size_bytes(), kMaxFrontBytes)) {
    window.resize(std::min(kWindowBytes, file.size_bytes() - zeros));
    PENSTOCK_RETURN_IF_ERROR(file.Read(zeros, absl::MakeSpan(window)));
    const auto first = absl::c_find_if_not(window, IsZero);
    zeros += first - window.begin();
    if (first != window.end()) return zeros;
  }
  const int64_t step =
      std::max(kSampleBytes, (file.size_bytes() - zeros) / kNumSamples);
  for (int64_t at = zeros; at < file.size_bytes(); at += step) {
    window.resize(std::min(kSampleBytes, file.size_bytes() - at));
    PENSTOCK_RETURN_IF_ERROR(file.Read(at, absl::MakeSpan(window)));
    if (!absl::c_all_of(window, IsZero)) return zeros;
  }
  return file.size_bytes();
}

}  // namespace penstock
