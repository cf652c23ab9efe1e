#include "compat/pickle_file.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "compat/golden_checkpoints.h"
#include "compat/legacy_file.h"
#include "compat/legacy_testing.h"
#include "compat/nested_opener.h"
#include "compat/nested_storages.h"
#include "compat/pt_file.h"
#include "compat/skeleton_testing.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<ForeignFile> Open(const std::string& bytes) {
  return OpenPickle(
      FileFromString(bytes, "test.pkl"), {},
      NestedFiles(NestedBudgetOf(static_cast<int64_t>(bytes.size()))));
}

std::string StorageBytes(const ForeignFile& file, const Storage& storage) {
  std::string bytes(storage.size_bytes(), '\0');
  const absl::Status read = file.new_source()->Sample(
      storage, 0,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()));
  EXPECT_TRUE(read.ok()) << read;
  return bytes;
}

// torch.storage._load_from_bytes(bytes), which `bytes` pushes.
std::string LoadFromBytes(absl::string_view bytes) {
  return absl::StrCat("ctorch.storage\n_load_from_bytes\n", bytes, "\x85R");
}

// A stream that holds one storage of three float32, under what pushes it.
std::string StreamOf(absl::string_view object) {
  LegacyStream stream;
  stream.object = Pickle(object);
  return stream.bytes();
}

const std::string kTwoFloats("\0\0\xc0\x3f\0\0\0\xc0", 8);

TEST(OpenPickleTest, ReadsWhatPickleWritesAtEveryProtocol) {
  for (absl::string_view hex : {kPickled0, kPickled2, kPickled3, kPickled4}) {
    const auto file = Open(absl::HexStringToBytes(hex));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->format, ForeignFormat::kPickle);
    EXPECT_THAT(file->warnings, IsEmpty());
    EXPECT_THAT(file->globals, Contains("torch FloatStorage"));
    const Tensor tensor = file->root.Find("w").AsTensor();
    EXPECT_EQ(tensor.dtype(), DType::kFloat32);
    EXPECT_EQ(StorageBytes(*file, *tensor.storage()), kTwoFloats);
    // Bytes are as they are from protocol 3 on.
    const bool is_binary = hex == kPickled3 || hex == kPickled4;
    EXPECT_EQ(file->extents.size(), is_binary ? 1u : 0u);
    ExpectExtentsHold(*file);
  }
}

TEST(OpenPickleTest, RefusesEveryTruncation) {
  for (absl::string_view hex : {kPickled0, kPickled2, kPickled3, kPickled4}) {
    const std::string whole = absl::HexStringToBytes(hex);
    for (size_t size = 0; size < whole.size(); ++size) {
      SCOPED_TRACE(size);
      EXPECT_FALSE(Open(whole.substr(0, size)).ok());
    }
  }
}

TEST(OpenPickleTest, NoBitFlipReachesBeyondTheFile) {
  for (absl::string_view hex : {kPickled2, kPickled4}) {
    const std::string whole = absl::HexStringToBytes(hex);
    int num_refused = 0;
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      SCOPED_TRACE(bit);
      std::string damaged = whole;
      damaged[bit / 8] ^= 1 << (bit % 8);
      const auto file = Open(damaged);
      num_refused += !file.ok();
      if (!file.ok()) continue;
      ExpectExtentsHold(*file);
      for (const auto& storage : file->root.graph()->storages()) {
        StorageBytes(*file, *storage);
      }
    }
    EXPECT_GT(num_refused, static_cast<int>(whole.size()));
  }
}

TEST(OpenPickleTest, WarnsOfWhatFollows) {
  const std::string whole = absl::HexStringToBytes(kPickled4);
  const auto file = Open(whole + "12345");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("5 bytes behind")));
}

TEST(OpenPickleTest, HasNoStoragesBesideIt) {
  const auto file = Open(Pickle(PickledStorage({})));
  EXPECT_THAT(std::string(file.status().message()),
              HasSubstr("persid_bad: a bare pickle"));
}

