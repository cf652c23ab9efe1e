#include "compat/dcp_directory.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/dcp_testing.h"
#include "compat/file_kind.h"
#include "compat/open_foreign.h"
#include "compat/parts_testing.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using Dims = std::vector<int64_t>;

// Numbers from 0 on, of four bytes.
std::string Counted(int64_t first, int64_t count) {
  std::string bytes;
  for (int64_t i = first; i < first + count; ++i) {
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(i >> shift));
    }
  }
  return bytes;
}

// The part of a counted tensor that `box` is, in C order.
std::string BoxOf(const Dims& shape, const Dims& begin, const Dims& size) {
  std::string bytes;
  const int64_t count = std::accumulate(size.begin(), size.end(), int64_t{1},
                                        std::multiplies<>());
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    int64_t index = 0;
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      index += (begin[d] + rest % size[d]) * stride;
      rest /= size[d];
      stride *= shape[d];
    }
    bytes += Counted(index, 1);
  }
  return bytes;
}

class DcpTest : public testing::Test {
 protected:
  // A slice of /d/__0_0.distcp.
  TestChunk Put(const std::string& slice, Dims offsets = {}, Dims sizes = {}) {
    TestChunk chunk{std::move(offsets),
                    std::move(sizes),
                    "__0_0.distcp",
                    static_cast<int64_t>(data_.size()),
                    static_cast<int64_t>(slice.size()),
                    {}};
    data_ += slice;
    return chunk;
  }

  // A counted tensor in these chunks.
  TestEntry Split(std::string name, const Dims& shape,
                  const std::vector<std::pair<Dims, Dims>>& boxes) {
    TestEntry entry{std::move(name), {}, shape, {}};
    for (const auto& [begin, size] : boxes) {
      entry.chunks.push_back(
          Put(SliceOf(TensorOfBytes(BoxOf(shape, begin, size), DType::kFloat32,
                                    size)),
              begin, size));
    }
    return entry;
  }

  absl::StatusOr<ForeignFile> Open(const std::vector<TestEntry>& entries,
                                   DcpKeys keys = DcpKeys::kAsTheyAre) {
    files_.Put("/d/.metadata", DcpPickler().Pickle(entries));
    files_.Put("/d/__0_0.distcp", data_);
    return OpenForeign(FileKind::kPickle, *files_.OpenRead("/d/.metadata"),
                       {{&files_}, keys});
  }

  void ExpectRefused(const std::vector<TestEntry>& entries,
                     absl::StatusCode code, absl::string_view words) {
    const absl::Status status = Open(entries).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), "/d/.metadata: "));
  }

  MemoryFileSystem files_;
  std::string data_ = "some bytes before";
};

TEST_F(DcpTest, TheTreeIsThatOfThePaths) {
  const Tensor tensor = TensorOfBytes("abcd", DType::kFloat32, {});
  std::vector<TestEntry> entries;
  const auto add = [&](std::vector<std::string> path) {
    entries.push_back({absl::StrCat("n", entries.size()),
                       std::move(path),
                       {},
                       {Put(SliceOf(tensor))}});
  };
  add({"model", "w"});
  add({"opt", "state", "0", "step"});
  add({"opt", "state", "01", "step"});
  add({"list", "#2"});
  add({"list", "#0", "x"});
  add({});
  entries.push_back(
      {"text", {"model", "text"}, {}, {Put(SliceOf("word"))}, false});
  const auto file = Open(entries, DcpKeys::kIntsUnderState);
  ASSERT_TRUE(file.ok()) << file.status();
  const Value& root = file->root;
  ASSERT_EQ(root.size(), 4);
  EXPECT_EQ(BytesOfTensor(*file, root.Find("model").Find("w")), "abcd");
  EXPECT_EQ(root.Find("model").Find("text").AsBytes(), "word");
  const Value state = root.Find("opt").Find("state");
  ASSERT_EQ(state.key(0).kind(), NodeKind::kInt);
  EXPECT_EQ(state.key(0).AsInt(), 0);
  EXPECT_EQ(state.key(1).AsBytes(), "01");
  const Value list = root.Find("list");
  ASSERT_EQ(list.size(), 3);
  EXPECT_EQ(list.item(1).kind(), NodeKind::kNone);
  EXPECT_EQ(list.item(0).Find("x").kind(), NodeKind::kTensor);
  EXPECT_EQ(root.Find("n5").kind(), NodeKind::kTensor);
  EXPECT_EQ(file->writer, "torch.distributed.checkpoint (version 1.0.0)");
  EXPECT_EQ(file->file, nullptr);
  const auto as_text = Open(entries);
  ASSERT_TRUE(as_text.ok());
  EXPECT_EQ(as_text->root.Find("opt").Find("state").key(0).AsBytes(), "0");
}

