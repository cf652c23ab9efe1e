// Penstock: checkpoints of any size, saved, loaded, converted and verified.
//
// This header is all a C++ user needs. A checkpoint is a Value (core/value.h):
// dicts, lists, numbers, strings and tensors, as PyTorch saves them. Two
// formats are known by their content, never by their name:
//
//   native (.pstk)   parallel, checksummed, compressed; docs/FORMAT.md
//   pt (.pt, .pth)   what torch.save writes since 1.6; read without PyTorch and
//                    without executing anything
//
//   // Save.
//   GraphBuilder b;
//   NodeId root = b.Dict();
//   b.SetItem(root, b.Str("epoch"), b.Int(3));
//   b.SetItem(root, b.Str("weight"), b.Tensor(weight));
//   absl::StatusOr<Value> checkpoint = std::move(b).Finish(root);
//   absl::StatusOr<SaveReport> saved = Save(*checkpoint, "model.pstk");
//
//   // Open, look, read a part.
//   absl::StatusOr<Checkpoint> file = Checkpoint::Open("model.pstk");
//   for (const NamedTensor& t : file->state_dict().entries()) { ... }
//   absl::StatusOr<Tensor> rows = file->ReadRows("weight", 0, 16);
//
//   // Everything at once.
//   absl::StatusOr<Value> loaded = Load("model.pstk");
//
// api/example.cc is this, complete and run as a test.
//
// Promises. A file appears whole or not at all (temporary, fsync, rename, fsync
// of the directory). What is read is checked: every byte of a native file is
// under a checksum, every record of a .pt under its CRC-32. Memory beyond the
// tensors is at most memory_bytes plus the index. The same checkpoint and codec
// give the same bytes at any number of threads. No function here prints,
// throws, or reads the environment; all are thread-safe on distinct objects.
//
// Errors, everywhere: kNotFound and kPermissionDenied for files, kDataLoss
// (damaged), kUnimplemented (well-formed, but not supported), kInvalidArgument,
// kResourceExhausted (disk, memory, limits), kCancelled (by `progress`). The
// message names file, tensor, offset, expected and found.

#ifndef PENSTOCK_API_PENSTOCK_H_
#define PENSTOCK_API_PENSTOCK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/edits.h"
#include "core/file.h"
#include "core/graph_builder.h"
#include "core/progress.h"
#include "core/state_dict.h"
#include "core/tensor.h"
#include "core/value.h"

