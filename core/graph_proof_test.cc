#include "core/graph_proof.h"

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/graph_builder.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

// Every kind, sharing, a cycle, and two storages.
GraphTables SmallGraph() {
  GraphBuilder b;
  const auto storage = Storage::InFile(48, 0);
  const auto other = Storage::InFile(8, 1);
  const NodeId root = b.Dict();
  const NodeId tensor =
      b.Tensor(*Tensor::Make(storage, DType::kFloat32, {2, 3}, {3, 1}, 2), 1);
  const NodeId object = b.Object(Construction::kReduce, b.Global("m", "C"),
                                 b.Tuple({tensor, root}));
  EXPECT_TRUE(b.Append(object, b.Int(4)).ok());
  EXPECT_TRUE(b.SetItem(object, b.Str("p"), b.Int(5)).ok());
  EXPECT_TRUE(b.SetState(object, b.Dict()).ok());
  const NodeId with_kwargs = b.Object(Construction::kNewObjEx,
                                      b.Global("m", "D"), b.Tuple(), b.Dict());
  const std::vector<NodeId> values = {
      b.None(),
      b.Bool(true),
      b.Int(-1),
      b.Float(0.5),
      b.Complex(1, 2),
      b.BigInt(std::string(8, '\0') + "\x01"),
      b.Str("text"),
      b.Bytes("by"),
      b.ByteArray("ba"),
      b.Py2Str("2"),
      b.List({tensor, tensor}),
      b.Set(),
      b.FrozenSet({b.Int(1)}),
      b.Storage(other, DType::kInt8),
      object,
      with_kwargs,
      b.Tensor(*Tensor::Make(other, DType::kInt64, {}))};
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(
        b.SetItem(root, b.Int(static_cast<int64_t>(i)), values[i]).ok());
  }
  auto value = std::move(b).Finish(root);
  EXPECT_TRUE(value.ok()) << value.status();
  return value->graph()->tables();
}

// Touches all that an accessor would, so that ASan sees a bad range.
uint64_t Walk(const std::shared_ptr<const Graph>& graph) {
  uint64_t sum = 0;
  for (NodeId id = 0; id < graph->num_nodes(); ++id) {
    const Value value(graph, id);
    const Node& node = graph->tables().nodes[id];
    for (const char c : BytesOf(graph->tables(), node)) sum += c;
    for (const NodeId child : ChildrenOf(graph->tables(), node)) sum += child;
    if (value.kind() == NodeKind::kTensor) sum += value.AsTensor().offset();
    if (value.kind() == NodeKind::kGlobal) sum += value.name().size();
    if (value.kind() == NodeKind::kObject) {
      sum += value.child(ObjectChild::kArgs).size();
      sum += value.Find("p") ? 1 : 0;
    }
  }
  return sum + graph->StorageDTypes().size();
}

class Damager {
 public:
  void Try(const std::string& what, const GraphTables& tables) {
    SCOPED_TRACE(what);
    const auto graph = Graph::Make(tables);
    if (graph.ok()) {
      ++num_valid_;
      Walk(*graph);
      return;
    }
    ++num_refused_;
    EXPECT_EQ(graph.status().code(), absl::StatusCode::kDataLoss)
        << graph.status();
  }

  // Sets `field` of a copy to every telling value.
  template <typename Field>
  void TryField(const std::string& what, const GraphTables& tables,
                const std::function<Field&(GraphTables&)>& field) {
    GraphTables damaged = tables;
    const Field old = field(damaged);
    using Limits = std::numeric_limits<Field>;
    for (const uint64_t value :
         {uint64_t{0}, uint64_t{1}, uint64_t{2}, static_cast<uint64_t>(old) + 1,
          static_cast<uint64_t>(old) - 1, static_cast<uint64_t>(Limits::max()),
          static_cast<uint64_t>(Limits::max()) - 1,
          static_cast<uint64_t>(Limits::min()), uint64_t{1} << 31,
          uint64_t{1} << 32}) {
      field(damaged) = static_cast<Field>(value);
      Try(absl::StrCat(what, " = ", value), damaged);
    }
  }

