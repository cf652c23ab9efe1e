#include "compat/file_kind.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

using ::absl::string_view;

struct Magic {
  string_view bytes;
  FileKind kind;
};

// Sizes are given where a magic holds a NUL.
constexpr Magic kMagics[] = {
    {string_view("PK\x03\x04", 4), FileKind::kZip},
    {"PYTORCH1", FileKind::kPytorch1},
    {string_view("\x1f\x8b", 2), FileKind::kGzip},
    {"BZh", FileKind::kBzip2},
    {string_view("\xfd"
                 "7zXZ\0",
                 6),
     FileKind::kXz},
    {string_view("\x28\xb5\x2f\xfd", 4), FileKind::kZstd},
    {string_view("7z\xbc\xaf\x27\x1c", 6), FileKind::kSevenZip},
    {"version https://git-lfs", FileKind::kLfsPointer},
    {"\x93NUMPY", FileKind::kNpy},
    {"\x89HDF\r\n\x1a\n", FileKind::kHdf5},
    {"GGUF", FileKind::kGguf},
    {"\x7f"
     "ELF",
     FileKind::kElf},
    {"%PDF-", FileKind::kPdf},
};

// A skippable zstd frame whose payload begins with the name of our format.
bool IsNative(string_view head) {
  return head.size() >= 16 && head[1] == '\x2a' && head[2] == '\x4d' &&
         head[3] == '\x18' && (head[0] & '\xf0') == '\x50' &&
         head.substr(8, 8) == "PENSTOCK";
}

// LONG1 of 10 bytes, 0x1950A86A20F9469CFC6C, then STOP.
bool IsLegacyStream(string_view head) {
  constexpr string_view kRest(
      "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  return head.size() >= 14 && head[0] == '\x80' && head.substr(2, 12) == kRest;
}

bool IsTar(string_view head) {
  if (head.size() < 512) return false;
  if (head.substr(257, 5) == "ustar") return true;
  for (string_view name : {"sys_info", "pickle", "tensors", "storages"}) {
    if (head.substr(0, name.size() + 1) == std::string(name) + '\0')
      return true;
  }
  return false;
}

// u64 size of a JSON header, then the header.
bool IsSafetensors(string_view head, int64_t file_bytes) {
  if (head.size() < 10) return false;
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | static_cast<uint8_t>(head[i]);
  return head[8] == '{' && size <= static_cast<uint64_t>(file_bytes) - 8;
}

FileKind KindOfText(string_view head) {
  const string_view text = absl::StripLeadingAsciiWhitespace(head);
  if (absl::StartsWith(text, "<")) return FileKind::kHtml;
  if (absl::StartsWith(text, "{") || absl::StartsWith(text, "[")) {
    return FileKind::kJson;
  }
  return FileKind::kUnknown;
}

}  // namespace

FileKind KindOf(string_view head, int64_t file_bytes) {
  if (file_bytes == 0 || head.empty()) return FileKind::kEmpty;
  if (IsNative(head)) return FileKind::kNative;
  for (const Magic& magic : kMagics) {
    if (absl::StartsWith(head, magic.bytes)) return magic.kind;
  }
  if (IsTar(head)) return FileKind::kTar;
  if (IsLegacyStream(head)) return FileKind::kLegacyStream;
  if (head.size() >= 8 && head.substr(4, 4) == "PTMF") {
    return FileKind::kFlatBuffer;
  }
  if (IsSafetensors(head, file_bytes)) return FileKind::kSafetensors;
  if (head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    return FileKind::kPickle;
  }
  return KindOfText(head);
}

absl::StatusOr<FileKind> DetectKind(const RandomAccessFile& file) {
  std::string head(std::min<int64_t>(file.size_bytes(), 512), '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      0, absl::MakeSpan(reinterpret_cast<uint8_t*>(head.data()), head.size())));
  return KindOf(head, file.size_bytes());
}

absl::Status RefusalOf(FileKind kind) {
  switch (kind) {
    case FileKind::kEmpty:
      return absl::InvalidArgumentError(
          "the file is empty: was the disk full, or the download cut off?");
    case FileKind::kLegacyStream:
      return absl::UnimplementedError(
          "a legacy checkpoint (torch.save before 1.6), which this version "
          "does not read; save it again with torch 1.6 or later");
    case FileKind::kTar:
      return absl::UnimplementedError(
          "a tar archive (perhaps torch.save before 0.1.10), which this "
          "version "
          "does not read");
    case FileKind::kPickle:
      return absl::UnimplementedError(
          "a bare pickle without torch's container, which this version does "
          "not read");
    case FileKind::kFlatBuffer:
      return absl::UnimplementedError(
          "a PyTorch mobile module (FlatBuffer), which is not supported");
    case FileKind::kPytorch1:
      return absl::UnimplementedError(
          "a PYTORCH1 container of 2018, which PyTorch cannot read either");
    case FileKind::kSafetensors:
      return absl::UnimplementedError(
          "a safetensors file, which this version does not read");
    case FileKind::kNpy:
      return absl::UnimplementedError(
          "a NumPy .npy array, which this version does not read");
    case FileKind::kGguf:
      return absl::InvalidArgumentError(
          "a GGUF model, not a PyTorch checkpoint");
    case FileKind::kHdf5:
      return absl::InvalidArgumentError(
          "an HDF5 file (Keras?), not a PyTorch checkpoint");
    case FileKind::kGzip:
    case FileKind::kBzip2:
    case FileKind::kXz:
    case FileKind::kZstd:
      return absl::InvalidArgumentError(std::string("compressed as a whole (") +
                                        (kind == FileKind::kGzip    ? "gzip"
                                         : kind == FileKind::kBzip2 ? "bzip2"
                                         : kind == FileKind::kXz    ? "xz"
                                                                    : "zstd") +
                                        "): decompress it first");
    case FileKind::kSevenZip:
      return absl::InvalidArgumentError("a 7z archive: unpack it first");
    case FileKind::kLfsPointer:
      return absl::InvalidArgumentError(
          "a Git LFS pointer, not the file itself: run `git lfs pull`");
    case FileKind::kHtml:
      return absl::InvalidArgumentError(
          "an HTML or XML page, probably a failed download or a login page");
    case FileKind::kJson:
      return absl::InvalidArgumentError(
          "JSON text, not a checkpoint: perhaps an index of shards, or an "
          "error "
          "message of a download");
    case FileKind::kElf:
      return absl::InvalidArgumentError("a program or library (ELF)");
    case FileKind::kPdf:
      return absl::InvalidArgumentError("a PDF document");
    case FileKind::kNative:
    case FileKind::kZip:
    case FileKind::kUnknown:
      break;
  }
  return absl::InvalidArgumentError("not a checkpoint of any known format");
}

}  // namespace penstock
