#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/edits.h"
#include "api/edits_testing.h"
#include "codec/derived_source.h"
#include "core/dtype.h"
#include "core/graph_tables.h"
#include "core/status_macros.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "core/value_compare.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// -------------------------------------------------------------------- dtype

TEST(DTypeTest, CastsWholeStoragesAndKeepsTies) {
  const auto storage = StorageOf(66);  // half a number is left over
  Tree b;
  const Value root = b.Done(b.DictOf(
      {{"w", b.Tensor(View(storage, DType::kFloat32, {4, 4}))},
       {"t", b.Tensor(View(storage, DType::kFloat32, {4, 3}, {1, 4}, 2),
                      TensorFlags::kRequiresGrad)},
       {"bare", b.Storage(storage, DType::kFloat32)}}));
  Edits edits;
  edits.dtype = DType::kBFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  ASSERT_EQ(edited.derivations.size(), 1u);
  const Derivation& derivation = edited.derivations[0];
  EXPECT_EQ(derivation.storage->size_bytes(), 32);
  EXPECT_EQ(derivation.from.storage(), storage);
  EXPECT_EQ(derivation.from.num_elements(), 16);
  EXPECT_EQ(derivation.to, DType::kBFloat16);
  ASSERT_EQ(edited.root.graph()->storages().size(), 1u);
  EXPECT_EQ(edited.root.graph()->storages()[0], derivation.storage);
  const Tensor t = TensorAt(edited.root, "t");
  EXPECT_EQ(t.dtype(), DType::kBFloat16);
  EXPECT_EQ(t.strides()[1], 4);
  EXPECT_EQ(t.offset(), 2);
  EXPECT_EQ(edited.root.Find("t").tensor_flags(), TensorFlags::kRequiresGrad);
  EXPECT_EQ(edited.root.Find("bare").storage_dtype(), DType::kBFloat16);
}

TEST(DTypeTest, LeavesOthersAndCountsThem) {
  Tree b;
  const Value root = b.Done(b.DictOf(
      {{"f64", b.Tensor(View(StorageOf(), DType::kFloat64, {8}))},
       {"f32", b.Tensor(View(StorageOf(), DType::kFloat32, {16}))},
       {"f16", b.Tensor(View(StorageOf(), DType::kFloat16, {8}))},
       {"bf16", b.Tensor(View(StorageOf(), DType::kBFloat16, {8}))},
       {"step", b.Tensor(View(StorageOf(), DType::kFloat32, {}))},
       {"i64", b.Tensor(View(StorageOf(), DType::kInt64, {8}))},
       {"c64", b.Tensor(View(StorageOf(), DType::kComplex64, {8}))},
       {"f8", b.Tensor(View(StorageOf(), DType::kFloat8E5M2, {8}))},
       {"empty", b.Tensor(View(StorageOf(0), DType::kFloat32, {0, 3}))}}));
  Edits edits;
  edits.dtype = DType::kFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(edited.derivations.size(), 3u);
  for (const char* name : {"f64", "f32", "f16", "bf16", "empty"}) {
    EXPECT_EQ(TensorAt(edited.root, name).dtype(), DType::kFloat16) << name;
  }
  for (const char* name : {"step", "i64", "c64", "f8"}) {
    EXPECT_EQ(TensorAt(edited.root, name).dtype(),
              TensorAt(root, name).dtype());
    EXPECT_EQ(TensorAt(edited.root, name).storage(),
              TensorAt(root, name).storage());
  }
  EXPECT_EQ(edited.notes,
            Names{"--dtype float16: 4 tensors cast, 1 were so, 1 left because "
                  "they have no dimensions, 3 left because of their dtype"});
  edits.dtype = DType::kInt8;
  ExpectFails(root, edits, {"int8"});
}