  int num_valid() const { return num_valid_; }
  int num_refused() const { return num_refused_; }

 private:
  int num_valid_ = 0;
  int num_refused_ = 0;
};

TEST(GraphProofTest, EveryWrongFieldIsRefusedOrHarmless) {
  const GraphTables good = SmallGraph();
  ASSERT_TRUE(CheckTables(good).ok()) << CheckTables(good);
  Damager damager;
  for (size_t i = 0; i < good.nodes.size(); ++i) {
    const std::string name = absl::StrCat("node ", i);
    GraphTables damaged = good;
    for (int kind = 0; kind < 256; ++kind) {
      damaged.nodes[i].kind = static_cast<NodeKind>(kind);
      damager.Try(absl::StrCat(name, " kind ", kind), damaged);
    }
    damager.TryField<uint8_t>(
        name + " detail", good,
        [i](GraphTables& t) -> uint8_t& { return t.nodes[i].detail; });
    damager.TryField<uint16_t>(
        name + " reserved", good,
        [i](GraphTables& t) -> uint16_t& { return t.nodes[i].reserved; });
    damager.TryField<uint32_t>(
        name + " size", good,
        [i](GraphTables& t) -> uint32_t& { return t.nodes[i].size; });
    damager.TryField<uint64_t>(
        name + " payload", good,
        [i](GraphTables& t) -> uint64_t& { return t.nodes[i].payload; });
  }
  for (size_t i = 0; i < good.children.size(); ++i) {
    GraphTables damaged = good;
    for (NodeId id = 0; id < good.nodes.size() + 2; ++id) {
      damaged.children[i] = id;
      damager.Try(absl::StrCat("child ", i, " = ", id), damaged);
    }
    damager.TryField<uint32_t>(
        absl::StrCat("child ", i), good,
        [i](GraphTables& t) -> uint32_t& { return t.children[i]; });
  }
  for (size_t i = 0; i < good.tensors.size(); ++i) {
    const std::string name = absl::StrCat("tensor ", i);
    damager.TryField<uint32_t>(
        name + " storage", good,
        [i](GraphTables& t) -> uint32_t& { return t.tensors[i].storage; });
    damager.TryField<uint8_t>(
        name + " dtype", good,
        [i](GraphTables& t) -> uint8_t& { return t.tensors[i].dtype; });
    damager.TryField<uint8_t>(
        name + " flags", good,
        [i](GraphTables& t) -> uint8_t& { return t.tensors[i].flags; });
    damager.TryField<uint16_t>(
        name + " rank", good,
        [i](GraphTables& t) -> uint16_t& { return t.tensors[i].rank; });
    damager.TryField<uint64_t>(
        name + " dims", good,
        [i](GraphTables& t) -> uint64_t& { return t.tensors[i].dims; });
    damager.TryField<int64_t>(
        name + " offset", good,
        [i](GraphTables& t) -> int64_t& { return t.tensors[i].offset; });
  }
  for (size_t i = 0; i < good.dims.size(); ++i) {
    damager.TryField<int64_t>(
        absl::StrCat("dim ", i), good,
        [i](GraphTables& t) -> int64_t& { return t.dims[i]; });
  }
  EXPECT_GT(damager.num_valid(), 100);  // ints, floats, details...
  EXPECT_GT(damager.num_refused(), 10'000);
}

TEST(GraphProofTest, RefusesShorterAndLongerTables) {
  const GraphTables good = SmallGraph();
  Damager damager;
  const std::vector<std::function<void(GraphTables&)>> damages = {
      [](GraphTables& t) { t.nodes.clear(); },
      [](GraphTables& t) { t.nodes.pop_back(); },
      [](GraphTables& t) { t.nodes.emplace_back(); },
      [](GraphTables& t) { t.children.pop_back(); },
      [](GraphTables& t) { t.children.push_back(0); },
      [](GraphTables& t) { t.bytes.pop_back(); },
      [](GraphTables& t) { t.bytes.push_back('x'); },
      [](GraphTables& t) { t.tensors.pop_back(); },
      [](GraphTables& t) { t.tensors.push_back(t.tensors[0]); },
      [](GraphTables& t) { t.dims.pop_back(); },
      [](GraphTables& t) { t.dims.push_back(0); },
      [](GraphTables& t) { t.storages.pop_back(); },
      [](GraphTables& t) { t.storages.push_back(t.storages[0]); },
      [](GraphTables& t) { t.storages[0] = nullptr; },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    GraphTables damaged = good;
    damages[i](damaged);
    damager.Try(absl::StrCat("damage ", i), damaged);
  }
  EXPECT_EQ(damager.num_valid(), 0);
}

Node NodeOf(NodeKind kind, uint32_t size, uint64_t payload) {
  Node node;
  node.kind = kind;
  node.size = size;
  node.payload = payload;
  return node;
}

TEST(GraphProofTest, RefusesEqualKeys) {
  GraphTables tables;
  tables.nodes = {NodeOf(NodeKind::kDict, 2, 0), NodeOf(NodeKind::kInt, 0, 1),
                  NodeOf(NodeKind::kBool, 0, 1)};
  tables.children = {1, 1, 2, 1};
  const absl::Status status = CheckTables(tables);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("key 1 is there twice"));
  tables.nodes[2].payload = 0;
  EXPECT_TRUE(CheckTables(tables).ok());
}

