#include "compat/legacy_file.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codec/plan.h"
#include "codec/slot.h"
#include "compat/legacy_testing.h"
#include "compat/pickle_reader.h"
#include "compat/pickle_testing.h"
#include "compat/skeleton_testing.h"
#include "core/memory_file_system.h"
#include "core/tensor.h"
#include "core/value.h"
#include "core/value_compare.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<ForeignFile> Open(const std::string& bytes) {
  return OpenLegacy(FileFromString(bytes, "test.pth"));
}

absl::StatusOr<ForeignFile> Open(const LegacyStream& stream) {
  return Open(stream.bytes());
}

// The bytes of a tensor in C order, from its first to its last element.
std::string BytesOf(const ForeignFile& file, const Tensor& tensor) {
  const ByteRange range = tensor.byte_range();
  std::string bytes(range.size(), '\0');
  const absl::Status read = file.new_source()->Sample(
      *tensor.storage(), range.begin,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()));
  EXPECT_TRUE(read.ok()) << read;
  return bytes;
}

void ExpectRefused(const LegacyStream& stream, const std::string& name,
                   const std::string& words) {
  const auto file = Open(stream);
  ASSERT_FALSE(file.ok()) << name;
  EXPECT_THAT(std::string(file.status().message()),
              AllOf(HasSubstr(name), HasSubstr(words), HasSubstr("test.pth")));
}

TEST(OpenLegacyTest, ReadsOneTensor) {
  const auto file = Open(LegacyStream());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->format, ForeignFormat::kPtLegacy);
  EXPECT_THAT(file->warnings, IsEmpty());
  const Tensor tensor = file->root.AsTensor();
  EXPECT_EQ(tensor.dtype(), DType::kFloat32);
  EXPECT_EQ(BytesOf(*file, tensor), "abcdefghijkl");
  ASSERT_EQ(file->extents.size(), 1u);
  ExpectExtentsHold(*file);
}

TEST(OpenLegacyTest, ReadsWhatTorchWritesAtProtocols1And4) {
  for (absl::string_view hex : {kLegacy1, kLegacy4}) {
    const auto file = Open(absl::HexStringToBytes(hex));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT(file->warnings, IsEmpty());
    const Tensor tensor = file->root.Find("w").AsTensor();
    const float expected[] = {1.5f, -2.0f};
    EXPECT_EQ(BytesOf(*file, tensor),
              std::string(reinterpret_cast<const char*>(expected), 8));
    ExpectExtentsHold(*file);
  }
}

TEST(OpenLegacyTest, RefusesEveryTruncationAndCountsWhatIsMissing) {
  const std::string whole = LegacyStream().bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    const auto file = Open(whole.substr(0, size));
    ASSERT_FALSE(file.ok());
    const std::string message(file.status().message());
    if (size + 20 >= whole.size()) {
      EXPECT_THAT(message,
                  HasSubstr(absl::StrCat("in all ", whole.size() - size,
                                         " bytes are missing")));
    } else {
      EXPECT_THAT(message, HasSubstr("pickle_truncated"));
    }
  }
}

// The format has no checksums: a flip may go unseen, but then every byte that
// is given out counts as unverified, and is one of the file.
TEST(OpenLegacyTest, NoBitFlipReachesBeyondTheFile) {
  const std::string whole = LegacyStream().bytes();
  int num_refused = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    SCOPED_TRACE(bit);
    std::string damaged = whole;
    damaged[bit / 8] ^= 1 << (bit % 8);
    const auto file = Open(damaged);
    if (!file.ok()) {
      ++num_refused;
      continue;
    }
    ExpectExtentsHold(*file);
    const Plan plan = PlanInOrder(file->root.graph()->storages());
    const auto source = file->new_source();
    Slot slot;
    for (const Chunk& chunk : plan.chunks) {
      ASSERT_TRUE(source->Bytes(plan, chunk, slot, nullptr).ok());
    }
    EXPECT_EQ(source->unverified_bytes(), plan.total_bytes);
  }
  EXPECT_GT(num_refused, static_cast<int>(whole.size()));
}

