// `--codec auto`: compress, or write raw, whichever should be done sooner.

#ifndef PENSTOCK_CODEC_AUTO_CODEC_H_
#define PENSTOCK_CODEC_AUTO_CODEC_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/source.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/storage.h"

namespace penstock {

struct CodecChoice {
  bool coded = false;
  std::string reason;  // one line for people, with what was measured
};

// Under this many bytes measuring would cost more than it saves: raw.
inline constexpr int64_t kAutoProbeFrom = 512'000'000;

// What was measured, in bytes of tensors per second; and raw / coded size.
struct CodecRates {
  double disk = 0;    // durable writing
  double encode = 0;  // all threads together
  double ratio = 1;
};

// Compares the time for `total_bytes` either way; a tie within 5 % stays raw,
// because raw files load faster. Pure.
CodecChoice ChooseCodec(const CodecRates& rates, int64_t total_bytes);

// Settles once, before the first byte: times a 64 MiB probe file in `directory`
// (the slope between 16 and 64 MiB, so that the start does not count) and the
// encoder on samples of the largest storages. `dtypes[i]` is the element type
// of `storages[i]`. The probe file is removed.
// Errors: those of writing and of Source::Sample.
absl::StatusOr<CodecChoice> SettleCodec(
    FileSystem& files, const std::string& directory,
    absl::Span<const std::shared_ptr<const Storage>> storages,
    absl::Span<const DType> dtypes, Source& source, int threads);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_AUTO_CODEC_H_
