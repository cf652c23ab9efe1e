// Where contenders meet: the data, its fingerprint, and the files that are
// loaded.

#ifndef PENSTOCK_BENCH_ARENA_H_
#define PENSTOCK_BENCH_ARENA_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/penstock.h"
#include "bench/subject.h"
#include "core/state_dict.h"
#include "core/value.h"

namespace penstock::bench {

enum class FileKind { kPt, kRaw, kZstd };

// "penstock .pt", "penstock raw .pstk", "penstock zstd .pstk".
std::string ContenderName(FileKind kind);
std::string ExtensionOf(FileKind kind);  // ".pt", ".pstk"

// Each state of the page cache has its own file, so that neither has to be made
// anew for each contender.
enum class Cache { kCold, kWarm };

struct ArenaOptions {
  std::string directory;  // empty, the benchmark's own
  Tensors tensors = Tensors::kLarge;
  int64_t size_bytes = 0;
  RunOptions run;  // with `threads` settled
};

// Thread-compatible.
class Arena {
 public:
  static absl::StatusOr<std::shared_ptr<Arena>> Make(
      const ArenaOptions& options);

  const ArenaOptions& options() const { return options_; }
  int threads() const { return options_.run.threads; }
  int64_t tensor_bytes() const { return tensor_bytes_; }
  int64_t num_tensors() const { return num_tensors_; }
  const Fingerprint& fingerprint() const { return fingerprint_; }

  // The largest tensor, and its rows that are the 10 % slice.
  const std::string& largest() const { return largest_; }
  int64_t slice_begin() const { return slice_begin_; }
  int64_t slice_end() const { return slice_end_; }
  int64_t largest_bytes() const { return largest_bytes_; }
  int64_t slice_bytes() const { return slice_bytes_; }
  // Errors: kDataLoss.
  absl::Status CheckSlice(const Tensor& slice) const;

  // The data; null after ReleaseSource(), which gives its memory back.
  const Value* source() const { return source_ ? &*source_ : nullptr; }
  void ReleaseSource() { source_.reset(); }

  SaveOptions OptionsFor(FileKind kind) const;
  // The name of the file that is loaded, made where it is not there.
  absl::StatusOr<std::string> File(FileKind kind, Cache cache);
  // A name for what is written; nothing is there.
  std::string NewName(FileKind kind) const;

  // Memory that a caller has, the tensors of the source in it, all overwritten
  // with another value since the last call: what was not loaded shows.
  absl::StatusOr<StateDict*> Target();

  // Reads a checkpoint and compares. Errors: kDataLoss.
  absl::Status CheckFile(const std::string& path) const;
  absl::Status CheckValue(const Value& loaded) const;

 private:
  Arena() = default;

  absl::Status ChooseParts(const StateDict& tensors);

  ArenaOptions options_;
  std::optional<Value> source_;
  std::optional<StateDict> target_;
  uint8_t overwritten_with_ = 0;
  int64_t tensor_bytes_ = 0;
  int64_t num_tensors_ = 0;
  Fingerprint fingerprint_;
  Fingerprint slice_fingerprint_;
  std::string largest_;
  int64_t largest_bytes_ = 0;
  int64_t slice_bytes_ = 0;
  int64_t slice_begin_ = 0;
  int64_t slice_end_ = 0;
};

}  // namespace penstock::bench

#endif  // PENSTOCK_BENCH_ARENA_H_