TEST(OpenLegacyTest, WantsTheMagicNumberItself) {
  LegacyStream stream;
  stream.magic[5] ^= 1;
  ExpectRefused(stream, "legacy_magic", "0x1950A86A20F9469CFC6C");
  stream.magic = Pickle(absl::StrCat(
      "c__builtin__\neval\n", PickledStr("0x1950A86A20F9469CFC6C"), "\x85R"));
  ExpectRefused(stream, "legacy_magic", "torch refuses it");
  stream = LegacyStream();
  stream.version = Pickle("M\xea\x03");
  ExpectRefused(stream, "legacy_version", "expected 1001, found 1002");
  stream.version = Pickle("N");
  ExpectRefused(stream, "legacy_version", "found something else");
}

TEST(OpenLegacyTest, WarnsOfASysInfoThatSaysNothing) {
  LegacyStream stream;
  stream.sys_info = Pickle("N");
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("little_endian")));
}

TEST(OpenLegacyTest, WantsEveryStorageOnceInTheKeys) {
  LegacyStream stream;
  stream.keys = PickledKeys({});
  ExpectRefused(stream, "legacy_keys", "lacks storage 7");
  stream.keys = PickledKeys({"7", "8"});
  ExpectRefused(stream, "legacy_keys", "nothing refers to storage \"8\"");
  stream.keys = PickledKeys({"7", "7"});
  ExpectRefused(stream, "legacy_keys", "twice");
  stream.keys = Pickle("N");
  ExpectRefused(stream, "legacy_keys", "no list");
  stream.keys = Pickle(
      "](K\x07"
      "e");
  ExpectRefused(stream, "legacy_keys", "item 0 of 1");
}

TEST(OpenLegacyTest, TakesKeysOfPython2) {
  LegacyStream stream;
  stream.keys = Pickle(
      "](U\x01"
      "7e");
  EXPECT_TRUE(Open(stream).ok());
}

TEST(OpenLegacyTest, ComparesTheSizesInBothPlaces) {
  const std::string payload(12, 'x');
  LegacyStream stream;
  for (uint64_t count : {uint64_t{2}, ~uint64_t{0}, uint64_t{1} << 62}) {
    stream.storages = StoredStorage(count, payload);
    ExpectRefused(stream, "legacy_size", "elements");
  }
  stream.storages = StoredStorage(uint64_t{3} << 56, payload);
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("torch refuses")));
}

TEST(OpenLegacyTest, RefusesStoragesOfOver63Bits) {
  LegacyStream stream;
  const int64_t huge = (int64_t{1} << 61) - 1;  // elements
  stream.object = Pickle(
      absl::StrCat("(", PickledStorage({"1", "torch\nFloatStorage", huge}),
                   PickledStorage({"2", "torch\nFloatStorage", huge}), "t"));
  stream.keys = PickledKeys({"1", "2"});
  ExpectRefused(stream, "legacy_size", "2^63");
}

TEST(OpenLegacyTest, StopsBehindTheFirstObject) {
  const std::string first = LegacyStream().bytes();
  LegacyStream second;
  second.storages = StoredStorage(3, "mnopqrstuvwx");
  const auto file = Open(first + second.bytes() + Pickle("N"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(BytesOf(*file, file->root.AsTensor()), "abcdefghijkl");
  EXPECT_THAT(file->warnings,
              ElementsAre(AllOf(
                  HasSubstr(absl::StrCat(second.bytes().size() + 4, " bytes")),
                  HasSubstr(absl::StrCat("offset ", first.size())))));
  ExpectExtentsHold(*file);
}

// As torch up to 0.4.0: tensors count from the start of a part of a storage.
LegacyStream StreamOfViews() {
  LegacyStream stream;
  StorageId id;
  id.count = 6;
  id.view = PickledView("8", 2, 4);
  const std::string whole = PickledStorage({"7", "torch\nFloatStorage", 6});
  stream.object =
      Pickle(absl::StrCat("(", PickledTensor(PickledStorage(id), 1, 3),
                          PickledTensor(PickledStorage(id), 0, 4),
                          PickledTensor(whole, 0, 6), "t"));
  stream.storages = StoredStorage(6, "aaaabbbbccccddddeeeeffff");
  return stream;
}

TEST(OpenLegacyTest, ViewsShareTheStorageThatTheyAreOf) {
  const auto file = Open(StreamOfViews());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->root.graph()->storages().size(), 1u);
  EXPECT_EQ(file->root.item(0).AsTensor().offset(), 3);
  EXPECT_EQ(BytesOf(*file, file->root.item(0).AsTensor()), "ddddeeeeffff");
  EXPECT_EQ(BytesOf(*file, file->root.item(1).AsTensor()), "ccccddddeeeeffff");
  EXPECT_EQ(file->extents.size(), 1u);
  ExpectExtentsHold(*file);
}

TEST(OpenLegacyTest, AViewByItselfIsAStorageOfItsOwn) {
  LegacyStream stream = StreamOfViews();
  StorageId id;
  id.count = 6;
  id.view = PickledView("8", 2, 4);
  stream.object = Pickle(absl::StrCat(
      PickledStorage(id),
      PickledTensor(PickledStorage({"7", "torch\nFloatStorage", 6}), 0, 6),
      "\x86"));
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  const Storage& view = *file->root.item(0).AsStorage();
  ASSERT_EQ(view.size_bytes(), 16);
  std::string bytes(16, '\0');
  ASSERT_TRUE(
      file->new_source()
          ->Sample(view, 0,
                   absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), 16))
          .ok());
  EXPECT_EQ(bytes, "ccccddddeeeeffff");
  EXPECT_EQ(file->extents.size(), 1u);
  ExpectExtentsHold(*file);
}

