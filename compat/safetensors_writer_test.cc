#include "compat/safetensors_writer.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codec/pipeline.h"
#include "codec/source.h"
#include "compat/file_kind.h"
#include "compat/open_foreign.h"
#include "compat/safetensors_file.h"
#include "core/dtype.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/state_dict.h"
#include "core/storage.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

std::shared_ptr<const Storage> StorageOf(absl::string_view bytes) {
  auto storage = *Storage::Allocate(static_cast<int64_t>(bytes.size()));
  std::copy(bytes.begin(), bytes.end(), storage->mutable_bytes().begin());
  return storage;
}

Tensor TensorOf(absl::string_view bytes, DType dtype,
                std::vector<int64_t> shape) {
  return *Tensor::Make(StorageOf(bytes), dtype, std::move(shape));
}

// A dict of tensors under str keys.
Value Flat(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(b.SetItem(root, b.Str(name), b.Tensor(tensor)).ok());
  }
  return *std::move(b).Finish(root);
}

std::string Written(const SafetensorsOutput& output) {
  MemoryFileSystem files;
  auto file = *files.Create("f", {});
  MemorySource memory;
  auto source = DerivedSource::Make(memory, output.derivations, 1 << 20);
  EXPECT_TRUE(source.ok()) << source.status();
  auto sink = LayoutSink::Create(*file, output.layout);
  EXPECT_TRUE(sink.ok()) << sink.status();
  const auto stats = Pump((*sink)->plan(), **source, **sink, {});
  EXPECT_TRUE(stats.ok()) << stats.status();
  EXPECT_TRUE(file->Close().ok());
  return *files.Get("f");
}

SafetensorsOptions Options() {
  SafetensorsOptions options;
  options.file_name = "model.safetensors";
  return options;
}

SafetensorsPlan PlanOf(const Value& root,
                       const SafetensorsOptions& options = Options()) {
  auto plan = PlanSafetensors(root, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

// What one file holds behind its length.
std::string Contents(const Value& root,
                     const SafetensorsOptions& options = Options()) {
  const SafetensorsPlan plan = PlanOf(root, options);
  EXPECT_EQ(plan.files.size(), 1u);
  EXPECT_EQ(plan.index_file_name, "");
  return Written(plan.files[0]).substr(8);
}

ForeignFile Reopened(const Value& root,
                     const SafetensorsOptions& options = Options()) {
  auto file = OpenSafetensors(
      FileFromString(Written(PlanOf(root, options).files[0]), "m"));
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

TEST(SafetensorsWriterTest, OrdersByDTypeThenName) {
  std::string json =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"l\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
      "\"a\":{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[8,10]},"
      "\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[10,12]},"
      "\"e\":{\"dtype\":\"BF16\",\"shape\":[0,2],\"data_offsets\":[12,12]},"
      "\"z\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[12,13]}}";
  while (json.size() % 8 != 0) json.push_back(' ');
  EXPECT_EQ(Contents(Flat({{"z", TensorOf("1", DType::kUInt8, {1})},
                           {"b", TensorOf("22", DType::kBFloat16, {})},
                           {"e", TensorOf("", DType::kBFloat16, {0, 2})},
                           {"a", TensorOf("33", DType::kBFloat16, {1, 1})},
                           {"l", TensorOf("44444444", DType::kInt64, {1})}})),
            json + "4444444433221");
}

TEST(SafetensorsWriterTest, EveryDTypeComesBack) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    if (SafetensorsName(dtype).empty()) continue;
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{2, 3}, {0}, {1}}) {
      const std::string bytes(
          *BytesFor(dtype, shape.size() == 2 ? 6 : shape[0]), 'a' + code % 26);
      tensors.emplace_back(
          absl::StrCat(InfoOf(dtype).name, absl::StrJoin(shape, "x")),
          TensorOf(bytes, dtype, shape));
    }
  }
  const Value root = Flat(tensors);
  const ForeignFile file = Reopened(root);
  const auto source = file.new_source();
  for (const auto& [name, tensor] : tensors) {
    const Tensor back = file.root.Find(name).AsTensor();
    EXPECT_EQ(back.dtype(), tensor.dtype());
    EXPECT_EQ(back.shape(), tensor.shape());
    std::vector<uint8_t> bytes(back.size_bytes());
    if (bytes.empty()) continue;
    ASSERT_TRUE(source->Sample(*back.storage(), 0, absl::MakeSpan(bytes)).ok());
    EXPECT_EQ(absl::MakeConstSpan(bytes), tensor.storage()->bytes());
  }
}

