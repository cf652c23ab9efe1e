#include "cli/demo_checkpoint.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "bench/corpus.h"
#include "core/graph_builder.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// bf16 weight, fp32 exp_avg and exp_avg_sq: bytes a parameter.
constexpr int64_t kBytesPerParameter = 2 + 4 + 4;

// A decoder: hidden size, feed-forward size, vocabulary, layers.
struct ModelShape {
  int64_t hidden;
  int64_t inner;
  int64_t vocabulary;
  int64_t layers;
};

ModelShape ShapeFor(int64_t size_bytes) {
  const double parameters =
      static_cast<double>(size_bytes) / kBytesPerParameter;
  ModelShape shape;
  // A GPT-2-small width at 100 M parameters, growing with the cube root.
  shape.hidden = std::max<int64_t>(
      64, std::llround(768 * std::cbrt(parameters / 1e8) / 64) * 64);
  shape.inner = (shape.hidden * 8 / 3 + 63) / 64 * 64;
  shape.vocabulary = shape.hidden * 40;
  const int64_t per_layer =
      shape.hidden * (4 * shape.hidden + 3 * shape.inner + 2);
  const double rest =
      parameters - static_cast<double>(shape.vocabulary * shape.hidden);
  shape.layers =
      std::max<int64_t>(1, std::llround(rest / static_cast<double>(per_layer)));
  return shape;
}

// Bytes that are still to be made: the graph is built first, then several
// threads fill its storages.
class Filling {
 public:
  using Fill = std::function<void(absl::Span<uint8_t> bytes)>;

  absl::StatusOr<Tensor> Add(DType dtype, std::vector<int64_t> shape,
                             Fill fill) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    PENSTOCK_ASSIGN_OR_RETURN(
        std::shared_ptr<Storage> storage,
        Storage::Allocate(elements * InfoOf(dtype).size_bytes));
    jobs_.push_back({storage, std::move(fill)});
    return Tensor::Make(std::move(storage), dtype, std::move(shape));
  }

  void Run(int threads) {
    std::atomic<size_t> next = 0;
    const auto work = [this, &next] {
      for (size_t i = next++; i < jobs_.size(); i = next++) {
        jobs_[i].fill(jobs_[i].storage->mutable_bytes());
      }
    };
    std::vector<std::thread> workers;
    for (int i = 1; i < threads; ++i) workers.emplace_back(work);
    work();
    for (std::thread& worker : workers) worker.join();
  }

 private:
  struct Job {
    std::shared_ptr<Storage> storage;
    Fill fill;
  };
  std::vector<Job> jobs_;
};

class Maker {
 public:
  explicit Maker(int64_t size_bytes) : shape_(ShapeFor(size_bytes)) {}

  absl::StatusOr<Value> Make(int threads) {
    const NodeId root = b_.Dict();
    PENSTOCK_RETURN_IF_ERROR(AddModel(root));
    PENSTOCK_RETURN_IF_ERROR(AddOptimizer(root));
    PENSTOCK_RETURN_IF_ERROR(AddViews(root));
    PENSTOCK_RETURN_IF_ERROR(AddRest(root));
    filling_.Run(threads);
    return std::move(b_).Finish(root);
  }

 private:
  absl::Status Set(NodeId mapping, absl::string_view key, NodeId value) {
    return b_.SetItem(mapping, b_.Str(key), value);
  }