TEST(OpenLegacyTest, RefusesViewsThatCannotBe) {
  struct Case {
    std::string view, name;
  };
  const Case cases[] = {
      {PickledView("8", 0, 7), "tensor_bounds"},
      {PickledView("8", -1, 2), "tensor_bounds"},
      {PickledView("8", 1, INT64_MAX), "tensor_bounds"},
      {PickledView("7", 0, 6), "persid_bad"},
      {PickledStr("8"), "persid_bad"},
      {absl::StrCat(PickledStr("8"), "NN\x87"), "persid_bad"},
  };
  for (const Case& bad : cases) {
    LegacyStream stream = StreamOfViews();
    StorageId id;
    id.count = 6;
    id.view = bad.view;
    stream.object = Pickle(PickledTensor(PickledStorage(id), 0, 1));
    ExpectRefused(stream, bad.name, "");
  }
  // Within the storage, but not within its part.
  LegacyStream stream = StreamOfViews();
  StorageId id;
  id.count = 6;
  id.view = PickledView("8", 0, 3);
  stream.object = Pickle(PickledTensor(PickledStorage(id), 0, 4));
  ExpectRefused(stream, "tensor_bounds", "");
}

TEST(OpenLegacyTest, AModulesClassIsAGlobalWithoutItsSource) {
  LegacyStream stream;
  const std::string id =
      absl::StrCat("(", PickledStr("module"), "cmodels\nNet\n",
                   PickledStr("net.py"), PickledStr("class Net: pass"), "tQ");
  stream.object =
      Pickle(absl::StrCat(id, ")\x81}", PickledStr("w"),
                          PickledTensor(PickledStorage({}), 0, 3), "sb"));
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->root.IsObjectOf("models", "Net"));
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("source code")));
}

TEST(OpenLegacyTest, ObjectsOfTorch0_1_10BecomeTensors) {
  const std::string state =
      absl::StrCat("(", PickledStorage({}), PickledInt(1), PickledInt(2),
                   "\x85", PickledInt(1), "\x85t");
  LegacyStream stream;
  // The object is in the memo before it has a state.
  stream.object =
      Pickle(absl::StrCat("(ctorch\nFloatTensor\n)Rq\x05", state, "bh\x05t"));
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(BytesOf(*file, file->root.item(0).AsTensor()), "efghijkl");
  EXPECT_EQ(file->root.item(1).id(), file->root.item(0).id());
}

TEST(OpenLegacyTest, TurnsOnlyUntypedStoragesOfBigEndianMachines) {
  LegacyStream stream;
  stream.sys_info = SysInfo(false);
  stream.object = Pickle(absl::StrCat(
      PickledTensor(PickledStorage({}), 0, 3),
      "ctorch._utils\n_rebuild_tensor_v3\n(",
      PickledStorage({"8", "torch.storage\nUntypedStorage", 4}), PickledInt(0),
      PickledInt(2), "\x85", PickledInt(1), "\x85\x89Nctorch\nuint16\ntR\x86"));
  stream.keys = PickledKeys({"7", "8"});
  stream.storages = StoredStorage(3, "abcdefghijkl") + StoredStorage(4, "mnop");
  const auto file = Open(stream);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(BytesOf(*file, file->root.item(0).AsTensor()), "abcdefghijkl");
  EXPECT_EQ(BytesOf(*file, file->root.item(1).AsTensor()), "nmpo");
  EXPECT_EQ(file->extents.size(), 1u);
  ExpectExtentsHold(*file);
}

