// Tensors that are taken in one step are those of their opcodes. From a file
// the machine takes every opcode by itself: the same pickle from memory and
// from a file must give one graph, or one error.

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/pickle_writer.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "core/value.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

absl::StatusOr<PickleResult> ReadFromFile(absl::string_view pickle,
                                          const PickleLimits& limits = {}) {
  PickleInput input;
  input.file = FileFromString(std::string(pickle), "p");
  PickleSurroundings around;
  around.storages = StoragesInFile();
  return ReadPickle(input, around, limits);
}

// Everything that a graph is, to be compared.
std::string FormOf(const Graph& graph) {
  const GraphTables& tables = graph.tables();
  const auto bytes_of = [](const auto& table) {
    return std::string(reinterpret_cast<const char*>(table.data()),
                       table.size() * sizeof(table[0]));
  };
  std::string form = absl::StrCat(
      tables.nodes.size(), ",", tables.children.size(), ",",
      tables.bytes.size(), ",", tables.tensors.size(), ",", tables.dims.size(),
      tables.strings_by_identity, bytes_of(tables.nodes),
      bytes_of(tables.children), tables.bytes, bytes_of(tables.tensors),
      bytes_of(tables.dims));
  for (const auto& storage : tables.storages) {
    absl::StrAppend(&form, storage->file_number(), ",", storage->size_bytes(),
                    storage->location(), ";");
  }
  return form;
}

// What is wrong; empty where both ways agree.
std::string Difference(absl::string_view pickle,
                       const PickleLimits& limits = {}) {
  const auto together = ReadText(pickle, limits);
  const auto singly = ReadFromFile(pickle, limits);
  if (together.status() != singly.status()) {
    return absl::StrCat("\"", together.status().ToString(), "\" and \"",
                        singly.status().ToString(), "\"");
  }
  if (!together.ok()) return "";
  if (FormOf(*together->root.graph()) != FormOf(*singly->root.graph())) {
    return "another graph";
  }
  if (together->globals != singly->globals) return "other globals";
  if (together->warnings != singly->warnings) return "other warnings";
  if (together->consumed_bytes != singly->consumed_bytes) return "another end";
  return "";
}

void ExpectSame(absl::string_view pickle, const PickleLimits& limits = {}) {
  const std::string difference = Difference(pickle, limits);
  EXPECT_EQ(difference, "") << absl::BytesToHexString(pickle);
}

Tensor View(const std::shared_ptr<const Storage>& storage, DType dtype,
            std::vector<int64_t> shape, std::vector<int64_t> strides,
            int64_t offset) {
  auto tensor = Tensor::Make(storage, dtype, std::move(shape),
                             std::move(strides), offset);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return *tensor;
}

// What a pickle may say of tensors: ranks, views, dtypes, devices, flags.
std::string ManyKinds(int64_t copies) {
  GraphBuilder b;
  const NodeId root = b.OrderedDict();
  int64_t count = 0;
  const auto add = [&](const Tensor& tensor, uint8_t flags) {
    const NodeId name = b.Str(absl::StrCat("layer.", count++, ".weight"));
    EXPECT_TRUE(b.SetItem(root, name, b.Tensor(tensor, flags)).ok());
  };
  for (int64_t i = 0; i < copies; ++i) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kBool,
                              DType::kUInt16, DType::kFloat8E4M3FN}) {
      const auto storage = Storage::InFile(4096, 0);
      const auto cuda = Storage::InFile(240, 0);
      cuda->set_location(i % 2 == 0 ? "cuda:1" : "cpu");
      add(View(storage, dtype, {}, {}, i), 0);
      add(View(storage, dtype, {300}, {3}, 7), TensorFlags::kRequiresGrad);
      add(View(cuda, dtype, {2, 3}, {3, 1}, 0), 0);
      add(View(cuda, dtype, {2, 3, 4}, {12, 4, 1}, 1), 0);
      add(View(storage, dtype, {2, 1, 3, 4}, {12, 12, 4, 1}, 300), 0);
      add(View(storage, dtype, {2, 1, 3, 1, 4}, {12, 12, 4, 4, 1}, 0),
          TensorFlags::kConjugated);
      add(View(storage, dtype, {0, 70000}, {70000, 1}, 0), 0);
    }
  }
  auto value = std::move(b).Finish(root);
  EXPECT_TRUE(value.ok()) << value.status();
  auto written = WritePickle(*value);
  EXPECT_TRUE(written.ok()) << written.status();
  return written->pickle;
}

// Two tensors on one storage, one on another, with names.
std::string Small() {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto shared = Storage::InFile(96, 0);
  const auto own = Storage::InFile(24, 0);
  const Tensor tensors[] = {View(shared, DType::kFloat32, {2, 3}, {3, 1}, 0),
                            View(shared, DType::kFloat32, {4}, {2}, 9),
                            View(own, DType::kFloat32, {}, {}, 5)};
  for (const Tensor& tensor : tensors) {
    const NodeId name = b.Str(absl::StrCat(tensor.offset()));
    EXPECT_TRUE(b.SetItem(root, name, b.Tensor(tensor)).ok());
  }
  auto value = std::move(b).Finish(root);
  EXPECT_TRUE(value.ok()) << value.status();
  auto written = WritePickle(*value);
  EXPECT_TRUE(written.ok()) << written.status();
  return written->pickle;
}

