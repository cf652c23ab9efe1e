#include "compat/pt_sink.h"

#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compat/golden_checkpoints.h"
#include "compat/pt_file.h"
#include "core/status_macros.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sha256.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

TEST(Sha256Test, HasTheStandardsDigests) {
  EXPECT_EQ(Sha256Hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

struct Golden {
  const char* name;
  Value (*make)();
  size_t file_bytes;
  const char* id;
  const char* sha256;
};

void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.name; }

class GoldenFileTest : public testing::TestWithParam<Golden> {};

// Digests of files that torch 2.13.0 itself wrote.
TEST_P(GoldenFileTest, IsTorchsByteForByte) {
  const absl::StatusOr<std::string> file = WritePt(GetParam().make(), "golden");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(*file, HasSubstr(GetParam().id));
  EXPECT_EQ(file->size(), GetParam().file_bytes);
  EXPECT_EQ(Sha256Hex(*file), GetParam().sha256);
}

INSTANTIATE_TEST_SUITE_P(
    Torch, GoldenFileTest,
    testing::Values(
        Golden{"G1", GoldenG1, 1570, "1572819951185464302605823121648058084398",
               "c4ae9c27c2627b332439ffa4f6fced1927bf94031b388daba8d8f1c4bc2034a"
               "d"},
        Golden{"G5", GoldenG5, 1698, "1572819951185464302607516763087027888050",
               "df178131821bb161fe19e0ae998b777f6c68654cd7060346ab8fa762705c987"
               "1"},
        Golden{"G6", GoldenG6, 1634, "1572819951185464302605802409313015590779",
               "411246b4fd1079e5d29b24dc7c2d16ff0be6ac7fb2a4ff2120ac9c533f4db4e"
               "e"},
        Golden{"G7", GoldenG7, 1634, "1572819951185464302606444382271241704686",
               "da16203f7c4dbe71d409f00c92dc351bc50e2f1486262a74cc29ecf22985331"
               "3"},
        Golden{"G8", GoldenG8, 1447, "0290846867776292310400069893864772228705",
               "2ea9fa9aaac269ca09dc9c5cf5529b9de6db5e26bc80dec08a0a49aa8f938fd"
               "2"},
        Golden{"G9", GoldenG9, 4205, "1306957282387717882717161865505367877832",
               "cce9056dc6af1ba5c238ecde71f67ca63d226b9169fe8c21681f30b1841c408"
               "9"},
        Golden{"G10", GoldenG10, 1506,
               "1572819951185464302600056635452337848455",
               "8289498d89f29db2b70e18aa5079e1ee3d9d5709b4809b2e62100d6b984d192"
               "2"}),
    [](const testing::TestParamInfo<Golden>& golden) {
      return std::string(golden.param.name);
    });

// Digests of files that torch 1.13 itself wrote; G6 it does not know.
TEST(GoldenT16Test, IsTorch113sByteForByte) {
  struct Case {
    const char* name;
    Value (*make)();
    size_t file_bytes;
    const char* sha256;
  };
  const Case cases[] = {
      {"G1", GoldenG1, 744,
       "641608d70f1db55f0f17ea679ddbd2a985337fa704acd9fbf8731650655d1db7"},
      {"G5", GoldenG5, 872,
       "e46dc54e237b915cfc5b84bbe16794da8797ff4101db68383ea9f5dc76bde7ee"},
      {"G7", GoldenG7, 808,
       "95e130f73ac31b1f1328e917be0c54e8f834b9227f1c3b82fb3ee66049842dd5"},
      {"G8", GoldenG8, 621,
       "715dc313de212ffbf9fe19f77fb7b5e5615ba5faa4520d408058ff88e61642e4"},
      {"G9", GoldenG9, 3379,
       "dac39690fc1cce61df4ce6f5eb4edbf52de5a9badac6cb5d015be208af0711b9"},
      {"G10", GoldenG10, 680,
       "d8fc16ea8f2518c4e4aeb9011a3795d11fa79108642be4de86b44be6823c236d"},
  };
  PtSinkOptions options;
  options.profile = PtProfile::kT16;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string file = WritePt(c.make(), "golden", options).value();
    EXPECT_EQ(file.size(), c.file_bytes);
    EXPECT_EQ(Sha256Hex(file), c.sha256);
  }
}