TEST(GraphProofTest, RefusesAListAsKey) {
  GraphTables tables;
  tables.nodes = {NodeOf(NodeKind::kDict, 1, 0), NodeOf(NodeKind::kList, 0, 2)};
  tables.children = {1, 1};
  EXPECT_THAT(std::string(CheckTables(tables).message()),
              HasSubstr("cannot be a key"));
}

// No pickle can make one, but a damaged file may hold one.
TEST(GraphProofTest, ATupleInItselfAsKeyEnds) {
  GraphTables tables;
  tables.nodes = {NodeOf(NodeKind::kDict, 1, 0),
                  NodeOf(NodeKind::kTuple, 2, 2)};
  tables.children = {1, 1, 1, 1};
  EXPECT_TRUE(CheckTables(tables).ok());
}

TEST(GraphProofTest, RefusesUnreachedAndMisorderedNodes) {
  GraphTables tables;
  tables.nodes = {NodeOf(NodeKind::kList, 2, 0), NodeOf(NodeKind::kInt, 0, 7),
                  NodeOf(NodeKind::kInt, 0, 8)};
  tables.children = {1, 2};
  EXPECT_TRUE(CheckTables(tables).ok());
  tables.children = {2, 1};
  EXPECT_EQ(CheckTables(tables).code(), absl::StatusCode::kDataLoss);
  tables.children = {1, 1};
  EXPECT_THAT(std::string(CheckTables(tables).message()),
              HasSubstr("nothing refers to it"));
}

// Else n objects could each hold one list of n items.
TEST(GraphProofTest, RefusesItemsThatTwoObjectsShare) {
  GraphBuilder b;
  const NodeId first = b.OrderedDict();
  const NodeId second = b.OrderedDict();
  ASSERT_TRUE(b.Append(first, b.Int(1)).ok());
  const NodeId root = b.List({first, second});
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok());
  GraphTables tables = value->graph()->tables();
  ASSERT_TRUE(CheckTables(tables).ok());
  const Node& object = tables.nodes[tables.children[1]];
  const int items = static_cast<int>(ObjectChild::kItems);
  tables.children[object.payload + items] =
      tables.children[tables.nodes[1].payload + items];
  EXPECT_EQ(CheckTables(tables).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace penstock