TEST(SafetensorsWriterTest, WritesViewsAsTheElementsThatTheyShow) {
  const auto storage = StorageOf("abcdef");
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto add = [&](absl::string_view name, const Tensor& tensor,
                       uint8_t flags) {
    ASSERT_TRUE(b.SetItem(root, b.Str(name), b.Tensor(tensor, flags)).ok());
  };
  add("1", *Tensor::Make(storage, DType::kUInt8, {2, 2}, {1, 2}, 1), 0);
  add("2", *Tensor::Make(storage, DType::kUInt8, {3}, {0}, 5), 0);
  add("3", *Tensor::Make(storage, DType::kUInt8, {1}, {}, 0), 0);
  add("4", TensorOf(std::string("\0\0\x80\x3f", 4), DType::kFloat32, {}),
      TensorFlags::kNegated | TensorFlags::kRequiresGrad);
  const SafetensorsPlan plan = PlanOf(*std::move(b).Finish(root));
  const std::string file = Written(plan.files[0]);
  EXPECT_EQ(file.substr(file.size() - 12),
            std::string("\0\0\x80\xbf", 4) + "bdcefffa");
  EXPECT_EQ(absl::StrJoin(plan.warnings, "\n"), "");
}

class TiesTest : public testing::Test {
 protected:
  TiesTest() {
    const auto storage = StorageOf("abcd");
    const Tensor whole = *Tensor::Make(storage, DType::kUInt8, {4});
    root_ = Flat({{"z", whole},
                  {"y", whole},
                  {"part", *Tensor::Make(storage, DType::kUInt8, {2})}});
  }
  Value root_;
};

TEST_F(TiesTest, AreCopiedAndListed) {
  const SafetensorsPlan plan = PlanOf(root_);
  EXPECT_EQ(absl::StrJoin(plan.warnings, "\n"),
            "share memory, each is written in full: part, y, z");
  const std::string file = Written(plan.files[0]);
  EXPECT_EQ(file.substr(file.size() - 10), "ababcdabcd");
}

TEST_F(TiesTest, ComeBack) {
  for (const auto ties : {SafetensorsTies::kCopy, SafetensorsTies::kDrop}) {
    SafetensorsOptions options = Options();
    options.ties = ties;
    const ForeignFile file = Reopened(root_, options);
    EXPECT_TRUE(file.warnings.empty()) << absl::StrJoin(file.warnings, "\n");
    EXPECT_EQ(file.root.size(), 3);
    EXPECT_EQ(file.root.key(0).AsBytes(), "z");
    EXPECT_EQ(file.root.Find("y").AsTensor().storage(),
              file.root.Find("z").AsTensor().storage());
    EXPECT_NE(file.root.Find("y").AsTensor().storage(),
              file.root.Find("part").AsTensor().storage());
  }
}

TEST_F(TiesTest, AreDroppedAsSaveModelDoes) {
  SafetensorsOptions options = Options();
  options.ties = SafetensorsTies::kDrop;
  const SafetensorsPlan plan = PlanOf(root_, options);
  EXPECT_EQ(absl::StrJoin(plan.warnings, "\n"),
            "z: left out, it is the same as y\n"
            "share memory, each is written in full: part, y");
  const std::string file = Written(plan.files[0]);
  EXPECT_EQ(file.substr(file.size() - 6), "ababcd");
  EXPECT_TRUE(absl::StrContains(
      file, "{\"__metadata__\":{\"format\":\"pt\",\"z\":\"y\",\"penstock."));
}

TEST(SafetensorsWriterTest, KeepsTheTreeAndTheSourcesMetadata) {
  GraphBuilder b;
  const NodeId model = b.OrderedDict();
  ASSERT_TRUE(
      b.SetItem(model, b.Str("w"), b.Tensor(TensorOf("ab", DType::kUInt8, {2})))
          .ok());
  const NodeId root = b.Dict();
  ASSERT_TRUE(b.SetItem(root, b.Str("model"), model).ok());
  ASSERT_TRUE(b.SetItem(root, b.Str("epoch"), b.Int(3)).ok());
  const Value value = *std::move(b).Finish(root);
  SafetensorsOptions options = Options();
  options.metadata = {
      {"format", "flax"}, {"k", "v"}, {"penstock.tree/1", "old"}};
  const ForeignFile file = Reopened(value, options);
  EXPECT_EQ(file.metadata, (StringPairs{{"format", "flax"}, {"k", "v"}}));
  EXPECT_EQ(file.root.Find("epoch").AsInt(), 3);
  EXPECT_TRUE(file.root.Find("model").IsObjectOf("collections", "OrderedDict"));
  EXPECT_TRUE(file.warnings.empty());
}

TEST(SafetensorsWriterTest, ARootTensorIsNamedTensor) {
  GraphBuilder b;
  const NodeId root = b.Tensor(TensorOf("ab", DType::kUInt8, {2}));
  const ForeignFile file = Reopened(*std::move(b).Finish(root));
  EXPECT_EQ(file.root.kind(), NodeKind::kTensor);
}

