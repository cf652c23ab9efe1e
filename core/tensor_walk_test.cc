#include "core/tensor_walk.h"

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/state_dict.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

NodeId AddTensor(GraphBuilder& b) {
  return b.Tensor(*Tensor::Make(Storage::InFile(4, 0), DType::kFloat32, {1}));
}

// Sets items of a new dict or other mapping.
NodeId Fill(GraphBuilder& b, NodeId mapping,
            const std::vector<std::pair<std::string, NodeId>>& pairs) {
  for (const auto& [key, value] : pairs) {
    EXPECT_TRUE(b.SetItem(mapping, b.Str(key), value).ok());
  }
  return mapping;
}

NodeId Call(GraphBuilder& b, absl::string_view module, absl::string_view name,
            std::vector<NodeId> args) {
  return b.Object(Construction::kReduce, b.Global(module, name), b.Tuple(args));
}

NodeId Parameter(GraphBuilder& b, NodeId tensor) {
  return Call(b, "torch._utils", "_rebuild_parameter",
              {tensor, b.Bool(true), b.OrderedDict()});
}

NodeId WithState(GraphBuilder& b, NodeId object, NodeId state) {
  EXPECT_TRUE(b.SetState(object, state).ok());
  return object;
}

// A pickled nn.Module.
NodeId Module(GraphBuilder& b, NodeId parameters, NodeId modules) {
  return WithState(b, Call(b, "models", "Net", {}),
                   Fill(b, b.Dict(),
                        {{"_parameters", parameters},
                         {"_buffers", Fill(b, b.Dict(), {{"b", AddTensor(b)}})},
                         {"_modules", modules}}));
}

TEST(HasFewPathsTest, HoldsForAPlainCheckpoint) {
  GraphBuilder b;
  const NodeId model =
      Fill(b, b.OrderedDict(),
           {{"a.weight", AddTensor(b)}, {"a.bias", AddTensor(b)}});
  const NodeId state = b.List({AddTensor(b), Parameter(b, AddTensor(b))});
  const NodeId root =
      Fill(b, b.Dict(),
           {{"model", model},
            {"optimizer", Fill(b, b.Dict(), {{"state", state}})},
            {"epoch", b.Int(3)}});
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_TRUE(HasFewPaths(*value->graph(), 100));
  EXPECT_FALSE(HasFewPaths(*value->graph(), 3));
}

TEST(HasFewPathsTest, CountsAKeyWhereverItIs) {
  GraphBuilder b;
  const NodeId key = b.Str(std::string(1 << 20, 'k'));
  const NodeId root = b.List();
  for (int i = 0; i < 2000; ++i) {
    const NodeId dict = b.Dict();
    ASSERT_TRUE(b.SetItem(dict, key, AddTensor(b)).ok());
    ASSERT_TRUE(b.Append(root, dict).ok());
  }
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_FALSE(StateDict::FromValue(*value).ok());
  EXPECT_FALSE(HasFewPaths(*value->graph(), 4'000'000));
}

// Whatever the graph: where it says yes, naming the tensors succeeds.
TEST(HasFewPathsTest, NeverSaysYesWhereNamingFails) {
  int num_yes = 0;
  int num_failed = 0;
  for (int seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    GraphBuilder b;
    std::vector<NodeId> nodes = {AddTensor(b)};
    const auto any = [&] {
      // Mostly each once, so that trees come up too.
      const NodeId id = nodes[random() % nodes.size()];
      return random() % 4 == 0 ? id : nodes.back();
    };
    const int num_nodes = 1 + static_cast<int>(random() % 12);
    for (int i = 0; i < num_nodes; ++i) {
      const std::string key(1 + random() % 300, 'k');
      switch (random() % 6) {
        case 0:
          nodes.push_back(b.List({any(), AddTensor(b)}));
          break;
        case 1:
          nodes.push_back(
              Fill(b, b.Dict(), {{key, any()}, {"b", AddTensor(b)}}));
          break;
        case 2:
          nodes.push_back(Fill(b, b.OrderedDict(), {{key, any()}}));
          break;
        case 3:
          nodes.push_back(WithState(b, Call(b, "a", "B", {any()}), any()));
          break;
        case 4:
          nodes.push_back(Parameter(b, any()));
          break;
        default:
          nodes.push_back(Module(b, Fill(b, b.Dict(), {{key, any()}}),
                                 Fill(b, b.Dict(), {{"m", any()}})));
      }
    }
    const auto value = std::move(b).Finish(nodes.back());
    ASSERT_TRUE(value.ok()) << value.status();
    for (const int64_t most : {1, 3, 10, 100}) {
      const auto names = StateDict::FromValue(*value, most);
      num_failed += names.ok() ? 0 : 1;
      if (!HasFewPaths(*value->graph(), most)) continue;
      ++num_yes;
      EXPECT_TRUE(names.ok()) << names.status();
    }
  }
  EXPECT_GT(num_yes, 500);
  EXPECT_GT(num_failed, 500);
}

}  // namespace
}  // namespace penstock
