// What a file is, told from its first bytes.

#ifndef PENSTOCK_COMPAT_FILE_KIND_H_
#define PENSTOCK_COMPAT_FILE_KIND_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/file.h"

namespace penstock {

// In the order in which they are looked for (pytorch-format.md 1).
enum class FileKind {
  kEmpty,
  kNative,        // .pstk
  kZip,           // torch.save since 1.6, TorchScript, any other zip
  kLegacyStream,  // torch.save 0.1.10 to 1.5
  kTar,           // torch.save before 0.1.10
  kPickle,        // a pickle without torch's magic number
  kFlatBuffer,    // PyTorch mobile
  kPytorch1,      // a container of 2018, never released
  kGzip,
  kBzip2,
  kXz,
  kZstd,
  kSevenZip,
  kLfsPointer,
  kHtml,
  kJson,
  kNpy,
  kHdf5,
  kGguf,
  kElf,
  kPdf,
  kSafetensors,
  kUnknown,
};

// Looks at the first 512 bytes of `head` (fewer where the file is shorter).
// `file_bytes` is the whole file's size.
FileKind KindOf(absl::string_view head, int64_t file_bytes);

// The same, read from a file. Errors: those of reading.
absl::StatusOr<FileKind> DetectKind(const RandomAccessFile& file);

// For kinds that cannot be opened: what it is and what to do, as an error.
// kUnimplemented for checkpoints of formats that this version does not read,
// kInvalidArgument for what is no checkpoint at all.
absl::Status RefusalOf(FileKind kind);

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_FILE_KIND_H_
