// Takes any bytes for a program that builds a checkpoint, which is saved and
// loaded again: the same to the last bit, whatever its tree, the codec and the
// number of threads, as a .pstk; and as a .pt of each kind, where it can be
// one.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "api/penstock.h"
#include "codec/native_test_file.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock {
namespace {

// A program is a run of bytes: an instruction, then its operands. Behind the
// end come zeros. No two of its numbers are read in one expression, whose order
// differs between compilers.
class Program {
 public:
  Program(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool done() const { return rest_.empty(); }
  int Byte() {
    if (rest_.empty()) return 0;
    const int byte = rest_[0];
    rest_.remove_prefix(1);
    return byte;
  }
  int64_t Number() {
    uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = number << 8 | Byte();
    return static_cast<int64_t>(number);
  }
  std::string Text() {
    const size_t wanted = Byte() % 32;
    const size_t size = std::min(wanted, rest_.size());
    const std::string text(rest_.begin(), rest_.begin() + size);
    rest_.remove_prefix(size);
    return text;
  }

 private:
  absl::Span<const uint8_t> rest_;
};

class CheckpointMaker {
 public:
  explicit CheckpointMaker(Program& program) : program_(program) {}

  // Nothing where the program means no checkpoint.
  absl::StatusOr<Value> Make() {
    nodes_.push_back(builder_.Dict());
    while (!program_.done()) Step();
    return std::move(builder_).Finish(nodes_[0]);
  }

 private:
  NodeId Any() { return nodes_[program_.Byte() % nodes_.size()]; }

  std::vector<NodeId> Some() {
    std::vector<NodeId> items(program_.Byte() % 5);
    for (NodeId& item : items) item = Any();
    return items;
  }

  void Step() {
    const int instruction = program_.Byte();
    switch (instruction % 20) {
      case 0:
        return Push(builder_.None());
      case 1:
        return Push(builder_.Bool(program_.Byte() % 2 != 0));
      case 2:
        return Push(builder_.Int(program_.Number()));
      case 3:
        return Push(builder_.BigInt(program_.Text()));
      case 4:
        return Push(builder_.Float(Real()));
      case 5: {
        const double real = Real();
        return Push(builder_.Complex(real, Real()));
      }
      case 6:
        return Push(builder_.Bytes(program_.Text()));
      case 7:
        return Push(builder_.ByteArray(program_.Text()));
      case 8:
        return Push(builder_.Py2Str(program_.Text()));
      case 9:
        return Push(builder_.List(Some()));
      case 10:
        return Push(builder_.Tuple(Some()));
      case 11:
        return Push(builder_.Dict());
      case 12:
        return Push(builder_.Str(AsciiText()));
      case 13: {
        const std::string module = AsciiText();
        return Push(builder_.Global(module, AsciiText()));
      }
      case 14:
        return Push(builder_.OrderedDict());
      case 15:
        return MakeStorage();
      case 16:
        return MakeTensor();
      // Refused where the kinds do not fit: then nothing has changed.
      case 17: {
        const NodeId list = Any();
        return (void)builder_.Append(list, Any());
      }
      default: {
        const NodeId dict = instruction % 2 == 0 ? nodes_[0] : Any();
        const NodeId key = Any();
        return (void)builder_.SetItem(dict, key, Any());
      }
    }
  }

  void Push(NodeId node) { nodes_.push_back(node); }

  double Real() {
    const int64_t bits = program_.Number();
    double real = 0;
    static_assert(sizeof(real) == sizeof(bits));
    std::copy_n(reinterpret_cast<const char*>(&bits), sizeof(real),
                reinterpret_cast<char*>(&real));
    return real;
  }

  std::string AsciiText() {
    std::string text = program_.Text();
    for (char& c : text) c = static_cast<char>(c & 0x7f);
    return text;
  }

  // Sometimes large enough to be chunks of its own.
  void MakeStorage() {
    const int seed = program_.Byte();
    const int64_t size = int64_t{program_.Byte()} << seed % 8 << seed % 4;
    const auto storage = Storage::Allocate(size);
    PENSTOCK_CHECK(storage.ok());
    const absl::Span<uint8_t> bytes = (*storage)->mutable_bytes();
    // Two bytes a seed: those of weights are not alike.
    const auto& from = Samples(static_cast<Fill>(program_.Byte() % 3));
    std::copy_n(from.bytes().begin() + 2 * seed, bytes.size(), bytes.begin());
    storages_.push_back(*storage);
  }

  // To be cut from, made once: it took half of the time of all runs.
  static const Storage& Samples(Fill fill) {
    constexpr int64_t kBytes = (int64_t{255} << 7 << 3) + 2 * 255;
    static const auto* const samples =
        new std::array<std::shared_ptr<Storage>, 3>{
            TestStorage(kBytes, 1, Fill::kZeros),
            TestStorage(kBytes, 2, Fill::kNoise),
            TestStorage(kBytes, 3, Fill::kWeights)};
    return *(*samples)[static_cast<int>(fill)];
  }

  void MakeTensor() {
    if (storages_.empty()) MakeStorage();
    const auto& storage = storages_[program_.Byte() % storages_.size()];
    const DType dtype = static_cast<DType>(program_.Byte() % kNumDTypes);
    std::vector<int64_t> shape(program_.Byte() % 4);
    std::vector<int64_t> strides(shape.size());
    for (int64_t& size : shape) size = program_.Byte();
    for (int64_t& stride : strides) stride = program_.Byte();
    const int64_t offset = program_.Byte();
    auto tensor = Tensor::Make(storage, dtype, shape, strides, offset);
    if (tensor.ok()) Push(builder_.Tensor(*tensor));
  }

  Program& program_;
  GraphBuilder builder_;
  std::vector<NodeId> nodes_;
  std::vector<std::shared_ptr<const Storage>> storages_;
};

// Saved, loaded and compared. A tree that only .pstk can hold is refused.
void TryFormat(const Value& checkpoint, const SaveOptions& options,
               int load_threads) {
  const auto saved = Save(checkpoint, "copy", options);
  PENSTOCK_CHECK(saved.ok() || options.format != Format::kNative);
  if (!saved.ok()) return;
  RunOptions run = options.run;
  run.threads = load_threads;
  const auto loaded = Load("copy", run);
  PENSTOCK_CHECK(loaded.ok());
  PENSTOCK_CHECK(Compare(checkpoint, *loaded).ok());
}

void RoundTrip(Program program) {
  const int how = program.Byte();
  const auto checkpoint = CheckpointMaker(program).Make();
  if (!checkpoint.ok()) return;
  MemoryFileSystem files;
  SaveOptions options;
  options.run.files = &files;
  options.codec = how % 2 == 0 ? Codec::kNone : Codec::kZstd;
  options.run.threads = 1 + how / 2 % 3;
  const int load_threads = 1 + how / 8 % 3;
  TryFormat(*checkpoint, options, load_threads);
  options.format = how / 32 % 2 == 0 ? Format::kPt : Format::kPtLegacy;
  options.pt = how / 64 % 2 == 0 ? PtLayout::kT27 : PtLayout::kT16;
  TryFormat(*checkpoint, options, load_threads);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::RoundTrip(penstock::Program(data, size));
  return 0;
}
