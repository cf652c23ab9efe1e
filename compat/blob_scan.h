// BlobScan: the scan of one file, or of one within another. Private to
// ScanFile.

#ifndef PENSTOCK_COMPAT_BLOB_SCAN_H_
#define PENSTOCK_COMPAT_BLOB_SCAN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compat/byte_window.h"
#include "compat/file_scan.h"
#include "compat/pickle_traces.h"
#include "compat/pickle_walk.h"
#include "compat/scan.h"
#include "compat/scan_start.h"
#include "compat/tolerant_inflate.h"
#include "compat/zip_survey.h"
#include "core/file.h"

namespace penstock {

// What the scans of all files within a file share. Thread-compatible.
class ScanRun {
 public:
  // Of a file of `file_bytes`. `limits` outlives it.
  ScanRun(const ScanLimits& limits, int64_t file_bytes);

  // Adds a finding, or counts it where there are too many; takes it for allowed
  // where ScanLimits::allow says so.
  void Add(ScanFinding finding);
  // Now and then asks whether to go on, after so much work more.
  // Errors: kCancelled.
  absl::Status Work(int64_t num_bytes);

  const ScanLimits& limits;
  FileSystem& files;
  int64_t inflated_left;
  int64_t inner_left;
  bool told_inner = false;
  int64_t done_bytes = 0;  // of the outermost file
  ScanReport report;

 private:
  bool IsAccepted(const ScanFinding& finding) const;

  int64_t unasked_bytes_ = 0;
};

// Thread-compatible.
class BlobScan {
 public:
  // `trust`: in a pickle that begins it, whatever it looks like.
  BlobScan(ScanRun& run, std::shared_ptr<const RandomAccessFile> file,
           std::string path, int depth, WalkTrust trust);

  // Adds what is found. Errors: as ScanFile.
  absl::Status Run();

 private:
  void FindStarts();
  absl::Status Sweep();
  absl::Status SweepTo(int64_t end);
  std::pair<int64_t, int64_t> TensorFrom(int64_t offset) const;
  absl::Status Follow(int64_t offset);
  absl::Status FollowHeader(int64_t offset);
  absl::Status FollowDirectory(int64_t offset);
  absl::Status FollowLegacy(int64_t offset);
  PickleWalk Walk(int64_t begin);
  bool Believes(const PickleWalk& walk, const ScanStart& start,
                WalkTrust trust);
  absl::Status Anchor(const ScanStart& start);
  absl::StatusOr<bool> Unpack(const ScanStart& start, absl::string_view head);
  absl::Status Chain(int64_t begin, const ScanStart& start, WalkTrust trust,
                     int num_trusted);
  absl::Status Commit(const PickleWalk& walk, const ScanStart& start);
  absl::Status ScanPayload(const PickleText& text, const ScanStart& start);
  absl::Status Inflate(int64_t offset, DeflateWrapping wrapping,
                       const ScanStart& start, bool& something);
  absl::Status ScanInner(std::shared_ptr<const RandomAccessFile> file,
                         absl::string_view name,
                         WalkTrust trust = WalkTrust::kAnchored);
  void AddSurvey(const ZipSurvey& survey);
  void Unseen(const ScanStart& start, absl::string_view reason);
  std::string PathOf(absl::string_view name) const;
  const ScanStart& StartBefore(int64_t offset) const;
  int64_t end() const { return file_->size_bytes(); }

  ScanRun& run_;
  const std::shared_ptr<const RandomAccessFile> file_;
  const std::string path_;
  const int depth_;
  const WalkTrust trust_;
  ByteWindow window_;
  ByteWindow names_;
  int64_t budget_;
  bool told_budget_ = false;

  std::vector<ScanStart> starts_;             // ascending
  absl::flat_hash_set<int64_t> headers_;      // local ones that were seen
  absl::flat_hash_set<int64_t> directories_;  // end records, likewise
  // Twice where it began, plus one for what was inflated.
  absl::flat_hash_set<int64_t> anchored_;
  absl::flat_hash_set<int64_t> reported_;  // opcodes
  int64_t position_ = 0;                   // of the sweep
};

}  // namespace penstock

#endif  // PENSTOCK_COMPAT_BLOB_SCAN_H_