// Many storages of all sizes around the chunk's, with runs of empty ones at the
// start, within and at the end, and one that looks like a data descriptor.
Value MixedCheckpoint() {
  std::mt19937 random(17);
  const int64_t sizes[] = {0,     0,       1,       7,         8,       63, 64,
                           0,     0,       65,      3'000'001, 1 << 20, 0,  12,
                           65536, 1 << 21, 200'000, 900'000,   0,       0};
  GraphBuilder b;
  const NodeId root = b.Dict();
  int number = 0;
  for (const int64_t size : sizes) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = random();
    if (size == 12 || size == 7) {
      const uint8_t signature[] = {'P', 'K', 7, 8};
      std::copy(signature, signature + 4, bytes.begin());
    }
    b.SetItem(root, b.Str(absl::StrCat("s", number++)),
              AddTensor(b, StorageOf(bytes), DType::kUInt8, {size}))
        .IgnoreError();
  }
  return std::move(b).Finish(root).value();
}

// Reads a file back, whole, into memory.
absl::StatusOr<Value> ReadBack(const std::string& bytes) {
  PENSTOCK_ASSIGN_OR_RETURN(ForeignFile pt,
                            OpenPt(FileFromString(bytes, "x.pt")));
  std::vector<std::shared_ptr<const Storage>> storages;
  std::vector<MemorySink::Window> windows;
  for (const auto& storage : pt.root.graph()->storages()) {
    PENSTOCK_ASSIGN_OR_RETURN(auto target,
                              Storage::Allocate(storage->size_bytes()));
    storages.push_back(target);
    windows.push_back({target, 0});
  }
  MemorySink sink(windows);
  auto source = pt.new_source();
  const Plan plan = PlanInOrder(pt.root.graph()->storages());
  PENSTOCK_RETURN_IF_ERROR(Pump(plan, *source, sink, PumpOptions()).status());
  EXPECT_EQ(source->unverified_bytes(), 0);
  PENSTOCK_ASSIGN_OR_RETURN(auto graph,
                            pt.root.graph()->WithStorages(storages));
  return Value(graph, pt.root.id());
}

void ExpectSame(const Value& a, const Value& b) {
  const absl::Status same = CompareValues(a, b);
  EXPECT_TRUE(same.ok()) << same;
}

TEST(PtSinkTest, RoundTripsStoragesOfAllSizes) {
  const Value root = MixedCheckpoint();
  for (const int64_t alignment : {1, 3, 64, 4096, 65536}) {
    SCOPED_TRACE(alignment);
    for (const PtProfile profile : {PtProfile::kT27, PtProfile::kT16}) {
      PtSinkOptions options;
      options.alignment = alignment;
      options.profile = profile;
      const auto file = WritePt(root, "mixed", options);
      ASSERT_TRUE(file.ok()) << file.status();
      const auto back = ReadBack(*file);
      ASSERT_TRUE(back.ok()) << back.status();
      ExpectSame(root, *back);
    }
  }
}

TEST(PtSinkTest, RoundTripsEveryDType) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  for (int code = 0; code < kNumDTypes; ++code) {
    const DType dtype = *DTypeFromCode(code);
    const int64_t size = *BytesFor(dtype, 12);
    auto storage = StorageOfRange<uint8_t>(size);
    b.SetItem(root, b.Str(InfoOf(dtype).name),
              AddTensor(b, storage, dtype, {3, 4}))
        .IgnoreError();
  }
  const Value value = std::move(b).Finish(root).value();
  const auto file = WritePt(value, "dtypes");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto back = ReadBack(*file);
  ASSERT_TRUE(back.ok()) << back.status();
  ExpectSame(value, *back);
}

