// Takes any bytes for a file, of whatever format, and does with it what a user
// would: doctor, scan, open, load, verify, convert. What loads is the same
// checkpoint as a .pstk, which gives the file back; and as a .pt, where it can
// be one.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/doctor.h"
#include "api/opened.h"
#include "api/penstock.h"
#include "api/scan.h"
#include "compat/pickle_names.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kMaxStorageBytes = 1 << 20;
constexpr char kInput[] = "/d/input";
constexpr char kCopy[] = "/d/copy";

// A file for an index to name: {"t": a tensor}.
std::string Shard(Format format) {
  MemoryFileSystem files;
  GraphBuilder b;
  const NodeId root = b.Dict();
  auto storage = *Storage::Allocate(8);
  std::fill_n(storage->mutable_bytes().begin(), 8, 'x');
  PENSTOCK_CHECK(b.SetItem(root, b.Str("t"),
                           b.Tensor(*Tensor::Make(std::move(storage),
                                                  DType::kFloat32, {2})))
                     .ok());
  SaveOptions options;
  options.format = format;
  options.run.threads = 1;
  options.run.files = &files;
  PENSTOCK_CHECK(Save(*std::move(b).Finish(root), kCopy, options).ok());
  return *files.Get(kCopy);
}

class OpenedInput {
 public:
  explicit OpenedInput(std::string bytes) : bytes_(std::move(bytes)) {
    static const auto* const safetensors =
        new std::string(Shard(Format::kSafetensors));
    static const auto* const pt = new std::string(Shard(Format::kPt));
    files_.Put("/d/a.safetensors", *safetensors);
    files_.Put("/d/b.bin", *pt);
    files_.Put(kInput, bytes_);
    run_.threads = 1;
    run_.files = &files_;
  }

  void TryAll() {
    (void)Diagnose(kInput, run_);
    const auto file = Checkpoint::Open(kInput, run_);
    CompareScan(file);
    if (!file.ok() || StorageBytesOf(*file->root().graph()) > kMaxStorageBytes)
      return;
    (void)Verify(kInput, run_);
    const auto loaded = file->Load();
    if (!loaded.ok()) return;
    TryNative(*file, *loaded);
    TryPt(*loaded);
  }

 private:
  // Of an index the scan sees no more than its text.
  void CompareScan(const absl::StatusOr<Checkpoint>& file) {
    ScanOptions options;
    options.run = run_;
    const auto report = Scan(kInput, options);
    PENSTOCK_CHECK(report.ok());
    if (!file.ok() || file->opened().file() == nullptr) return;
    for (const std::string& global : file->globals()) {
      PENSTOCK_CHECK(static_cast<int64_t>(global.size()) > kMaxScanNameBytes ||
                     report->num_left_out > 0 || Names(*report, global));
    }
  }

  static bool Names(const ScanReport& report, const std::string& global) {
    return std::any_of(
        report.findings.begin(), report.findings.end(),
        [&](const ScanFinding& found) {
          const GlobalName now = ToPython3({found.module, found.name});
          return absl::StrCat(found.module, " ", found.name) == global ||
                 absl::StrCat(now.module, " ", now.name) == global;
        });
  }

  void TryNative(const Checkpoint& file, const Value& loaded) {
    SaveOptions options;
    options.codec = bytes_.size() % 2 == 0 ? Codec::kZstd : Codec::kNone;
    options.origin = OriginMode::kAlways;
    options.run = run_;
    const bool is_native = file.format() == Format::kNative;
    const absl::Status converted = Convert(file, kCopy, options).status();
    // What loads can have a damaged origin, of which nothing was read so far.
    if (is_native && absl::IsDataLoss(converted)) return;
    PENSTOCK_CHECK(converted.ok());
    const auto copy = Checkpoint::Open(kCopy, run_);
    PENSTOCK_CHECK(copy.ok());
    const auto again = copy->Load();
    PENSTOCK_CHECK(again.ok() && Compare(loaded, *again).ok());
    // The origin of a .pstk is that of what it was made from.
    if (!copy->origin().has_value() || is_native) return;
    options.format = copy->origin()->format;
    const auto restored = Convert(*copy, "/d/back", options);
    PENSTOCK_CHECK(restored.ok() && restored->saved.restored);
    PENSTOCK_CHECK(*files_.Get("/d/back") == bytes_);
  }

  void TryPt(const Value& loaded) {
    SaveOptions options;
    options.format = Format::kPt;
    options.run = run_;
    if (!Save(loaded, kCopy, options).ok()) return;
    const auto again = Load(kCopy, run_);
    PENSTOCK_CHECK(again.ok() && Compare(loaded, *again).ok());
  }

  const std::string bytes_;
  MemoryFileSystem files_;
  RunOptions run_;
};

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::OpenedInput(std::string(data, data + size)).TryAll();
  return 0;
}