// How many objects it remembers.
int NumPuts(absl::string_view pickle) {
  int count = 0;
  while (count < 256 &&
         ReadFromFile(
             absl::StrCat(pickle.substr(0, pickle.size() - 1),
                          std::string{'h', static_cast<char>(count), '.'}))
             .ok()) {
    ++count;
  }
  return count;
}

TEST(PickleMachineTensorTest, TensorsOfAllKindsAreTheSame) {
  const std::string pickle = ManyKinds(20);
  ExpectSame(pickle);
  const auto read = ReadText(pickle);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->root.graph()->num_tensors(), 20 * 5 * 7);
  for (const GoldenPickle& golden : kGoldenPickles) {
    SCOPED_TRACE(golden.name);
    ExpectSame(golden.bytes());
  }
}

// Or everything else here would compare the same with the same.
TEST(PickleMachineTensorTest, NeedsNoNodesForTheArguments) {
  GraphBuilder b;
  const NodeId root = b.List();
  for (int i = 0; i < 1000; ++i) {
    const auto storage = Storage::InFile(24, 0);
    const NodeId tensor =
        b.Tensor(View(storage, DType::kFloat32, {2, 3}, {3, 1}, 0));
    ASSERT_TRUE(b.Append(root, tensor).ok());
  }
  const auto written = WritePickle(*std::move(b).Finish(root));
  ASSERT_TRUE(written.ok()) << written.status();
  PickleLimits limits;
  limits.max_nodes = 2100;
  EXPECT_TRUE(ReadText(written->pickle, limits).ok());
  EXPECT_EQ(ReadFromFile(written->pickle, limits).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(PickleMachineTensorTest, EveryOtherByteIsTheSame) {
  const std::string pickle = Small();
  for (size_t i = 0; i < pickle.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = pickle;
      changed[i] = static_cast<char>(value);
      ASSERT_EQ(Difference(changed), "") << i << " is " << value;
    }
    ASSERT_EQ(Difference(pickle.substr(0, i)), "") << "cut at " << i;
  }
}

// Parts that were left out come back, as the objects that they are.
TEST(PickleMachineTensorTest, WhatTheMemoRemembersIsTheSame) {
  const std::string pickle = Small();
  const absl::string_view body =
      absl::string_view(pickle).substr(0, pickle.size() - 1);
  const int num_puts = NumPuts(pickle);
  ASSERT_GT(num_puts, 25);
  for (int i = 0; i < num_puts; ++i) {
    for (int k = 0; k < num_puts; ++k) {
      const std::string gets = {'h', static_cast<char>(i), 'h',
                                static_cast<char>(k)};
      ASSERT_EQ(Difference(absl::StrCat(body, gets, "\x87.")), "")
          << i << ", " << k;
      // An empty list takes the place of one before the other is asked for.
      const std::string put = {']', 'q', static_cast<char>(i), '0'};
      ASSERT_EQ(Difference(absl::StrCat(body, put, gets, "\x87.")), "")
          << i << " overwritten, " << k;
    }
  }
}

// The same in the middle, with tensors behind it.
TEST(PickleMachineTensorTest, InsertedOpcodesAreTheSame) {
  const std::string pickle = Small();
  const int num_puts = NumPuts(pickle);
  for (size_t at = 2; at < pickle.size(); ++at) {
    for (int i = 0; i < num_puts; ++i) {
      const char index = static_cast<char>(i);
      for (const std::string& inserted :
           {std::string{'h', index, '0'}, std::string{'q', index},
            std::string{')', 'q', index, '0'}, std::string{'h', index}}) {
        std::string changed = pickle;
        changed.insert(at, inserted);
        ASSERT_EQ(Difference(changed), "")
            << absl::BytesToHexString(inserted) << " at " << at;
      }
    }
  }
}

TEST(PickleMachineTensorTest, RandomSplicesAreTheSame) {
  std::mt19937 random(7);
  const std::string pieces[] = {Small(), kG9.bytes(), kLstm.bytes(),
                                kG7.bytes(), ManyKinds(1)};
  const auto below = [&](size_t end) { return random() % end; };
  int num_read = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = pieces[below(std::size(pieces))];
    for (uint32_t edits = 1 + below(3); edits > 0; --edits) {
      const std::string& from = pieces[below(std::size(pieces))];
      const size_t begin = below(from.size());
      const size_t at = below(changed.size());
      changed.replace(at, below(40), from.substr(begin, below(40)));
    }
    ASSERT_EQ(Difference(changed), "") << "round " << round;
    if (ReadText(changed).ok()) ++num_read;
  }
  EXPECT_GT(num_read, 100);
}

TEST(PickleMachineTensorTest, LimitsAreTheSame) {
  const std::string pickle = Small();
  for (int64_t limit = 0; limit < 400; ++limit) {
    PickleLimits limits;
    limits.max_opcodes = limit;
    ExpectSame(pickle, limits);
    limits = {};
    limits.max_pickle_bytes = limit;
    ExpectSame(pickle, limits);
    limits = {};
    limits.max_string_bytes = limit;
    ExpectSame(pickle, limits);
    limits = {};
    limits.max_stack = limit;
    ExpectSame(pickle, limits);
    limits = {};
    limits.max_marks = limit;
    ExpectSame(pickle, limits);
    limits = {};
    limits.max_memo_entries = limit;
    ExpectSame(pickle, limits);
  }
}

}  // namespace
}  // namespace penstock
