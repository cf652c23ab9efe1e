// What a file is, told from its first bytes.

#ifndef PENSTOCK_COMPAT_FILE_KIND_H_
#define PENSTOCK_COMPAT_FILE_KIND_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/file.h"

namespace penstock {

enum class FileKind {
  // Checkpoints and arrays.
  kNative,        // .pstk
  kZip,           // torch.save since 1.6, TorchScript, npz, any other zip
  kLegacyStream,  // torch.save 0.1.10 to 1.5
  kTar,           // torch.save before 0.1.10, any other tar
  kPickle,        // of any protocol, without torch's magic number
  kSafetensors,
  kNpy,
  kFlatBuffer,  // PyTorch mobile
  kPytorch1,    // a container of 2018, never released
  // Models of other frameworks.
  kGguf,
  kGgml,
  kHdf5,
  kOnnx,
  kTflite,
  kSavedModel,  // TensorFlow
  // Packed.
  kGzip,
  kBzip2,
  kXz,
  kZstd,
  kLz4,
  kLzma,  // without xz's container
  kSevenZip,
  kRar,
  // What comes instead of a file that one wanted.
  kEmpty,
  kZeros,  // as far as was looked
  kLfsPointer,
  kHtml,
  kXml,
  kJson,
  kBase64,      // of one of the others
  kTextDamage,  // binary that went through a conversion for text
  kElf,
  kPdf,
  kPng,
  kJpeg,
  kText,
  kUnknown,
};

inline constexpr int kNumFileKinds = static_cast<int>(FileKind::kUnknown) + 1;

// The words for a kind, the same in every message.
struct KindText {
  absl::string_view name;    // for programs: "git-lfs-pointer"
  absl::string_view what;    // "a Git LFS pointer, not the file itself"
  absl::string_view advice;  // "run `git lfs pull` ..."; may be empty
};
const KindText& TextOf(FileKind kind);

// Looks at the first 512 bytes of `head` (fewer where the file is shorter).
// `file_bytes` is the whole file's size.
FileKind KindOf(absl::string_view head, int64_t file_bytes);

// The same, read from a file. Errors: those of reading.
absl::StatusOr<FileKind> DetectKind(const RandomAccessFile& file);

// For kinds that cannot be opened: TextOf(kind) as an error. kUnimplemented for
// PyTorch checkpoints of formats that this version does not read,
// kInvalidArgument for what is none at all.
absl::Status RefusalOf(FileKind kind);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FILE_KIND_H_