TEST(SafetensorsWriterTest, NamesAllThatItCannotHoldAtOnce) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const Tensor good = TensorOf("ab", DType::kUInt8, {2});
  ASSERT_TRUE(b.SetItem(root, b.Str("good"), b.Tensor(good)).ok());
  for (const DType dtype :
       {DType::kComplex128, DType::kComplex32, DType::kBits8, DType::kInt4}) {
    ASSERT_TRUE(b.SetItem(root, b.Str(absl::StrCat("bad.", InfoOf(dtype).name)),
                          b.Tensor(TensorOf(std::string(16, 'x'), dtype, {1})))
                    .ok());
  }
  for (const absl::string_view name :
       {absl::string_view("__metadata__"), absl::string_view("nul\0", 4),
        absl::string_view("half\xed\xa0\x80")}) {
    ASSERT_TRUE(b.SetItem(root, b.Str(name), b.Tensor(good)).ok());
  }
  const NodeId sparse =
      b.Object(Construction::kReduce,
               b.Global("torch._utils", "_rebuild_sparse_tensor"), b.Tuple());
  ASSERT_TRUE(b.SetItem(root, b.Str("s"), sparse).ok());
  const absl::Status status =
      PlanSafetensors(*std::move(b).Finish(root), Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const absl::string_view part :
       {"bad.complex128: dtype complex128", "bad.complex32", "bad.bits8",
        "bad.int4", "__metadata__", "NUL", "half", "s: a sparse tensor",
        "--drop", "these 8"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
  EXPECT_FALSE(absl::StrContains(status.message(), "good"));
}

TEST(SafetensorsWriterTest, ShardsAreFilledInTheTreesOrder) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  const auto add = [&](const char* name, int64_t bytes) {
    tensors.emplace_back(
        name, TensorOf(std::string(bytes, *name), DType::kUInt8, {bytes}));
  };
  add("d", 3);
  add("c", 4);
  add("large", 20);
  add("a", 7);
  add("b", 1);
  SafetensorsOptions options = Options();
  options.shard_bytes = 7;
  const SafetensorsPlan plan = PlanOf(Flat(tensors), options);
  MemoryFileSystem files;
  std::string names;
  for (const SafetensorsOutput& output : plan.files) {
    absl::StrAppend(&names, output.file_name, ":",
                    absl::StrJoin(output.names, ","), " ");
    files.Put("/d/" + output.file_name, Written(output));
  }
  EXPECT_EQ(names,
            "model-00001-of-00004.safetensors:c,d "
            "model-00002-of-00004.safetensors:large "
            "model-00003-of-00004.safetensors:a "
            "model-00004-of-00004.safetensors:b ");
  EXPECT_EQ(plan.index_file_name, "model.safetensors.index.json");
  EXPECT_TRUE(absl::StartsWith(
      plan.index_json,
      "{\n  \"metadata\": {\n    \"total_size\": 35\n  },\n  \"weight_map\": "
      "{\n    \"a\": \"model-00003-of-00004.safetensors\",\n"));
  EXPECT_TRUE(absl::EndsWith(plan.index_json, "\n  }\n}\n"));
  files.Put("/d/" + plan.index_file_name, plan.index_json);
  const auto back =
      OpenForeign(FileKind::kJson,
                  *files.OpenRead("/d/" + plan.index_file_name), {{&files}});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->root.size(), 5);
  EXPECT_EQ(back->metadata, (StringPairs{{"format", "pt"}}));
}

TEST(SafetensorsWriterTest, OneShardIsOneFile) {
  SafetensorsOptions options = Options();
  options.shard_bytes = 2;
  const SafetensorsPlan plan =
      PlanOf(Flat({{"a", TensorOf("ab", DType::kUInt8, {2})}}), options);
  ASSERT_EQ(plan.files.size(), 1u);
  EXPECT_EQ(plan.files[0].file_name, "model.safetensors");
  EXPECT_EQ(plan.index_json, "");
}

TEST(SafetensorsWriterTest, ShardsKeepTheTreeInTheIndex) {
  GraphBuilder b;
  const NodeId list = b.List();
  for (const char* bytes : {"ab", "cd"}) {
    ASSERT_TRUE(
        b.Append(list, b.Tensor(TensorOf(bytes, DType::kUInt8, {2}))).ok());
  }
  SafetensorsOptions options = Options();
  options.shard_bytes = 2;
  const SafetensorsPlan plan = PlanOf(*std::move(b).Finish(list), options);
  ASSERT_EQ(plan.files.size(), 2u);
  MemoryFileSystem files;
  for (const SafetensorsOutput& output : plan.files) {
    const std::string bytes = Written(output);
    EXPECT_FALSE(absl::StrContains(bytes, "penstock"));
    files.Put("/d/" + output.file_name, bytes);
  }
  files.Put("/d/" + plan.index_file_name, plan.index_json);
  const auto back =
      OpenForeign(FileKind::kJson,
                  *files.OpenRead("/d/" + plan.index_file_name), {{&files}});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->root.kind(), NodeKind::kList);
  EXPECT_EQ(back->root.size(), 2);
}

}  // namespace
}  // namespace penstock
