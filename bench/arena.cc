#include "bench/arena.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace penstock::bench {

std::string ContenderName(FileKind kind) {
  switch (kind) {
    case FileKind::kPt:
      return "penstock .pt";
    case FileKind::kRaw:
      return "penstock raw .pstk";
    case FileKind::kZstd:
      return "penstock zstd .pstk";
  }
  return "?";
}

std::string ExtensionOf(FileKind kind) {
  return kind == FileKind::kPt ? ".pt" : ".pstk";
}

absl::StatusOr<std::shared_ptr<Arena>> Arena::Make(
    const ArenaOptions& options) {
  std::shared_ptr<Arena> arena(new Arena);
  arena->options_ = options;
  const int threads = options.run.threads;
  PENSTOCK_ASSIGN_OR_RETURN(
      arena->source_,
      MakeStateDict(options.tensors, options.size_bytes, threads));
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict tensors,
                            StateDict::FromValue(*arena->source_));
  arena->num_tensors_ = tensors.size();
  for (const NamedTensor& entry : tensors.entries()) {
    arena->tensor_bytes_ += entry.tensor.size_bytes();
  }
  arena->fingerprint_ = Fingerprint::Of(tensors, threads);
  PENSTOCK_RETURN_IF_ERROR(arena->ChooseParts(tensors));
  return arena;
}

absl::Status Arena::ChooseParts(const StateDict& tensors) {
  const NamedTensor& largest =
      *std::max_element(tensors.entries().begin(), tensors.entries().end(),
                        [](const NamedTensor& a, const NamedTensor& b) {
                          return a.tensor.size_bytes() < b.tensor.size_bytes();
                        });
  largest_ = largest.name;
  largest_bytes_ = largest.tensor.size_bytes();
  const int64_t rows = largest.tensor.shape()[0];
  slice_begin_ = rows * 45 / 100;
  slice_end_ = slice_begin_ + std::max<int64_t>(1, rows / 10);
  PENSTOCK_ASSIGN_OR_RETURN(Tensor slice,
                            largest.tensor.Rows(slice_begin_, slice_end_));
  slice_bytes_ = slice.size_bytes();
  StateDict alone;
  PENSTOCK_RETURN_IF_ERROR(alone.Add({largest_, std::move(slice)}));
  slice_fingerprint_ = Fingerprint::Of(alone, 1);
  return absl::OkStatus();
}

absl::Status Arena::CheckSlice(const Tensor& slice) const {
  return slice_fingerprint_.CheckOne(largest_, slice);
}

SaveOptions Arena::OptionsFor(FileKind kind) const {
  SaveOptions options;
  options.format = kind == FileKind::kPt ? Format::kPt : Format::kNative;
  options.codec = kind == FileKind::kZstd ? Codec::kZstd : Codec::kNone;
  options.run = options_.run;
  return options;
}

absl::StatusOr<std::string> Arena::File(FileKind kind, Cache cache) {
  constexpr const char* kNames[] = {"pt", "raw", "zstd"};
  std::string path = absl::StrCat(
      options_.directory, "/", kNames[static_cast<int>(kind)],
      cache == Cache::kCold ? "-cold" : "-warm", ExtensionOf(kind));
  std::error_code ignored;  // not there: Save says why it cannot be
  if (std::filesystem::exists(path, ignored)) return path;
  PENSTOCK_CHECK(source() != nullptr);
  PENSTOCK_RETURN_IF_ERROR(Save(*source(), path, OptionsFor(kind)).status());
  return path;
}

std::string Arena::NewName(FileKind kind) const {
  return absl::StrCat(options_.directory, "/new", ExtensionOf(kind));
}

absl::StatusOr<StateDict*> Arena::Target() {
  if (!target_) {
    PENSTOCK_CHECK(source() != nullptr);
    PENSTOCK_ASSIGN_OR_RETURN(const StateDict tensors,
                              StateDict::FromValue(*source()));
    PENSTOCK_ASSIGN_OR_RETURN(target_, MakeTargetFor(tensors));
  }
  Overwrite(*target_, ++overwritten_with_, threads());
  return &*target_;
}

absl::Status Arena::CheckFile(const std::string& path) const {
  PENSTOCK_ASSIGN_OR_RETURN(const Value loaded, Load(path, options_.run));
  return CheckValue(loaded);
}

absl::Status Arena::CheckValue(const Value& loaded) const {
  PENSTOCK_ASSIGN_OR_RETURN(const StateDict tensors,
                            StateDict::FromValue(loaded));
  return fingerprint_.Check(tensors, threads());
}

}  // namespace penstock::bench
