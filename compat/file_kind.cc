#include "compat/file_kind.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
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
    {string_view("PK\x05\x06", 4), FileKind::kZip},  // without records
    {"PYTORCH1", FileKind::kPytorch1},
    {string_view("\x1f\x8b", 2), FileKind::kGzip},
    {"BZh", FileKind::kBzip2},
    {string_view("\xfd"
                 "7zXZ\0",
                 6),
     FileKind::kXz},
    {string_view("\x28\xb5\x2f\xfd", 4), FileKind::kZstd},
    {"\x04\x22\x4d\x18", FileKind::kLz4},
    {"7z\xbc\xaf\x27\x1c", FileKind::kSevenZip},
    {"Rar!\x1a\x07", FileKind::kRar},
    {"version https://git-lfs", FileKind::kLfsPointer},
    {"\x93NUMPY", FileKind::kNpy},
    {"\x89HDF\r\n\x1a\n", FileKind::kHdf5},
    {"GGUF", FileKind::kGguf},
    {"lmgg", FileKind::kGgml},
    {"tjgg", FileKind::kGgml},
    {"algg", FileKind::kGgml},
    {"fmgg", FileKind::kGgml},
    {"\x7f"
     "ELF",
     FileKind::kElf},
    {"%PDF-", FileKind::kPdf},
    {"\x89PNG\r\n\x1a\n", FileKind::kPng},
    {"\xff\xd8\xff", FileKind::kJpeg},
    // A newline or a byte over 0x7f of a binary signature, changed.
    {"\x89HDF\n", FileKind::kTextDamage},
    {"\x89HDF\r\r\n", FileKind::kTextDamage},
    {"\x89PNG\n", FileKind::kTextDamage},
    {"\x80\x02\x8a\r\nl\xfc\x9c", FileKind::kTextDamage},
    {"\xef\xbf\xbd", FileKind::kTextDamage},
};

// A skippable zstd frame: of our own, or of another's zstd file.
std::optional<FileKind> KindOfSkippable(string_view head) {
  if (head.size() < 4 || head.substr(1, 3) != "\x2a\x4d\x18" ||
      (head[0] & '\xf0') != '\x50') {
    return std::nullopt;
  }
  const bool is_ours = head.size() >= 16 && head.substr(8, 8) == "PENSTOCK";
  return is_ours ? FileKind::kNative : FileKind::kZstd;
}