TEST(OpenLegacyTest, RefusesComplexNumbersOfBigEndianMachines) {
  LegacyStream stream;
  stream.sys_info = SysInfo(false);
  stream.object = Pickle(PickledTensor(
      PickledStorage({"7", "torch\nComplexFloatStorage", 1}), 0, 1));
  stream.storages = StoredStorage(1, "abcdefgh");
  ExpectRefused(stream, "unsupported_format", "complex64");
}

// Counts what is read of another file.
class CountingFile : public RandomAccessFile {
 public:
  explicit CountingFile(std::string bytes)
      : file_(FileFromString(std::move(bytes), "counted")) {}
  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    read_bytes_ += static_cast<int64_t>(out.size());
    return file_->Read(offset, out);
  }
  int64_t size_bytes() const override { return file_->size_bytes(); }
  const std::string& path() const override { return file_->path(); }
  int64_t read_bytes() const { return read_bytes_; }

 private:
  const std::unique_ptr<RandomAccessFile> file_;
  mutable std::atomic<int64_t> read_bytes_{0};
};

TEST(OpenLegacyTest, OpeningReadsNoStorage) {
  const int64_t count = 4 << 20;
  LegacyStream stream;
  stream.object = Pickle(PickledTensor(
      PickledStorage({"7", "torch\nFloatStorage", count}), 0, count));
  stream.storages = StoredStorage(count, std::string(4 * count, 'x'));
  const auto file = std::make_shared<CountingFile>(stream.bytes());
  const auto opened = OpenLegacy(file);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_LT(file->read_bytes(), 64 << 10);
}

TEST(PickleWindowTest, ReadsAFileAsMemory) {
  for (const GoldenPickle& golden : kGoldenPickles) {
    SCOPED_TRACE(golden.name);
    PickleInput input;
    input.file = FileFromString("head" + golden.bytes() + "tail", "x");
    input.begin = 4;
    PickleSurroundings around;
    around.storages = StoragesInFile();
    const auto from_file = ReadPickle(input, around);
    const auto from_memory = ReadText(golden.bytes());
    ASSERT_TRUE(from_file.ok()) << from_file.status();
    ASSERT_TRUE(from_memory.ok());
    EXPECT_EQ(from_file->consumed_bytes, from_memory->consumed_bytes);
    EXPECT_EQ(from_file->globals, from_memory->globals);
    const absl::Status same = CompareValues(from_file->root, from_memory->root);
    EXPECT_TRUE(same.ok()) << same;
  }
}

// Strings, lines and numbers of all lengths around those of the windows.
TEST(PickleWindowTest, NothingIsCutAtTheEdgeOfAWindow) {
  std::string pickle = "\x80\x02](";
  for (int size = 0; pickle.size() < (6 << 20); size = size * 5 / 4 + 1) {
    absl::StrAppend(&pickle, PickledStr(std::string(size, 'a')),
                    PickledInt(size), "I", size, "\n", "c",
                    std::string(size % 70000, 'm'), "\n",
                    std::string(size % 100, 'n'), "\n");
  }
  absl::StrAppend(&pickle, "e.");
  PickleInput input;
  input.file = FileFromString(pickle, "x");
  const auto from_file = ReadPickle(input, PickleSurroundings());
  const auto from_memory = ReadText(pickle);
  ASSERT_TRUE(from_file.ok()) << from_file.status();
  ASSERT_TRUE(from_memory.ok()) << from_memory.status();
  const absl::Status same = CompareValues(from_file->root, from_memory->root);
  EXPECT_TRUE(same.ok()) << same;
  PickleLimits limits;
  limits.max_pickle_bytes = static_cast<int64_t>(pickle.size()) - 1;
  const auto cut = ReadPickle(input, PickleSurroundings(), limits);
  EXPECT_THAT(std::string(cut.status().message()), HasSubstr("pickle_limit"));
}

}  // namespace
}  // namespace penstock