  absl::Status AddWeight(const std::string& name, std::vector<int64_t> shape) {
    const uint64_t seed = parameters_.size() + 1;
    const int64_t row = shape.back();
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor weight,
        filling_.Add(DType::kBFloat16, std::move(shape),
                     [seed, row](absl::Span<uint8_t> bytes) {
                       FillWeights(DType::kBFloat16, seed, row, bytes);
                     }));
    const NodeId node = b_.Tensor(weight);
    parameters_.push_back(weight);
    nodes_.push_back(node);
    return Set(model_, name, node);
  }

  absl::Status AddLayer(int64_t layer) {
    const auto [hidden, inner, vocabulary, layers] = shape_;
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "input_layernorm.weight", {hidden}));
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "self_attn.qkv_proj.weight", {3 * hidden, hidden}));
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "self_attn.o_proj.weight", {hidden, hidden}));
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "post_attention_layernorm.weight", {hidden}));
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "mlp.gate_proj.weight", {inner, hidden}));
    PENSTOCK_RETURN_IF_ERROR(
        AddWeight(prefix + "mlp.up_proj.weight", {inner, hidden}));
    return AddWeight(prefix + "mlp.down_proj.weight", {hidden, inner});
  }

  absl::Status AddModel(NodeId root) {
    model_ = b_.OrderedDict();
    PENSTOCK_RETURN_IF_ERROR(Set(root, "model", model_));
    PENSTOCK_RETURN_IF_ERROR(AddWeight("model.embed_tokens.weight",
                                       {shape_.vocabulary, shape_.hidden}));
    for (int64_t layer = 0; layer < shape_.layers; ++layer) {
      PENSTOCK_RETURN_IF_ERROR(AddLayer(layer));
    }
    PENSTOCK_RETURN_IF_ERROR(AddWeight("model.norm.weight", {shape_.hidden}));
    return Set(model_, "lm_head.weight", nodes_[0]);  // tied
  }

  absl::StatusOr<NodeId> AdamStateOf(size_t parameter) {
    const Tensor& weight = parameters_[parameter];
    const std::vector<int64_t> shape(weight.shape().begin(),
                                     weight.shape().end());
    const uint64_t seed = parameter + 1;
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor step,
        filling_.Add(DType::kFloat32, {}, [](absl::Span<uint8_t> bytes) {
          const float steps = 12000;
          std::memcpy(bytes.data(), &steps, sizeof(steps));
        }));
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor mean,
        filling_.Add(DType::kFloat32, shape, [seed](absl::Span<uint8_t> bytes) {
          FillAdamMean(seed, bytes);
        }));
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor square,
        filling_.Add(DType::kFloat32, shape, [seed](absl::Span<uint8_t> bytes) {
          FillAdamSquare(seed, bytes);
        }));
    const NodeId state = b_.Dict();
    PENSTOCK_RETURN_IF_ERROR(Set(state, "step", b_.Tensor(step)));
    PENSTOCK_RETURN_IF_ERROR(Set(state, "exp_avg", b_.Tensor(mean)));
    PENSTOCK_RETURN_IF_ERROR(Set(state, "exp_avg_sq", b_.Tensor(square)));
    return state;
  }

  absl::StatusOr<NodeId> ParamGroup() {
    const NodeId group = b_.Dict();
    const NodeId numbers = b_.List();
    for (size_t i = 0; i < parameters_.size(); ++i) {
      PENSTOCK_RETURN_IF_ERROR(b_.Append(numbers, b_.Int(i)));
    }
    PENSTOCK_RETURN_IF_ERROR(Set(group, "lr", b_.Float(3e-4)));
    PENSTOCK_RETURN_IF_ERROR(
        Set(group, "betas", b_.Tuple({b_.Float(0.9), b_.Float(0.95)})));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "eps", b_.Float(1e-8)));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "weight_decay", b_.Float(0.1)));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "amsgrad", b_.Bool(false)));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "foreach", b_.None()));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "fused", b_.None()));
    PENSTOCK_RETURN_IF_ERROR(Set(group, "params", numbers));
    return group;
  }

  absl::Status AddOptimizer(NodeId root) {
    const NodeId optimizer = b_.Dict();
    const NodeId states = b_.Dict();
    for (size_t i = 0; i < parameters_.size(); ++i) {
      PENSTOCK_ASSIGN_OR_RETURN(const NodeId state, AdamStateOf(i));
      PENSTOCK_RETURN_IF_ERROR(b_.SetItem(states, b_.Int(i), state));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const NodeId group, ParamGroup());
    PENSTOCK_RETURN_IF_ERROR(Set(optimizer, "state", states));
    PENSTOCK_RETURN_IF_ERROR(Set(optimizer, "param_groups", b_.List({group})));
    return Set(root, "optimizer", optimizer);
  }

  // q, k and v of the first layer, and a transpose: all on one storage.
  absl::Status AddViews(NodeId root) {
    const Tensor& qkv = parameters_[2];
    const int64_t hidden = shape_.hidden;
    const NodeId views = b_.Dict();
    for (int i = 0; i < 3; ++i) {
      PENSTOCK_ASSIGN_OR_RETURN(const Tensor part,
                                qkv.Rows(i * hidden, (i + 1) * hidden));
      PENSTOCK_RETURN_IF_ERROR(
          Set(views, std::string(1, "qkv"[i]), b_.Tensor(part)));
    }
    PENSTOCK_ASSIGN_OR_RETURN(const Tensor transposed,
                              Tensor::Make(qkv.storage(), qkv.dtype(),
                                           {hidden, 3 * hidden}, {1, hidden}));
    PENSTOCK_RETURN_IF_ERROR(Set(views, "qkv_t", b_.Tensor(transposed)));
    return Set(root, "views", views);
  }

  absl::Status AddRest(NodeId root) {
    PENSTOCK_RETURN_IF_ERROR(Set(root, "epoch", b_.Int(3)));
    PENSTOCK_RETURN_IF_ERROR(Set(root, "step", b_.Int(12000)));
    PENSTOCK_RETURN_IF_ERROR(Set(root, "loss", b_.Float(2.3456789012345678)));
    // 2^64: a Python int that fits no machine word.
    PENSTOCK_RETURN_IF_ERROR(
        Set(root, "tokens_seen",
            b_.BigInt(absl::string_view("\0\0\0\0\0\0\0\0\1", 9))));
    const NodeId config = b_.Dict();
    PENSTOCK_RETURN_IF_ERROR(Set(config, "name", b_.Str("penstock-demo")));
    PENSTOCK_RETURN_IF_ERROR(Set(config, "hidden", b_.Int(shape_.hidden)));
    PENSTOCK_RETURN_IF_ERROR(Set(config, "layers", b_.Int(shape_.layers)));
    PENSTOCK_RETURN_IF_ERROR(Set(config, "tie_embeddings", b_.Bool(true)));
    PENSTOCK_RETURN_IF_ERROR(Set(config, "rope", b_.None()));
    PENSTOCK_RETURN_IF_ERROR(Set(root, "config", config));
    PENSTOCK_ASSIGN_OR_RETURN(
        const Tensor rng,
        filling_.Add(DType::kUInt8, {5056},
                     [](absl::Span<uint8_t> bytes) { FillBytes(1, bytes); }));
    return Set(root, "rng_state", b_.Tensor(rng));
  }

  const ModelShape shape_;
  GraphBuilder b_;
  Filling filling_;
  NodeId model_ = kNoNode;
  std::vector<Tensor> parameters_;
  std::vector<NodeId> nodes_;  // of the parameters
};

}  // namespace

absl::StatusOr<Value> MakeDemoCheckpoint(int64_t size_bytes, int threads) {
  return Maker(size_bytes).Make(threads);
}

}  // namespace penstock
