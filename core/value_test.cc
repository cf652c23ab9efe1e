#include "core/value.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/graph_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

Value OneTensor(const std::shared_ptr<const Storage>& storage) {
  GraphBuilder b;
  const NodeId id = b.Tensor(*Tensor::Make(storage, DType::kInt16, {2}));
  return *std::move(b).Finish(id);
}

TEST(ValueTest, AnEmptyValueIsFalse) {
  EXPECT_FALSE(Value());
  EXPECT_TRUE(OneTensor(Storage::InFile(4, 0)));
}

TEST(ValueTest, FindTakesPythonTwosStringsAndOnlyStrings) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, b.Bytes("a"), b.Int(1)).ok());
  ASSERT_TRUE(b.SetItem(root, b.Py2Str("a"), b.Int(2)).ok());
  const auto value = std::move(b).Finish(root);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->Find("a").AsInt(), 2);
}

TEST(ValueDeathTest, AnotherKindsAccessorIsABug) {
  const Value tensor = OneTensor(Storage::InFile(4, 0));
  EXPECT_DEATH(tensor.AsInt(), "CHECK");
  EXPECT_DEATH(tensor.AsBytes(), "CHECK");
  EXPECT_DEATH(tensor.size(), "CHECK");
  EXPECT_DEATH(tensor.child(ObjectChild::kArgs), "CHECK");
}

TEST(GraphTest, WithStoragesMovesTensorsToOtherBytes) {
  const auto in_file = Storage::InFile(4, 7);
  const Value value = OneTensor(in_file);
  auto memory = Storage::Allocate(4);
  ASSERT_TRUE(memory.ok());
  const std::shared_ptr<const Storage> target = *memory;
  const auto moved = value.graph()->WithStorages({target});
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(Value(*moved, 0).AsTensor().storage(), target);
  EXPECT_EQ(value.AsTensor().storage(), in_file);
}

TEST(GraphTest, WithStoragesRefusesOtherSizesAndCounts) {
  const Value value = OneTensor(Storage::InFile(4, 7));
  using Storages = std::vector<std::shared_ptr<const Storage>>;
  for (const Storages& wrong :
       {Storages{}, Storages{nullptr}, Storages{Storage::InFile(5, 0)},
        Storages{Storage::InFile(4, 0), Storage::InFile(4, 1)}}) {
    EXPECT_EQ(value.graph()->WithStorages(wrong).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace penstock