TEST_F(DcpTest, ChunksBecomeOneTensorHoweverItIsCut) {
  const auto file = Open({
      Split("rows", {5, 3}, {{{2, 0}, {3, 3}}, {{0, 0}, {2, 3}}}),
      Split("columns", {3, 5}, {{{0, 0}, {3, 2}}, {{0, 2}, {3, 3}}}),
      Split("grid", {4, 6},
            {{{0, 0}, {2, 3}},
             {{0, 3}, {2, 3}},
             {{2, 0}, {2, 1}},
             {{2, 1}, {2, 5}}}),
      Split("middle", {2, 4, 3},
            {{{0, 0, 0}, {2, 1, 3}}, {{0, 1, 0}, {2, 3, 3}}}),
      Split("empty rank", {4}, {{{0}, {4}}, {{4}, {0}}}),
      Split("none", {0, 3}, {{{0, 0}, {0, 3}}}),
      Split("whole", {2, 2}, {{{0, 0}, {2, 2}}}),
  });
  ASSERT_TRUE(file.ok()) << file.status();
  const auto expect = [&](const char* name, const Dims& shape) {
    const Value value = file->root.Find(name);
    const Tensor tensor = value.AsTensor();
    EXPECT_EQ(Dims(tensor.shape().begin(), tensor.shape().end()), shape);
    EXPECT_TRUE(tensor.is_contiguous());
    if (tensor.num_elements() == 0) return;
    EXPECT_EQ(BytesOfTensor(*file, value), Counted(0, tensor.num_elements()))
        << name;
  };
  expect("rows", {5, 3});
  expect("columns", {3, 5});
  expect("grid", {4, 6});
  expect("middle", {2, 4, 3});
  expect("empty rank", {4});
  expect("none", {0, 3});
  expect("whole", {2, 2});
}

// [3, 4] as two transposed halves: memory has the order of their strides.
TEST_F(DcpTest, ChunksThatAreTransposedStaySo) {
  TestEntry entry{"t", {}, {3, 4}, {}};
  entry.chunks.push_back(Put(
      SliceOf(TensorOfBytes(Counted(0, 6), DType::kFloat32, {3, 2}, {1, 3})),
      {0, 0}, {3, 2}));
  entry.chunks.push_back(Put(
      SliceOf(TensorOfBytes(Counted(6, 6), DType::kFloat32, {3, 2}, {1, 3})),
      {0, 2}, {3, 2}));
  const auto file = Open({entry});
  ASSERT_TRUE(file.ok()) << file.status();
  const Value value = file->root.Find("t");
  EXPECT_EQ(value.AsTensor().strides(), absl::Span<const int64_t>(Dims{1, 3}));
  EXPECT_EQ(BytesOfTensor(*file, value), Counted(0, 12));

  entry.chunks[1] =
      Put(SliceOf(TensorOfBytes(Counted(6, 6), DType::kFloat32, {3, 2})),
          {0, 2}, {3, 2});
  ExpectRefused({entry}, absl::StatusCode::kUnimplemented, "unlike orders");
}

