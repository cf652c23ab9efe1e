// Whether codec=auto is as good as the better of always raw and always coded,
// on disks of several speeds.
//
//   auto_codec_bench DIRECTORY ROUNDS MEGABYTES RATE...
//
// Saves a checkpoint of MEGABYTES (nine tenths bfloat16 weights, a tenth
// incompressible) into DIRECTORY, throttled to each RATE in GB/s (0: not at
// all), ROUNDS times in each of four ways in random order: raw, coded, auto as
// the first save that the process makes on a disk, so that it has to probe, and
// auto as one that remembers its own last. Prints medians of the seconds to
// durable, and exits with 1 where auto is more than 10 % (15 % unthrottled)
// slower than the better of raw and coded. Files are deleted outside the timer.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "bench/corpus.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/graph_builder.h"
#include "core/posix_file_system.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "tests/throttled_file.h"

namespace penstock {
namespace {

constexpr int64_t kTensorBytes = 16'000'000;
constexpr int64_t kColumns = 4000;

enum Way { kRaw, kCoded, kAutoFirst, kAutoAgain, kNumWays };
constexpr std::array<const char*, kNumWays> kNames = {
    "raw", "coded", "auto first", "auto again"};

absl::StatusOr<Value> MakeCheckpoint(int64_t total_bytes) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (int64_t i = 0; i * kTensorBytes < total_bytes; ++i) {
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> storage,
                              Storage::Allocate(kTensorBytes));
    if (i % 10 == 9) {
      FillBytes(i, storage->mutable_bytes());
    } else {
      FillWeights(DType::kBFloat16, i, kColumns, storage->mutable_bytes());
    }
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor tensor,
        Tensor::Make(storage, DType::kBFloat16,
                     {kTensorBytes / 2 / kColumns, kColumns}));
    PENSTOCK_RETURN_IF_ERROR(b.SetItem(
        root, b.Str(absl::StrCat("layers.", i, ".weight")), b.Tensor(tensor)));
  }
  return std::move(b).Finish(root);
}

struct Samples {
  std::vector<double> seconds;
  std::vector<double> settle_seconds;
  int coded = 0;
  std::string reason;  // the last one

  double Median() { return Middle(seconds); }
  static double Middle(std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
};

class Disk {
 public:
  Disk(const std::string& directory, double gigabytes_per_second)
      : path_(absl::StrCat(directory, "/auto_codec_bench.", getpid(), ".pstk")),
        rate_(gigabytes_per_second),
        again_(MakeFiles()) {}

  absl::Status Save(const Value& checkpoint, Way way, Samples& samples) {
    SaveOptions options;
    options.codec = way == kRaw     ? Codec::kNone
                    : way == kCoded ? Codec::kZstd
                                    : Codec::kAuto;
    const std::unique_ptr<FileSystem> first = MakeFiles();
    options.run.files = way == kAutoAgain ? again_.get() : first.get();
    PENSTOCK_ASSIGN_OR_RETURN(const SaveReport report,
                              penstock::Save(checkpoint, path_, options));
    PENSTOCK_ASSIGN_OR_RETURN(const VerifyReport verified, Verify(path_));
    PENSTOCK_RETURN_IF_ERROR(PosixFileSystem().Unlink(path_));
    if (!verified.findings.empty()) {
      return absl::DataLossError(verified.findings[0]);
    }
    samples.seconds.push_back(report.seconds);
    samples.settle_seconds.push_back(report.settle_seconds);
    samples.coded += report.codec == Codec::kZstd ? 1 : 0;
    samples.reason = report.codec_reason;
    return absl::OkStatus();
  }

 private:
  // Each is a disk of its own, that nothing was saved to.
  std::unique_ptr<FileSystem> MakeFiles() const {
    return rate_ > 0
               ? std::make_unique<ThrottledFileSystem>(PosixFileSystem(),
                                                       rate_ * 1e9)
               : std::make_unique<ThrottledFileSystem>(
                     PosixFileSystem(), 1e15, std::chrono::microseconds(0));
  }

  const std::string path_;
  const double rate_;
  const std::unique_ptr<FileSystem> again_;
};

absl::StatusOr<bool> Judge(const Value& checkpoint,
                           const std::string& directory, int rounds,
                           double rate) {
  Disk disk(directory, rate);
  std::array<Samples, kNumWays> samples;
  std::array<Way, kNumWays> order = {kRaw, kCoded, kAutoFirst, kAutoAgain};
  std::mt19937 random(1);
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const Way way : order) {
      PENSTOCK_RETURN_IF_ERROR(disk.Save(checkpoint, way, samples[way]));
    }
  }
  const double best =
      std::min(samples[kRaw].Median(), samples[kCoded].Median());
  const double limit = rate > 0 ? 1.10 : 1.15;
  std::printf("\n## %s, %d rounds\n\n",
              rate > 0 ? absl::StrCat("throttled to ", rate, " GB/s").c_str()
                       : "the disk as it is",
              rounds);
  std::printf(
      "| way | median s | range | of it settling | coded | to the "
      "better | |\n|---|---|---|---|---|---|---|\n");
  bool passed = true;
  for (int way = 0; way < kNumWays; ++way) {
    Samples& mine = samples[way];
    const double ratio = mine.Median() / best;
    const bool is_auto = way >= kAutoFirst;
    const bool good = !is_auto || ratio <= limit;
    passed &= good;
    std::printf("| %s | %.3f | %.3f - %.3f | %.3f | %d of %d | %.3f | %s |\n",
                kNames[way], mine.Median(), mine.seconds.front(),
                mine.seconds.back(), Samples::Middle(mine.settle_seconds),
                mine.coded, rounds, ratio,
                !is_auto ? ""
                : good   ? "PASS"
                         : "FAIL");
  }
  for (const Way way : {kAutoFirst, kAutoAgain}) {
    std::printf("\n%s: %s\n", kNames[way], samples[way].reason.c_str());
  }
  std::fflush(stdout);
  return passed;
}

absl::StatusOr<bool> Run(int argc, char** argv) {
  const int rounds = std::atoi(argv[2]);
  PENSTOCK_ASSIGN_OR_RETURN(const Value checkpoint,
                            MakeCheckpoint(std::atoll(argv[3]) * 1'000'000));
  bool passed = true;
  for (int i = 4; i < argc; ++i) {
    PENSTOCK_ASSIGN_OR_RETURN(
        const bool good,
        Judge(checkpoint, argv[1], rounds, std::atof(argv[i])));
    passed &= good;
  }
  return passed;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  if (argc < 5 || std::atoi(argv[2]) < 1) {
    std::fprintf(stderr,
                 "auto_codec_bench DIRECTORY ROUNDS MEGABYTES RATE...\n");
    return 2;
  }
  const absl::StatusOr<bool> passed = penstock::Run(argc, argv);
  if (!passed.ok()) {
    std::fprintf(stderr, "%s\n", passed.status().ToString().c_str());
    return 2;
  }
  std::printf("\n%s\n", *passed ? "PASS" : "FAIL");
  return *passed ? 0 : 1;
}
