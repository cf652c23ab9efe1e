#include "bench/subject.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "bench/block_io.h"
#include "bench/corpus.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"

namespace penstock::bench {
namespace {

constexpr int64_t kElementBytes = 2;  // of a bfloat16

struct Wanted {
  std::string name;
  std::vector<int64_t> shape;
};

// A decoder whose width grows with the cube root of its size. Two of its
// tensors end at no power of two, as biases and vocabularies do.
std::vector<Wanted> LayersFor(int64_t size_bytes) {
  const double elements = static_cast<double>(size_bytes) / kElementBytes;
  const int64_t hidden = std::max<int64_t>(
      32, std::llround(1024 * std::cbrt(elements / 5e8) / 32) * 32);
  const int64_t inner = hidden * 8 / 3;
  const int64_t per_layer = hidden * (4 * hidden + 3 * inner) + 3 * hidden + 1;
  const int64_t vocabulary = std::max<int64_t>(
      1,
      std::min(hidden * 32 + 1, static_cast<int64_t>(elements / 4) / hidden));
  const int64_t layers = std::max<int64_t>(
      1, std::llround((elements - static_cast<double>(vocabulary * hidden)) /
                      static_cast<double>(per_layer)));
  std::vector<Wanted> wanted = {
      {"model.embed_tokens.weight", {vocabulary, hidden}}};
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    wanted.push_back({prefix + "input_layernorm.weight", {hidden}});
    wanted.push_back(
        {prefix + "self_attn.qkv_proj.weight", {3 * hidden, hidden}});
    wanted.push_back({prefix + "self_attn.qkv_proj.bias", {hidden + 1}});
    wanted.push_back({prefix + "self_attn.o_proj.weight", {hidden, hidden}});
    wanted.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
    wanted.push_back({prefix + "mlp.gate_proj.weight", {inner, hidden}});
    wanted.push_back({prefix + "mlp.up_proj.weight", {inner, hidden}});
    wanted.push_back({prefix + "mlp.down_proj.weight", {hidden, inner}});
  }
  return wanted;
}

std::vector<Wanted> WantedFor(Tensors tensors, int64_t size_bytes) {
  constexpr int64_t kSmallBytes = 64 << 10;
  size_bytes = std::max(size_bytes, kSmallBytes);
  switch (tensors) {
    case Tensors::kLarge:
      return LayersFor(size_bytes);
    case Tensors::kOne:
      return {{"weight", {size_bytes / kElementBytes / 1024, 1024}}};
    case Tensors::kSmall:
      break;
  }
  std::vector<Wanted> wanted;
  for (int64_t i = 0; i < size_bytes / kSmallBytes; ++i) {
    wanted.push_back({absl::StrCat("experts.", i, ".weight"), {128, 256}});
  }
  return wanted;
}

absl::StatusOr<Value> AsDict(absl::Span<const NamedTensor> tensors) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  for (const NamedTensor& entry : tensors) {
    PENSTOCK_RETURN_IF_ERROR(
        b.SetItem(root, b.Str(entry.name), b.Tensor(entry.tensor)));
  }
  return std::move(b).Finish(root);
}

// Each of `storages` by fill(i, its bytes). One huge tensor too is filled by
// all threads: in pieces, each with a seed of its own.
void FillAll(const std::vector<std::shared_ptr<Storage>>& storages,
             int threads) {
  constexpr int64_t kPiece = 4 << 20;
  struct Piece {
    uint64_t seed;
    absl::Span<uint8_t> bytes;
  };
  std::vector<Piece> pieces;
  for (const auto& storage : storages) {
    const absl::Span<uint8_t> bytes = storage->mutable_bytes();
    for (size_t begin = 0; begin < bytes.size(); begin += kPiece) {
      pieces.push_back({pieces.size() + 1, bytes.subspan(begin, kPiece)});
    }
  }
  std::atomic<size_t> next = 0;
  InThreads(threads, [&](int) {
    for (size_t i = next++; i < pieces.size(); i = next++) {
      FillWeights(DType::kBFloat16, pieces[i].seed, 1024, pieces[i].bytes);
    }
    return absl::OkStatus();
  }).IgnoreError();  // there is none
}

absl::Span<const uint8_t> BytesOf(const Tensor& tensor) {
  const ByteRange range = tensor.byte_range();
  return tensor.storage()->bytes().subspan(range.begin, range.size());
}

// Of dtype, shape and bytes.
Hash128 HashOfTensor(const Tensor& tensor) {
  const std::string kind = absl::StrCat(static_cast<int>(tensor.dtype()), " ",
                                        absl::StrJoin(tensor.shape(), ","));
  Hasher hasher;
  hasher.Update(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(kind.data()), kind.size()));
  hasher.Update(BytesOf(tensor));
  return hasher.Digest();
}