// The stages of the pump by hand, in any order that it may choose.
TEST(PtSinkTest, GivesTheSameBytesInAnyOrderOfWork) {
  const Value root = MixedCheckpoint();
  const std::string expected = WritePt(root, "mixed").value();
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    MemoryFileSystem files;
    auto file = files.Create("f", CreateOptions()).value();
    auto sink = PtSink::Create(*file, root, "mixed").value();
    const Plan& plan = sink->plan();
    MemorySource source;
    std::vector<Slot> slots(plan.chunks.size());
    std::vector<size_t> order(plan.chunks.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) {
      const Chunk& chunk = plan.chunks[i];
      const auto bytes = source.Bytes(plan, chunk, slots[i], nullptr);
      ASSERT_TRUE(bytes.ok());
      ASSERT_TRUE(sink->Encode(plan, chunk, *bytes, slots[i]).ok());
    }
    for (size_t i = 0; i < slots.size(); ++i) {
      ASSERT_TRUE(sink->Place(plan, plan.chunks[i], slots[i]).ok());
    }
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) {
      ASSERT_TRUE(sink->Write(plan, plan.chunks[i], slots[i]).ok());
    }
    ASSERT_TRUE(sink->Finish(plan).ok());
    ASSERT_TRUE(file->Close().ok());
    EXPECT_TRUE(files.Get("f").value() == expected) << seed;
    EXPECT_EQ(sink->FinalSize(), static_cast<int64_t>(expected.size()));
  }
}