// Any range of elements, and samples of any bytes.
TEST_F(DcpTest, GivesAnyPartOfAnAssembledTensor) {
  const auto file = Open({Split("t", {7, 5, 6},
                                {{{0, 0, 0}, {3, 5, 2}},
                                 {{0, 0, 2}, {3, 5, 4}},
                                 {{3, 0, 0}, {4, 5, 6}}})});
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string whole = Counted(0, 210);
  const auto storage = file->root.Find("t").AsTensor().storage();
  const auto source = file->new_source();
  std::mt19937 random(7);
  Slot slot;
  for (int i = 0; i < 500; ++i) {
    const auto begin = static_cast<int64_t>(random() % 210);
    const auto end = begin + 1 + static_cast<int64_t>(random() % (210 - begin));
    const Plan plan = PlanRange(storage, 4 * begin, 4 * end);
    const auto bytes = source->Bytes(plan, plan.chunks[0], slot, nullptr);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(std::string(bytes->begin(), bytes->end()),
              whole.substr(4 * begin, 4 * (end - begin)));
    std::string sample(1 + random() % 20, '\0');
    const auto at =
        static_cast<int64_t>(random() % (whole.size() - sample.size()));
    ASSERT_TRUE(
        source
            ->Sample(*storage, at,
                     absl::MakeSpan(reinterpret_cast<uint8_t*>(sample.data()),
                                    sample.size()))
            .ok());
    EXPECT_EQ(sample, whole.substr(at, sample.size()));
  }
  const Plan odd = PlanRange(storage, 2, 8);
  EXPECT_EQ(source->Bytes(odd, odd.chunks[0], slot, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DcpTest, ChecksTheCrcOfEveryChunk) {
  const TestEntry entry =
      Split("t", {2, 3}, {{{0, 0}, {2, 1}}, {{0, 1}, {2, 2}}});
  const size_t place = data_.find(BoxOf({2, 3}, {0, 1}, {2, 2}));
  ASSERT_NE(place, std::string::npos);
  data_[place + 5] ^= 4;
  const auto file = Open({entry});
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status read = ReadAllStorages(*file).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(read.message(), "zip_crc_mismatch")) << read;
  EXPECT_TRUE(absl::StrContains(read.message(), "/d/__0_0.distcp")) << read;
  EXPECT_TRUE(absl::StrContains(read.message(), absl::StrCat(place))) << read;
}

TEST_F(DcpTest, RefusesChunksThatDoNotFitTogether) {
  using Code = absl::StatusCode;
  ExpectRefused({Split("t", {4}, {{{0}, {2}}})}, Code::kDataLoss,
                "tensor_bounds: its chunks hold 2 elements of 4");
  ExpectRefused({Split("t", {4}, {{{0}, {3}}, {{2}, {2}}})}, Code::kDataLoss,
                "tensor_bounds: its chunks overlap");
  ExpectRefused({Split("t", {4}, {})}, Code::kDataLoss, "tensor_bounds");
  TestEntry beyond = Split("t", {4}, {{{0}, {4}}});
  beyond.shape = {3};
  ExpectRefused({beyond}, Code::kDataLoss, "is not within size [3]");
  TestEntry other_size = Split("t", {4}, {{{0}, {4}}});
  other_size.shape = {2, 2};
  other_size.chunks[0].offsets = {0, 0};
  other_size.chunks[0].sizes = {2, 2};
  ExpectRefused({other_size}, Code::kDataLoss, "tensor_args");
  TestEntry other_type = Split("t", {4}, {{{0}, {4}}});
  other_type.dtype = "int32";
  ExpectRefused({other_type}, Code::kDataLoss, "storage_dtype_conflict");
  TestEntry huge = Split("t", {4}, {{{0}, {4}}});
  huge.shape = {int64_t{1} << 62, int64_t{1} << 62};
  huge.chunks.clear();
  ExpectRefused({huge}, Code::kDataLoss, "tensor_overflow");
}

TEST_F(DcpTest, RefusesSlicesThatLie) {
  using Code = absl::StatusCode;
  const TestEntry good = Split("t", {4}, {{{0}, {4}}});
  TestEntry bad = good;
  bad.chunks[0].length = static_cast<int64_t>(data_.size()) + 1;
  ExpectRefused({bad}, Code::kDataLoss, "storage_size");
  bad = good;
  bad.chunks[0].offset = INT64_MAX;
  ExpectRefused({bad}, Code::kDataLoss, "storage_size");
  bad = good;
  bad.chunks[0].offset -= 1;
  ExpectRefused({bad}, Code::kDataLoss, "/d/__0_0.distcp");
  bad = good;
  bad.chunks[0].transforms = {"zstd"};
  ExpectRefused({bad}, Code::kUnimplemented, "transforms: \"zstd\"");
  for (const char* name :
       {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b"}) {
    bad = good;
    bad.chunks[0].file = name;
    ExpectRefused({bad}, Code::kDataLoss, "zip_bad_name");
  }
  bad = good;
  bad.chunks[0].file = "__1_0.distcp";
  ExpectRefused({bad}, Code::kNotFound, "storage_missing: /d/__1_0.distcp");
  // The same bytes twice would make a checkpoint larger than its files.
  bad = good;
  bad.name = "u";
  ExpectRefused({good, bad}, Code::kDataLoss, "overlap");
}

TEST_F(DcpTest, RefusesPathsThatAreTwoThings) {
  TestEntry a = Split("a", {1}, {{{0}, {1}}});
  TestEntry b = Split("b", {1}, {{{0}, {1}}});
  for (const auto& [first, second] : std::vector<
           std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"x"}, {"x", "y"}},
           {{"x", "y"}, {"x"}},
           {{"x", "y"}, {"x", "#0"}},
           {{"x"}, {"x"}},
           {{"x"}, {"#0"}}}) {
    a.path = first;
    b.path = second;
    ExpectRefused({a, b}, absl::StatusCode::kDataLoss, "dcp_metadata");
  }
  a.path = {"x", "#1000000000000"};
  ExpectRefused({a}, absl::StatusCode::kResourceExhausted, "pickle_limit");
}