TEST(NestedStoragesTest, LieInStreamsOfStreams) {
  std::string object = PickledStorage({});
  for (int depth = 1; depth <= kMaxNestedDepth; ++depth) {
    SCOPED_TRACE(depth);
    // Each stream but the innermost has no storage of its own.
    const std::string stream =
        depth == 1 ? StreamOf(object)
                   : absl::StrCat(LegacyStream().magic, LegacyStream().version,
                                  LegacyStream().sys_info, Pickle(object),
                                  PickledKeys({}));
    object = LoadFromBytes(PickledBytes(stream));
    const auto file = Open(Pickle(object));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(StorageBytes(*file, *file->root.AsStorage()), "abcdefghijkl");
    EXPECT_EQ(file->extents.size(), 1u);
    ExpectExtentsHold(*file);
  }
  const auto too_deep = Open(Pickle(LoadFromBytes(PickledBytes(absl::StrCat(
      LegacyStream().magic, LegacyStream().version, LegacyStream().sys_info,
      Pickle(object), PickledKeys({}))))));
  EXPECT_EQ(too_deep.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_deep.status().message()),
              HasSubstr("nested_depth"));
}

TEST(NestedStoragesTest, ComeFromZipFilesToo) {
  GraphBuilder b;
  const NodeId root = b.Storage(StorageOfRange<uint8_t>(6), DType::kInt16);
  const auto zip = WritePt(std::move(b).Finish(root).value(), "archive");
  ASSERT_TRUE(zip.ok()) << zip.status();
  const auto file = Open(Pickle(LoadFromBytes(PickledBytes(*zip))));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->root.storage_dtype(), DType::kInt16);
  EXPECT_EQ(StorageBytes(*file, *file->root.AsStorage()),
            std::string("\0\1\2\3\4\5", 6));
  std::string damaged = *zip;
  damaged[damaged.find(std::string("\0\1\2\3\4\5", 6)) + 2] ^= 1;
  EXPECT_THAT(std::string(Open(Pickle(LoadFromBytes(PickledBytes(damaged))))
                              .status()
                              .message()),
              HasSubstr("zip_crc_mismatch"));
}

TEST(NestedStoragesTest, StayObjectsWhereTheyAreNoStorages) {
  const std::string stream =
      absl::StrCat(LegacyStream().magic, LegacyStream().version,
                   LegacyStream().sys_info, Pickle("N"), PickledKeys({}));
  const auto file = Open(Pickle(LoadFromBytes(PickledBytes(stream))));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->root.IsObjectOf("torch.storage", "_load_from_bytes"));
  EXPECT_EQ(file->root.child(ObjectChild::kArgs).item(0).AsBytes(), stream);
  EXPECT_THAT(file->warnings, Contains(HasSubstr("no single storage")));
}

TEST(NestedStoragesTest, AreRefusedWhereTorchCouldNotOpenThem) {
  struct Case {
    std::string bytes, words;
  };
  LegacyStream cut;
  cut.object = Pickle(PickledStorage({}));
  cut.storages.pop_back();
  const Case cases[] = {{"", "empty"},
                        {Pickle("N"), "neither a legacy stream"},
                        {cut.bytes(), "in all 1 bytes are missing"}};
  for (const Case& bad : cases) {
    const auto file = Open(Pickle(LoadFromBytes(PickledBytes(bad.bytes))));
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(bad.words));
  }
}

// The bytes were not read, so that nothing else may have them.
TEST(NestedStoragesTest, BytesInTheFileAreForOneCall) {
  const std::string bytes = PickledBytes(StreamOf(PickledStorage({})));
  const std::string call = "ctorch.storage\n_load_from_bytes\n";
  for (const std::string& again : {std::string("h\1"), std::string("h\2")}) {
    const auto file =
        Open(Pickle(absl::StrCat("(", call, bytes, "q\1\x85q\2R", again, "t")));
    EXPECT_THAT(std::string(file.status().message()),
                HasSubstr("pickle_memo: the bytes of a storage"));
  }
  // Where they are not for the call alone, they are read.
  const auto file = Open(Pickle(absl::StrCat(
      "(", bytes, "q\1", call, "h\1\x85R", call, "h\1\x85R", "t")));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(StorageBytes(*file, *file->root.item(1).AsStorage()),
            "abcdefghijkl");
  EXPECT_EQ(file->root.item(2).AsStorage(), file->root.item(1).AsStorage());
}

