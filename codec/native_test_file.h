// Small checkpoints and .pstk files for tests and fuzz targets.

#ifndef PENSTOCK_CODEC_NATIVE_TEST_FILE_H_
#define PENSTOCK_CODEC_NATIVE_TEST_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/native_file.h"
#include "codec/native_sink.h"
#include "codec/slot.h"
#include "codec/source.h"
#include "core/storage.h"
#include "core/value.h"

namespace penstock {

enum class Fill { kZeros, kNoise, kWeights };  // kWeights: like bf16 weights

// Seeded bytes, the same on every machine.
std::shared_ptr<Storage> TestStorage(int64_t size_bytes, uint64_t seed,
                                     Fill fill);

// A dict of contiguous one-dimensional tensors "t0", "t1"... over these.
using TestTensors =
    std::vector<std::pair<DType, std::shared_ptr<const Storage>>>;
Value TestCheckpoint(const TestTensors& tensors);

// What a damage campaign is run on: each under 16 kB as a file.
struct TestFile {
  std::string name;
  Value checkpoint;
  std::string bytes;
};
std::vector<TestFile> SmallTestFiles();

// Through the pump. `source` has the bytes of the checkpoint's storages.
absl::StatusOr<std::string> SaveNative(const Value& checkpoint,
                                       const NativeOptions& options,
                                       Source& source, int threads = 2);
std::string SaveNativeOrDie(const Value& checkpoint, NativeCodec codec);

absl::StatusOr<std::unique_ptr<NativeFile>> OpenNative(
    const std::string& bytes);

// Through the pump, with these many threads.
absl::StatusOr<Value> LoadNative(const std::string& bytes, int threads);

// All storages, in the calling thread; what a million loads in a test use.
absl::StatusOr<std::vector<std::string>> ReadNative(const NativeFile& file,
                                                    Slot& slot);
// The same with glue: all that `verify` looks at.
absl::Status VerifyNative(const std::string& bytes, Slot& slot);

// Makes the hashes of header, sections, index and footer right again, as far as
// they can be found, so that a test reaches the checks behind them.
std::string FixHashes(std::string bytes);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_TEST_FILE_H_