std::vector<Hash128> HashesOf(absl::Span<const NamedTensor> tensors,
                              int threads) {
  std::vector<Hash128> hashes(tensors.size());
  std::atomic<size_t> next = 0;
  InThreads(threads, [&](int) {
    for (size_t i = next++; i < tensors.size(); i = next++) {
      hashes[i] = HashOfTensor(tensors[i].tensor);
    }
    return absl::OkStatus();
  }).IgnoreError();  // there is none
  return hashes;
}

}  // namespace

absl::StatusOr<Value> MakeStateDict(Tensors tensors, int64_t size_bytes,
                                    int threads) {
  std::vector<NamedTensor> entries;
  std::vector<std::shared_ptr<Storage>> storages;
  for (Wanted& wanted : WantedFor(tensors, size_bytes)) {
    int64_t elements = 1;
    for (const int64_t size : wanted.shape) elements *= size;
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> storage,
                              Storage::Allocate(elements * kElementBytes));
    PENSTOCK_ASSIGN_OR_RETURN(
        Tensor tensor, Tensor::Make(storage, DType::kBFloat16, wanted.shape));
    entries.push_back({std::move(wanted.name), std::move(tensor)});
    storages.push_back(std::move(storage));
  }
  FillAll(storages, threads);
  return AsDict(entries);
}

absl::StatusOr<StateDict> MakeTargetFor(const StateDict& source) {
  StateDict target;
  for (const NamedTensor& entry : source.entries()) {
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> storage,
                              Storage::Allocate(entry.tensor.size_bytes()));
    const absl::Span<const int64_t> shape = entry.tensor.shape();
    PENSTOCK_ASSIGN_OR_RETURN(
        Tensor tensor,
        Tensor::Make(std::move(storage), entry.tensor.dtype(),
                     std::vector<int64_t>(shape.begin(), shape.end())));
    PENSTOCK_RETURN_IF_ERROR(target.Add({entry.name, std::move(tensor)}));
  }
  return target;
}

void Overwrite(const StateDict& tensors, uint8_t value, int threads) {
  const absl::Span<const NamedTensor> entries = tensors.entries();
  std::atomic<size_t> next = 0;
  InThreads(threads, [&](int) {
    for (size_t i = next++; i < entries.size(); i = next++) {
      // A tensor's storage is const for those who share it; this one's maker is
      // its only user.
      auto* const storage =
          const_cast<Storage*>(entries[i].tensor.storage().get());
      const absl::Span<uint8_t> bytes = storage->mutable_bytes();
      std::memset(bytes.data(), value, bytes.size());
    }
    return absl::OkStatus();
  }).IgnoreError();  // there is none
}

absl::StatusOr<Value> MakeManyTensors(int64_t n) {
  std::vector<NamedTensor> entries;
  for (int64_t i = 0; i < n; ++i) {
    PENSTOCK_ASSIGN_OR_RETURN(std::shared_ptr<Storage> storage,
                              Storage::Allocate(64));
    FillWeights(DType::kBFloat16, i, 32, storage->mutable_bytes());
    PENSTOCK_ASSIGN_OR_RETURN(
        Tensor tensor,
        Tensor::Make(std::move(storage), DType::kBFloat16, {4, 8}));
    entries.push_back(
        {absl::StrCat("model.layers.", i / 100, ".block", i % 100, ".weight"),
         std::move(tensor)});
  }
  return AsDict(entries);
}

Fingerprint Fingerprint::Of(const StateDict& tensors, int threads) {
  Fingerprint result;
  const std::vector<Hash128> hashes = HashesOf(tensors.entries(), threads);
  for (size_t i = 0; i < hashes.size(); ++i) {
    result.hashes_.emplace(tensors.entries()[i].name, hashes[i]);
  }
  return result;
}

absl::Status Fingerprint::Check(const StateDict& tensors, int threads) const {
  if (tensors.size() != static_cast<int64_t>(hashes_.size())) {
    return absl::DataLossError(absl::StrCat("wrong result: ", tensors.size(),
                                            " tensors instead of ",
                                            hashes_.size()));
  }
  const std::vector<Hash128> hashes = HashesOf(tensors.entries(), threads);
  for (size_t i = 0; i < hashes.size(); ++i) {
    const std::string& name = tensors.entries()[i].name;
    const auto found = hashes_.find(name);
    if (found == hashes_.end() || found->second != hashes[i]) {
      return absl::DataLossError(absl::StrCat("wrong result: tensor \"", name,
                                              "\" is not what was saved"));
    }
  }
  return absl::OkStatus();
}

absl::Status Fingerprint::CheckOne(absl::string_view name,
                                   const Tensor& tensor) const {
  const auto found = hashes_.find(name);
  if (found != hashes_.end() && found->second == HashOfTensor(tensor)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("wrong result: tensor \"", name,
                                          "\" is not what was saved"));
}

}  // namespace penstock::bench