namespace penstock {

enum class Format {
  kNative,       // .pstk
  kPt,           // torch.save since 1.6
  kPtLegacy,     // torch.save 0.1.10 to 1.5
  kPtTar,        // torch.save 0.1.1 to 0.1.9; read only
  kPickle,       // a bare pickle with tensors in it; read only
  kSafetensors,  // one file, or shards with their index
  kNpz,
  kNpy,           // one array; read only
  kDcp,           // a directory of torch.distributed.checkpoint; read only
  kPt2,           // torch.export.save; read only
  kTorchPackage,  // torch.package; read only
};

// "pstk", "pt", "pt-legacy", "pt-tar", "pickle", "safetensors", "npz", "npy",
// "dcp", "pt2", "torch-package".
absl::string_view NameOf(Format format);

// What a native file does with the bytes of tensors.
enum class Codec {
  kZstd,  // lossless: byte planes, zstd; data that does not shrink stays raw
  kNone,  // raw: can be mapped
  kAuto,  // measures the disk and the processor once, then one of the two
};

// How to work; the defaults are good.
struct RunOptions {
  int threads = 0;                     // 0: as many as the machine has cores
  int64_t memory_bytes = 256LL << 20;  // buffers, beyond tensors and index
  ProgressCallback progress;           // may be null; can cancel
  FileSystem* files = nullptr;         // null: the operating system's
  // For what must be inflated whole before it can be read (deflated zips), in
  // files without names. Not read from the environment.
  std::string temporary_directory = "/var/tmp";
  // A distributed checkpoint has its dicts' keys as text, whatever they were:
  // decimal ones are ints again in a dict under "state", as of an optimizer.
  bool int_keys = false;
};

// ---------------------------------------------------------------------- Save

// Whether a native file keeps what is not tensors of the file that it is made
// from, so that this very file can be given back.
enum class OriginMode {
  kAuto,  // unless that takes more than 64 KiB and an eighth of the file
  kAlways,
  kNever,
};

// What Convert does with a native file that has an origin of the wanted format.
enum class Writing {
  kRestore,  // give the original file back, byte for byte
  kAnew,     // write what the tree says, as the format's own library does
};

// Which records a .pt has, and in which order.
enum class PtLayout {
  kT27,  // as torch 2.7 and later
  kT16,  // as torch 1.10 to 2.0: loads from torch 1.5 on, if its dtypes do
};

// What becomes, in safetensors, of tensors that are one view of one storage.
enum class Ties {
  kCopy,  // each is written in full
  kDrop,  // one is written; __metadata__ names the others
};

struct SaveOptions {
  Format format = Format::kNative;
  Codec codec = Codec::kZstd;    // of native files
  PtLayout pt = PtLayout::kT27;  // of .pt files
  Ties ties = Ties::kCopy;       // of safetensors files
  // Most bytes of tensors in one safetensors file; 0: all in one. More files
  // are "model-00001-of-00003.safetensors" beside "model.safetensors", which is
  // not written, and "model.safetensors.index.json".
  int64_t shard_bytes = 0;
  OriginMode origin = OriginMode::kAuto;
  Writing writing = Writing::kRestore;
  // What Convert changes; then it keeps and restores no origin. Not of Save.
  Edits edits;
  RunOptions run;
};

// What a file of this name holds: pt for .pt, .pth, .bin, .ckpt and .jit,
// safetensors, npz, npy, pickle for .pkl, native for .pstk; nothing for others.
std::optional<Format> FormatOfName(absl::string_view path);

// The defaults for a file of this name; native for an unknown one.
SaveOptions SaveOptionsFor(absl::string_view path);

struct SaveReport {
  Format format = Format::kNative;
  Codec codec = Codec::kNone;  // settled: never kAuto
  std::string codec_reason;    // why kAuto settled so; else empty
  int64_t raw_bytes = 0;       // of all storages
  int64_t file_bytes = 0;
  std::vector<std::string> files;  // names of shards and index; else empty
  double written_seconds = 0;      // until the system had every byte
  double seconds = 0;              // to durable
  double settle_seconds = 0;       // of them, for kAuto to settle
  int threads = 0;                 // that did work
  bool restored = false;           // the original file, byte for byte
  std::vector<std::string> notes;  // what edits did
  std::vector<std::string> warnings;
};

// Writes a checkpoint whose storages are in memory to `path`, atomically and
// durably. The bytes must not change meanwhile. The space of a file that was
// replaced is freed after the return, in the background: core/replaced_files.h.
absl::StatusOr<SaveReport> Save(const Value& checkpoint,
                                const std::string& path,
                                const SaveOptions& options);
// With SaveOptionsFor(path).
absl::StatusOr<SaveReport> Save(const Value& checkpoint,
                                const std::string& path);

// ---------------------------------------------------------------------- Open

// The file that a native file was made from.
struct Origin {
  Format format = Format::kPt;
  int64_t file_bytes = 0;
  int64_t skeleton_bytes = 0;  // of them are no tensors
};

// How one storage lies in its file.
struct StorageLayout {
  int64_t size_bytes = 0;
  int64_t stored_bytes = 0;  // a share of its chunk's, for small storages
  bool coded = false;        // zstd; false: raw
};

// An open file: its tree is in memory, the bytes of its tensors are not.
// Movable. Reading functions may run in several threads at once.
class Checkpoint {
 public:
  // `path`: a file, which may name others beside it (the index of shards), or a
  // directory with a .metadata.
  static absl::StatusOr<Checkpoint> Open(const std::string& path,
                                         const RunOptions& options = {});
  // A file that is open already; `name` stands in messages.
  static absl::StatusOr<Checkpoint> Open(
      std::shared_ptr<const RandomAccessFile> file,
      const RunOptions& options = {});

  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  Format format() const;
  int64_t file_bytes() const;
  // Who wrote it: "penstock 0.1.0", "torch.save (format 3)".
  const std::string& writer() const;
  // The settled codec of a native file: "zstd", "none"; "none" for a .pt.
  const std::string& codec() const;
  // The file that a native one was made from, if it can be given back.
  const std::optional<Origin>& origin() const;
  // Text that stands beside the tree (safetensors' __metadata__), in order.
  const std::vector<std::pair<std::string, std::string>>& metadata() const;
  // What was odd but harmless.
  const std::vector<std::string>& warnings() const;
  // Every Python global that the file names, as "module name". Nothing of it is
  // ever looked up. Empty for native files that came from none.
  std::vector<std::string> globals() const;

  // The tree. Its storages are in_file().
  const Value& root() const;
  // All tensors by name, likewise without their bytes.
  const StateDict& state_dict() const;
  StorageLayout LayoutOf(const Storage& storage) const;