// The number 0x1950A86A20F9469CFC6C, then STOP: after PROTO, and FRAME from
// protocol 4 on, as LONG1; as a line of text in protocols 0 and 1.
bool IsLegacyStream(string_view head) {
  constexpr string_view kNumber(
      "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  if (absl::StartsWith(head, "L119547037146038801333356L\n.")) return true;
  if (head.size() < 14 || head[0] != '\x80') return false;
  const size_t frame = head[2] == '\x95' ? 9 : 0;
  return absl::StartsWith(head.substr(2 + frame), kNumber);
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

// u64 size of a JSON header, at most 100 MB, so that bytes 4 to 7 are zeros,
// as no text has them; then the header. It may be cut off.
bool IsSafetensors(string_view head) {
  if (head.size() < 9 || head.substr(4, 4) != string_view("\0\0\0\0", 4)) {
    return false;
  }
  const string_view header = absl::StripLeadingAsciiWhitespace(head.substr(8));
  return absl::StartsWith(header, "{");
}

// Its header has no magic: the usual properties, a dictionary of 64 KiB to
// 4 GiB - 1 and a size that is not known.
bool IsLzma(string_view head) {
  return absl::StartsWith(head, string_view("\x5d\0\0", 3)) &&
         head.size() > 13 && (head[3] != '\0' || head[4] != '\0') &&
         head.substr(5, 8) == "\xff\xff\xff\xff\xff\xff\xff\xff";
}

// A name of Python, with dots, up to a newline, taken off the front.
bool ConsumeName(string_view& text) {
  size_t length = 0;
  while (length < text.size() && (absl::ascii_isalnum(text[length]) ||
                                  text[length] == '_' || text[length] == '.')) {
    ++length;
  }
  if (length == 0 || length == text.size() || text[length] != '\n') {
    return false;
  }
  text.remove_prefix(length + 1);
  return true;
}

// Protocols 0 and 1 have no PROTO to begin with: a dict, list or tuple that is
// stored in the memo, or a global.
bool IsTextPickle(string_view head) {
  for (const string_view start : {"(dp", "(lp", "(tp", "(dq", "(lq", "}q", "]q",
                                  "}p", "]p", ")p", "(i"}) {
    if (!absl::StartsWith(head, start) || head.size() <= start.size()) continue;
    const char next = head[start.size()];
    if (start == "(i") {
      string_view names = head.substr(2);
      if (ConsumeName(names) && ConsumeName(names)) return true;
    } else if (start.back() == 'q' || absl::ascii_isdigit(next)) {
      return true;
    }
  }
  if (!absl::ConsumePrefix(&head, "c")) return false;
  return ConsumeName(head) && ConsumeName(head);
}

// A protobuf number at `at`, which moves behind it.
std::optional<uint64_t> ReadVarint(string_view bytes, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 63 && at < bytes.size(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes[at++]);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Field 1 of both is a small version; field 2 is the name of ONNX's producer,
// or a MetaGraphDef of TensorFlow, which begins with a message of its own.
std::optional<FileKind> KindOfProtobuf(string_view head, int64_t file_bytes) {
  if (head.size() < 6 || head[0] != '\x08' || head[1] < 1 || head[1] > 30) {
    return std::nullopt;
  }
  const char tag = head[2];
  size_t at = 3;
  const std::optional<uint64_t> size = ReadVarint(head, at);
  if (!size || *size > static_cast<uint64_t>(file_bytes) - at) {
    return std::nullopt;
  }
  if (tag == '\x3a' && head[1] >= 3) return FileKind::kOnnx;  // its graph
  if (tag != '\x12' || at >= head.size()) return std::nullopt;
  if (head[1] == 1 && head[at] == '\n') return FileKind::kSavedModel;
  const string_view name = head.substr(at, *size);
  if (name.size() != *size || !absl::c_all_of(name, absl::ascii_isprint)) {
    return std::nullopt;
  }
  at += name.size();
  return at < head.size() && absl::StrContains("\x1a\x22\x3a\x42", head[at])
             ? std::optional(FileKind::kOnnx)
             : std::nullopt;
}

// Base64 of something that is known by its first bytes.
bool IsBase64(string_view text, int64_t file_bytes) {
  std::string line(text.substr(0, text.find_first_of("\r\n")));
  line.resize(line.size() / 4 * 4);
  std::string decoded;
  if (line.size() < 16 || !absl::Base64Unescape(line, &decoded)) return false;
  const FileKind kind = KindOf(decoded, file_bytes);
  return kind < FileKind::kEmpty;
}

FileKind KindOfText(string_view head, int64_t file_bytes) {
  absl::ConsumePrefix(&head, "\xef\xbb\xbf");  // a byte order mark
  const string_view text = absl::StripLeadingAsciiWhitespace(head);
  for (const string_view start : {"<?xml", "<Error"}) {
    if (absl::StartsWith(text, start)) {
      const bool is_page =
          absl::StrContains(absl::AsciiStrToLower(text), "<html");
      return is_page ? FileKind::kHtml : FileKind::kXml;
    }
  }
  if (absl::StartsWith(text, "<")) return FileKind::kHtml;
  if (absl::StartsWith(text, "{") || absl::StartsWith(text, "[")) {
    return FileKind::kJson;
  }
  if (IsBase64(text, file_bytes)) return FileKind::kBase64;
  const bool is_text =
      text.size() >= 4 && absl::c_all_of(text, [](unsigned char c) {
        return c >= 0x20 ? c != 0x7f : absl::ascii_isspace(c);
      });
  return is_text ? FileKind::kText : FileKind::kUnknown;
}

// In the order of the enumeration.
constexpr KindText kTexts[] = {
    {"pstk", "a Penstock checkpoint", ""},
    {"zip", "a zip file", ""},
    {"pt-legacy", "a legacy checkpoint (torch.save before 1.6)", ""},
    {"tar", "a tar archive",
     "unpack it (tar xf) and give the checkpoint in it"},
    {"pickle", "a bare pickle without torch's container", ""},
    {"safetensors", "a safetensors file", ""},
    {"npy", "a NumPy .npy array", ""},
    {"pytorch-mobile", "a PyTorch mobile module (FlatBuffer)",
     "take the original model: this form is for phones only"},
    {"pytorch1", "a PYTORCH1 container of 2018",
     "PyTorch cannot read it either: ask for it in another format"},
    {"gguf", "a GGUF model (llama.cpp), not a PyTorch checkpoint",
     "take the original weights, as .safetensors or .pt"},
    {"ggml", "a GGML model (an old llama.cpp), not a PyTorch checkpoint",
     "take the original weights, as .safetensors or .pt"},
    {"hdf5", "an HDF5 file (Keras?), not a PyTorch checkpoint",
     "read it with h5py or Keras"},
    {"onnx", "an ONNX model, not a PyTorch checkpoint",
     "read it with the onnx package, or take the original weights"},
    {"tflite", "a TensorFlow Lite model, not a PyTorch checkpoint",
     "take the original weights"},
    {"tf-saved-model", "a TensorFlow SavedModel, not a PyTorch checkpoint",
     "load its directory with TensorFlow"},
    {"gzip", "compressed as a whole (gzip)", "decompress it first: gzip -d"},
    {"bzip2", "compressed as a whole (bzip2)", "decompress it first: bzip2 -d"},
    {"xz", "compressed as a whole (xz)", "decompress it first: xz -d"},
    {"zstd", "compressed as a whole (zstd)", "decompress it first: zstd -d"},
    {"lz4", "compressed as a whole (lz4)", "decompress it first: lz4 -d"},
    {"lzma", "compressed as a whole (lzma)", "decompress it first: xz -d"},
    {"7z", "a 7z archive", "unpack it first: 7z x"},
    {"rar", "a RAR archive", "unpack it first: unrar x"},
    {"empty", "the file is empty",
     "was the disk full, or the download cut off? Fetch it again"},
    {"zeros", "only zeros: room was reserved, and nothing written into it",
     "finish the download or the copy, or fetch the file again"},
    {"git-lfs-pointer", "a Git LFS pointer, not the file itself",
     "run `git lfs pull` in the repository"},
    {"html", "an HTML page, not the file",
     "probably a login page or an error of the download: open it in a browser, "
     "then fetch the file again"},
    {"xml", "XML text, not the file",
     "probably the error message of a store: read it, then fetch the file "
     "again"},
    {"json", "JSON text, not a checkpoint",
     "perhaps an index of shards, or the error message of a download"},
    {"base64", "Base64 text of a binary file", "decode it first: base64 -d"},
    {"text-damage", "a binary file that was converted as if it were text",
     "bytes are lost for good: fetch it again in binary mode (FTP: binary, "
     "Git: `* -text` in .gitattributes)"},
    {"elf", "a program or library (ELF)", ""},
    {"pdf", "a PDF document", ""},
    {"png", "a PNG image", ""},
    {"jpeg", "a JPEG image", ""},
    {"text", "text, not a checkpoint", ""},
    {"unknown", "not a checkpoint of any known format",
     "look at its first bytes with `head -c 64 FILE | xxd`"},
};
static_assert(std::size(kTexts) == kNumFileKinds);

}  // namespace

const KindText& TextOf(FileKind kind) { return kTexts[static_cast<int>(kind)]; }

FileKind KindOf(string_view head, int64_t file_bytes) {
  head = head.substr(0, 512);
  if (file_bytes == 0 || head.empty()) return FileKind::kEmpty;
  if (absl::c_all_of(head, [](char c) { return c == '\0'; })) {
    return FileKind::kZeros;
  }
  if (const auto kind = KindOfSkippable(head)) return *kind;
  for (const Magic& magic : kMagics) {
    if (absl::StartsWith(head, magic.bytes)) return magic.kind;
  }
  if (IsTar(head)) return FileKind::kTar;
  if (IsLzma(head)) return FileKind::kLzma;
  if (IsLegacyStream(head)) return FileKind::kLegacyStream;
  if (head.size() >= 8 && head.substr(4, 4) == "PTMF") {
    return FileKind::kFlatBuffer;
  }
  if (head.size() >= 8 && head.substr(4, 4) == "TFL3") return FileKind::kTflite;
  if (IsSafetensors(head)) return FileKind::kSafetensors;
  if (head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    return FileKind::kPickle;
  }
  if (IsTextPickle(head)) return FileKind::kPickle;
  if (const auto kind = KindOfProtobuf(head, file_bytes)) return *kind;
  return KindOfText(head, file_bytes);
}

absl::StatusOr<FileKind> DetectKind(const RandomAccessFile& file) {
  std::string head(std::min<int64_t>(file.size_bytes(), 512), '\0');
  PENSTOCK_RETURN_IF_ERROR(file.Read(
      0, absl::MakeSpan(reinterpret_cast<uint8_t*>(head.data()), head.size())));
  return KindOf(head, file.size_bytes());
}

absl::Status RefusalOf(FileKind kind) {
  const KindText& text = TextOf(kind);
  const bool is_checkpoint = kind <= FileKind::kPytorch1;
  const std::string message = absl::StrCat(
      text.what, is_checkpoint ? ", which this version does not read" : "",
      text.advice.empty() ? "" : "; ", text.advice);
  return is_checkpoint ? absl::UnimplementedError(message)
                       : absl::InvalidArgumentError(message);
}

}  // namespace penstock