TEST(NestedStoragesTest, AreBoundedAllTogether) {
  const std::string stream = StreamOf(PickledStorage({}));
  const std::string call = LoadFromBytes(PickledBytes(stream));
  const std::string pickle = Pickle(absl::StrCat("(", call, call, "t"));
  const auto size = static_cast<int64_t>(stream.size());
  const auto open = [&](int64_t max_bytes) {
    return OpenPickle(FileFromString(pickle, "x"), {}, NestedFiles(max_bytes));
  };
  EXPECT_TRUE(open(2 * size).ok());
  EXPECT_THAT(std::string(open(2 * size - 1).status().message()),
              HasSubstr("nested_depth"));
}

TEST(NestedStoragesTest, CopiesAreBounded) {
  const std::string stream = StreamOf(PickledStorage({}));
  const auto size = static_cast<int64_t>(stream.size());
  StoredStorages stored;
  NestedStorages nested(NestedFiles(1000), stored, 2 * size - 1);
  const NestedResolver resolve = nested.resolver();
  EXPECT_TRUE(resolve({FileFromString(stream, "x"), -1}).ok());
  // This one stays where it is.
  EXPECT_TRUE(resolve({FileFromString(stream, "x"), 0}).ok());
  const auto refused = resolve({FileFromString(stream, "x"), -1});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("materialize_limit"));
}

TEST(NestedStoragesTest, LieInZipFiles) {
  const std::string stream = StreamOf(PickledStorage({}));
  GraphBuilder b;
  const NodeId bytes = b.Bytes(stream);
  const NodeId root =
      b.Object(Construction::kReduce,
               b.Global("torch.storage", "_load_from_bytes"), b.Tuple({bytes}));
  const auto zip = WritePt(std::move(b).Finish(root).value(), "archive");
  ASSERT_TRUE(zip.ok()) << zip.status();
  const auto file = OpenPt(FileFromString(*zip, "x"), {}, NestedFiles(1000));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->globals, Contains("torch FloatStorage"));
  EXPECT_EQ(StorageBytes(*file, *file->root.AsStorage()), "abcdefghijkl");
  EXPECT_THAT(file->extents, IsEmpty());
  // Without an opener nothing is opened.
  const auto inert = OpenPt(FileFromString(*zip, "x"));
  ASSERT_TRUE(inert.ok()) << inert.status();
  EXPECT_EQ(inert->root.child(ObjectChild::kArgs).item(0).AsBytes(), stream);
}

TEST(NestedStoragesTest, LieInLegacyStreams) {
  LegacyStream stream;
  const std::string nested =
      LoadFromBytes(PickledBytes(StreamOf(PickledStorage({}))));
  stream.object =
      Pickle(absl::StrCat(PickledTensor(nested, 1, 2),
                          PickledTensor(PickledStorage({}), 0, 3), "\x86"));
  stream.storages = StoredStorage(3, "mnopqrstuvwx");
  const auto file =
      OpenLegacy(FileFromString(stream.bytes(), "x"), {}, NestedFiles(1000));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(StorageBytes(*file, *file->root.item(0).AsTensor().storage()),
            "abcdefghijkl");
  EXPECT_EQ(StorageBytes(*file, *file->root.item(1).AsTensor().storage()),
            "mnopqrstuvwx");
  EXPECT_EQ(file->extents.size(), 2u);
  ExpectExtentsHold(*file);
}

}  // namespace
}  // namespace penstock