// A pipe: bytes come one behind the other, or not at all.
class PipeFile : public WritableFile {
 public:
  absl::Status Write(int64_t offset, absl::Span<const uint8_t> bytes) override {
    if (offset != static_cast<int64_t>(written.size())) {
      return absl::InternalError("a pipe cannot seek");
    }
    written.append(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  absl::Status Allocate(int64_t) override { return absl::OkStatus(); }
  absl::Status Truncate(int64_t) override {
    return absl::InternalError("a pipe cannot be truncated");
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  bool direct() const override { return false; }
  bool sequential() const override { return true; }
  const std::string& path() const override { return path_; }

  std::string written;

 private:
  std::string path_ = "pipe";
};

TEST(PtSinkTest, WritesTheSameBytesToAPipe) {
  const Value root = MixedCheckpoint();
  PipeFile pipe;
  auto sink = PtSink::Create(pipe, root, "mixed").value();
  MemorySource source;
  PumpOptions options;
  options.threads = 4;
  const auto stats = Pump(sink->plan(), source, *sink, options);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_TRUE(pipe.written == WritePt(root, "mixed").value());
}

TEST(PtSinkTest, WritesTheSameBytesAroundThePageCache) {
  const Value root = MixedCheckpoint();
  MemoryFileSystem::Options memory;
  memory.accept_direct = true;
  MemoryFileSystem files(memory);
  CreateOptions create;
  create.caching = Caching::kDirect;
  auto file = files.Create("f", create).value();
  ASSERT_TRUE(file->direct());
  auto sink = PtSink::Create(*file, root, "mixed").value();
  MemorySource source;
  const auto stats = Pump(sink->plan(), source, *sink, PumpOptions());
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_TRUE(file->Close().ok());
  EXPECT_TRUE(files.Get("f").value() == WritePt(root, "mixed").value());
}

TEST(PtSinkTest, ReportsAFullDiskWhereverItFills) {
  const Value root = MixedCheckpoint();
  const int64_t size = static_cast<int64_t>(WritePt(root, "m").value().size());
  for (int64_t capacity = 0; capacity < size; capacity += size / 13) {
    MemoryFileSystem::Options memory;
    memory.capacity_bytes = capacity;
    MemoryFileSystem files(memory);
    auto file = files.Create("f", CreateOptions()).value();
    auto sink = PtSink::Create(*file, root, "m").value();
    MemorySource source;
    EXPECT_EQ(Pump(sink->plan(), source, *sink, PumpOptions()).status().code(),
              absl::StatusCode::kResourceExhausted)
        << capacity;
  }
}

TEST(PtSinkTest, RewritesAFileFromItsOwnSource) {
  const std::string first = WritePt(MixedCheckpoint(), "mixed").value();
  const auto pt = OpenPt(FileFromString(first, "mixed.pt"));
  ASSERT_TRUE(pt.ok()) << pt.status();
  const auto source = pt->new_source();
  const auto second = WritePtFrom(pt->root, "mixed", *source);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(*second == first);
}

// Says for the first chunk that it took CRCs, which are made up.
class CrcSource : public MemorySource {
 public:
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    EXPECT_TRUE(slot.crcs.empty());
    if (chunk.number == 0) slot.crcs.assign(chunk.num_pieces, 0xABCD1234);
    return MemorySource::Bytes(plan, chunk, slot, target);
  }
  bool LendPieces(const Plan&, const Chunk&, Slot&) override { return false; }
};

// A CRC that the source took is written and not taken again, and those of one
// chunk are not taken for the next one's in the same slot.
TEST(PtSinkTest, WritesTheCrcsThatTheSourceTook) {
  GraphBuilder b;
  std::vector<NodeId> tensors;
  for (int i = 0; i < 7; ++i) {
    const auto storage = Storage::Allocate(3 << 20).value();
    std::memset(storage->mutable_bytes().data(), i, 3 << 20);
    tensors.push_back(
        b.Tensor(Tensor::Make(storage, DType::kUInt8, {3 << 20}).value()));
  }
  const NodeId list = b.List(tensors);
  const Value root = std::move(b).Finish(list).value();
  const std::string right = WritePt(root, "mixed").value();
  MemoryFileSystem files;
  auto file = files.Create("f", CreateOptions()).value();
  auto sink = PtSink::Create(*file, root, "mixed").value();
  ASSERT_GT(sink->plan().chunks.size(), 4);
  PumpOptions options;
  options.threads = 1;
  CrcSource source;
  const auto stats = Pump(sink->plan(), source, *sink, options);
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_TRUE(file->Close().ok());
  const std::string written = files.Get("f").value();
  EXPECT_THAT(written, HasSubstr("\x34\x12\xCD\xAB"));
  ASSERT_EQ(written.size(), right.size());
  const auto differing =
      std::inner_product(right.begin(), right.end(), written.begin(),
                         int64_t{0}, std::plus<>(), std::not_equal_to<>());
  // The CRC of a record stands behind it and in the directory; the file's own
  // id, of 40 digits and with a CRC, comes from all of them.
  EXPECT_LE(differing, 8 * sink->plan().chunks[0].num_pieces + 48);
}

// More records than a plain end can count.
TEST(PtSinkTest, CountsSeventyThousandTensors) {
  GraphBuilder b;
  const NodeId root = b.Dict();
  constexpr int kTensors = 70'000;
  for (int i = 0; i < kTensors; ++i) {
    b.SetItem(root, b.Str(absl::StrCat("t", i)),
              AddTensor(b, StorageOf<float>({static_cast<float>(i)}),
                        DType::kFloat32, {}))
        .IgnoreError();
  }
  const Value value = std::move(b).Finish(root).value();
  const auto file = WritePt(value, "many");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->substr(file->size() - 14, 4), "\xFF\xFF\xFF\xFF");
  const auto back = ReadBack(*file);
  ASSERT_TRUE(back.ok()) << back.status();
  ExpectSame(value, *back);
}

TEST(PtSinkTest, RefusesArchiveNamesThatAreNoComponent) {
  MemoryFileSystem files;
  auto file = files.Create("f", CreateOptions()).value();
  const Value root = GoldenG1();
  for (const char* name : {"", "a/b", "a\\b", "..", "\xFF"}) {
    EXPECT_EQ(PtSink::Create(*file, root, name).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
  PtSinkOptions options;
  options.alignment = 0;
  EXPECT_FALSE(PtSink::Create(*file, root, "a", options).ok());
}

TEST(ArchiveNameTest, FollowsTorch) {
  EXPECT_EQ(ArchiveNameFor("/x/a.b.pt").value(), "a.b");
  EXPECT_EQ(ArchiveNameFor("noext").value(), "noext");
  EXPECT_EQ(ArchiveNameFor("d\\x.pt").value(), "x");
  EXPECT_EQ(ArchiveNameFor("x.y/tensor.half.BE.pt").value(), "tensor.half.BE");
  EXPECT_EQ(ArchiveNameFor("m\u00fc.pt").value(), "archive");
  EXPECT_FALSE(ArchiveNameFor(".pt").ok());
  EXPECT_FALSE(ArchiveNameFor("x/").ok());
}

}  // namespace
}  // namespace penstock