TEST_F(DcpTest, EveryTruncationOfTheMetadataIsRefused) {
  ASSERT_TRUE(Open({Split("t", {4}, {{{0}, {2}}, {{2}, {2}}})}).ok());
  const std::string whole = *files_.Get("/d/.metadata");
  for (size_t size = 0; size < whole.size(); ++size) {
    files_.Put("/d/.metadata", whole.substr(0, size));
    const auto opened = OpenForeign(
        FileKind::kPickle, *files_.OpenRead("/d/.metadata"), {{&files_}});
    EXPECT_FALSE(opened.ok()) << size;
  }
}

// Any bit: opened, or refused; what is given out is never of another size.
TEST_F(DcpTest, NoBitFlipOfTheMetadataIsTakenForGranted) {
  ASSERT_TRUE(Open({Split("t", {4}, {{{0}, {2}}, {{2}, {2}}})}).ok());
  const std::string whole = *files_.Get("/d/.metadata");
  int num_refused = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] ^= 1 << bit % 8;
    files_.Put("/d/.metadata", damaged);
    const auto opened = OpenForeign(
        FileKind::kPickle, *files_.OpenRead("/d/.metadata"), {{&files_}});
    if (!opened.ok()) {
      ++num_refused;
      continue;
    }
    const auto bytes = ReadAllStorages(*opened);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (const std::string& storage : *bytes) {
      EXPECT_EQ(storage, Counted(0, 4));
    }
  }
  EXPECT_GT(num_refused, static_cast<int>(whole.size()) * 2);
}

TEST_F(DcpTest, OneOfItsFilesSaysWhatToGive) {
  ASSERT_TRUE(Open({Split("t", {4}, {{{0}, {4}}})}).ok());
  const absl::Status status =
      OpenForeign(FileKind::kZip, *files_.OpenRead("/d/__0_0.distcp"),
                  {{&files_}})
          .status();
  EXPECT_TRUE(absl::StrContains(status.message(), "give its directory, /d"))
      << status;
}

}  // namespace
}  // namespace penstock