// Adam's step among the moments of a flat buffer: 257 must not become 256.
TEST(DTypeTest, GivesScalarsOfACastStorageTheirOwn) {
  const auto storage = StorageOf();
  Tree b;
  const NodeId step = b.Tensor(View(storage, DType::kFloat32, {}, {}, 5));
  const Value root = b.Done(b.DictOf(
      {{"w", b.Tensor(View(storage, DType::kFloat32, {4}))},
       {"step", step},
       {"again", b.Tensor(View(storage, DType::kFloat32, {}, {}, 5))}}));
  Edits edits;
  edits.dtype = DType::kBFloat16;
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(edited.derivations.size(), 2u);
  const Tensor scalar = TensorAt(edited.root, "step");
  EXPECT_EQ(scalar.dtype(), DType::kFloat32);
  EXPECT_EQ(scalar.storage()->size_bytes(), 4);
  EXPECT_EQ(scalar.storage(), TensorAt(edited.root, "again").storage());
}

TEST(DTypeTest, RefusesAStorageOfTwoDTypesNamingBoth) {
  const auto storage = StorageOf();
  Edits edits;
  edits.dtype = DType::kBFloat16;
  Tree b;
  const Value two =
      b.Done(b.DictOf({{"x", b.Tensor(View(storage, DType::kFloat32, {4}))},
                       {"y", b.Tensor(View(storage, DType::kInt32, {4}))}}));
  ExpectFails(two, edits, {"x views as float32", "y as int32"});
  Tree c;
  const Value untyped =
      c.Done(c.DictOf({{"x", c.Tensor(View(storage, DType::kFloat32, {4}))},
                       {"bytes", c.Storage(storage, std::nullopt)}}));
  ExpectFails(untyped, edits, {"x", "without a dtype"});
  // Nothing to be cast, nothing to be refused.
  Tree d;
  const Value ints =
      d.Done(d.DictOf({{"x", d.Tensor(View(storage, DType::kInt8, {4}))},
                       {"y", d.Tensor(View(storage, DType::kInt32, {4}))}}));
  EXPECT_TRUE(Edited(ints, edits).derivations.empty());
}

// ------------------------------------------------------------- map_location

TEST(MapLocationTest, MovesEveryStorage) {
  const std::shared_ptr<Storage> there = Storage::InFile(64, 3);
  there->set_location("cuda:1");
  auto memory = Storage::Allocate(64);
  ASSERT_TRUE(memory.ok());
  (*memory)->set_location("cuda:0");
  std::memset((*memory)->mutable_bytes().data(), 7, 64);
  Tree b;
  Value root =
      b.Done(b.DictOf({{"x", b.Tensor(View(there, DType::kFloat32, {4}))},
                       {"y", b.Tensor(View(there, DType::kFloat32, {4}))},
                       {"z", b.Tensor(View(*memory, DType::kInt8, {4}))}}));
  Edits edits;
  edits.map_location = "cpu";
  EditedCheckpoint edited = Edited(root, edits);
  memory->reset();
  root = Value();
  const auto storages = edited.root.graph()->storages();
  ASSERT_EQ(storages.size(), 2u);
  EXPECT_EQ(storages[0]->location(), "cpu");
  EXPECT_EQ(storages[0]->file_number(), 3);
  EXPECT_EQ(storages[1]->location(), "cpu");
  EXPECT_EQ(storages[1]->bytes()[5], 7);
  edits.dtype = DType::kFloat16;
  EXPECT_EQ(Edited(edited.root, edits).derivations[0].storage->location(),
            "cpu");
}

TEST(EditsTest, DoesAllInOneGo) {
  Tree b;
  const NodeId net = b.Module(
      {{"weight", b.Tensor(Floats())}, {"bias", b.Tensor(Floats())}}, {});
  const Value root =
      b.Done(b.DictOf({{"model", b.Module({}, {{"module", net}})},
                       {"opt", b.Tensor(Floats())}}));
  Edits edits;
  EXPECT_FALSE(edits.any());
  edits.select = "model";
  edits.drop = {"module.bias"};
  edits.strip_prefixes = {"module."};
  edits.dtype = DType::kBFloat16;
  edits.map_location = "cpu";
  EXPECT_TRUE(edits.any());
  const EditedCheckpoint edited = Edited(root, edits);
  EXPECT_EQ(NamesOf(edited.root), Names{"weight"});
  EXPECT_EQ(edited.derivations.size(), 1u);
  EXPECT_EQ(edited.notes.size(), 3u);
}

}  // namespace
}  // namespace penstock