  // One tensor with its bytes, verified. Ties to other tensors are lost; the
  // strides stay. Errors: kNotFound.
  absl::StatusOr<Tensor> Read(absl::string_view name) const;
  // Rows [begin, end) of one tensor along its first dimension: only the chunks
  // that hold them are read. A part of a .pt record has no checksum of its own:
  // it is read unverified.
  absl::StatusOr<Tensor> ReadRows(absl::string_view name, int64_t begin,
                                  int64_t end) const;
  // Likewise any view of the storage of tensor `name`: the bytes from its first
  // to its last element are read. Errors: kInvalidArgument for another storage.
  absl::StatusOr<Tensor> ReadView(absl::string_view name,
                                  const Tensor& view) const;
  // One tensor whose bytes are pages of the file, read when they are touched,
  // unverified (Verify checks them). They stay mapped as long as the tensor's
  // storage lives, this object gone or not. They are only to be read: a write
  // kills the process; so does a read where the file was truncated since.
  // Errors: kNotFound; kUnimplemented where the bytes do not lie in the file as
  // they are, aligned to their numbers (compressed, big-endian, shards): Read
  // works there; kDataLoss where the file has become shorter.
  absl::StatusOr<Tensor> Map(absl::string_view name) const;
  // Everything: the same tree over storages in memory, ties kept, verified.
  absl::StatusOr<Value> Load() const;
  // The same tree, verified as by Load, over pages of the file: nothing is
  // copied, and the bytes are only to be read, as those of Map. The same
  // caveat holds: who reads them after the file was truncated, is killed
  // (SIGBUS), and who changes the file, changes them. What Map refuses comes in
  // new memory. The pages stay mapped as long as one of these storages lives.
  absl::StatusOr<Value> LoadMapped() const;
  // Reads into the tensors of `target`, which are in memory, by name: straight
  // to where they are if their elements lie there as in the file, else through
  // temporaries within memory_bytes. Names, dtypes and shapes as
  // StateDict::LoadInto says; bytes that several targets share are read once
  // where they come from the same place, else those of the last name win.
  // Everything is verified, of the records of a .pt also what no target wants.
  // After an error the targets hold anything; only with kInvalidArgument and
  // kFailedPrecondition nothing was written.
  // Errors: as StateDict::LoadInto; the file's.
  absl::StatusOr<LoadReport> LoadInto(StateDict& target,
                                      Strictness strictness) const;

  struct Opened;  // private to api/
  const Opened& opened() const { return *opened_; }

 private:
  explicit Checkpoint(std::unique_ptr<Opened> opened);

  friend absl::StatusOr<struct ConvertReport> Convert(
      const Checkpoint& source, const std::string& destination,
      const SaveOptions& options);
  friend absl::StatusOr<struct ConvertReport> Convert(
      const Checkpoint& source, WritableFile& destination,
      absl::string_view name, const SaveOptions& options);
  std::unique_ptr<Opened> opened_;
};

// Checkpoint::Open(path) and Load() in one.
absl::StatusOr<Value> Load(const std::string& path,
                           const RunOptions& options = {});

// -------------------------------------------------------------------- Verify

struct VerifyOptions {
  // Also reads what restoring the origin of a native file would write, and
  // compares its tree and tensors with those of the file.
  bool origin = false;
  RunOptions run;
};

struct VerifyReport {
  Format format = Format::kNative;
  int64_t file_bytes = 0;
  int64_t raw_bytes = 0;  // of all storages: read, decoded and compared
  int64_t num_tensors = 0;
  // Damage, each with its place; empty: the file is sound. At most 100, then
  // one that counts the rest.
  std::vector<std::string> findings;
  // Bytes without a checksum (records of a .pt written with CRC off).
  int64_t unverified_bytes = 0;
  bool compared_origin = false;  // not where there is other damage
  double seconds = 0;
};

// Reads every byte and compares every checksum. Damage is a finding, not an
// error; an error means that the file could not be judged (not there, not a
// checkpoint, not supported).
absl::StatusOr<VerifyReport> Verify(const std::string& path,
                                    const RunOptions& options = {});
// The same. A difference of the origin is a finding, too. Errors, besides:
// kNotFound where options.origin is set and there is none; Diff's.
absl::StatusOr<VerifyReport> Verify(const std::string& path,
                                    const VerifyOptions& options);
// A file that is open already.
absl::StatusOr<VerifyReport> Verify(
    std::shared_ptr<const RandomAccessFile> file, const VerifyOptions& options);

// ------------------------------------------------------------------- Convert

struct ConvertReport {
  Format from = Format::kNative;
  SaveReport saved;
  int64_t num_tensors = 0;
};

// Reads `source` and writes `destination` in options.format, whatever the
// source is: nothing is ever held whole. The destination may be the source.
absl::StatusOr<ConvertReport> Convert(const std::string& source,
                                      const std::string& destination,
                                      const SaveOptions& options);

// The same from an open checkpoint.
absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      const std::string& destination,
                                      const SaveOptions& options);

// The same to an open file, a pipe for instance, which
// the caller commits and closes. `name`: of the destination; a .pt holds it.
absl::StatusOr<ConvertReport> Convert(const Checkpoint& source,
                                      WritableFile& destination,
                                      absl::string_view name,
                                      const SaveOptions& options);

// ------------------------------------------------------------------- Compare

// OK where two checkpoints are the same to the last bit: structure, key order,
// sharing, numbers, text, dtypes, shapes, strides, and, for storages that are
// in memory on both sides, bytes. kFailedPrecondition names the first
// difference.
absl::Status Compare(const Value& a, const Value& b);

}  // namespace penstock

#endif  // PENSTOCK_API_PENSTOCK_H_
