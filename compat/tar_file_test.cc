#include "compat/tar_file.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "compat/legacy_testing.h"
#include "compat/skeleton_testing.h"
#include "compat/tar_testing.h"
#include "core/memory_file_system.h"
#include "core/tensor.h"
#include "core/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Class(absl::string_view name) {
  return absl::StrCat("ctorch\n", name, "\n");
}

std::string Count(int64_t count) { return Pickle(PickledInt(count)); }

// As torch 0.1.6 to 0.1.9 wrote them.
std::string StoredTarStorage(int64_t key, absl::string_view type, int64_t count,
                             absl::string_view bytes) {
  return absl::StrCat(Pickle(absl::StrCat(PickledInt(key), PickledStr("cpu"),
                                          Class(type), "\x87")),
                      LittleEndian(count, 8), bytes);
}

// The upper half of the rank was never written.
std::string Geometry(const std::vector<int64_t>& shape,
                     const std::vector<int64_t>& strides, int64_t offset) {
  std::string bytes = LittleEndian(0xdeadbeef00000000 | shape.size(), 8);
  for (const auto* numbers : {&shape, &strides}) {
    for (const int64_t number : *numbers) bytes += LittleEndian(number, 8);
  }
  return bytes + LittleEndian(offset, 8);
}

std::string StoredTarTensor(int64_t key, const std::string& storage,
                            const std::string& geometry,
                            absl::string_view type = "FloatTensor") {
  return absl::StrCat(
      Pickle(absl::StrCat(PickledInt(key), storage, Class(type), "\x87")),
      geometry);
}

std::string Id(absl::string_view key) { return PickledStr(key) + "Q"; }

std::string View(int64_t key, int64_t root, int64_t offset, int64_t count) {
  return absl::StrCat("(", PickledInt(key), PickledInt(root),
                      PickledInt(offset), PickledInt(count), "t");
}

// A tar file by its members: a list of one tensor of three float32, unless
// changed.
struct TarFile {
  std::string sys_info =
      Pickle(absl::StrCat("}", PickledStr("protocol_version"), "M\xe8\x03s",
                          PickledStr("little_endian"), "\x88s"));
  std::string storages = absl::StrCat(
      Count(1), StoredTarStorage(7, "FloatStorage", 3, "abcdefghijkl"),
      Pickle("]"));
  std::string tensors = absl::StrCat(
      Count(1), StoredTarTensor(9, PickledInt(7), Geometry({3}, {1}, 0)));
  std::string pickle = Pickle(absl::StrCat("](", Id("9"), "e"));

  std::string bytes() const {
    return absl::StrCat(Tarred("sys_info", sys_info), Tarred("pickle", pickle),
                        Tarred("tensors", tensors),
                        Tarred("storages", storages), TarEnd());
  }
};

absl::StatusOr<ForeignFile> Open(const std::string& bytes) {
  return OpenTar(FileFromString(bytes, "test.pth"));
}

std::string BytesOf(const ForeignFile& file, const Tensor& tensor) {
  const ByteRange range = tensor.byte_range();
  std::string bytes(range.size(), '\0');
  const absl::Status read = file.new_source()->Sample(
      *tensor.storage(), range.begin,
      absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()));
  EXPECT_TRUE(read.ok()) << read;
  return bytes;
}

void ExpectRefused(const std::string& bytes, const std::string& name,
                   const std::string& words) {
  const auto file = Open(bytes);
  ASSERT_FALSE(file.ok()) << name << ": " << words;
  EXPECT_THAT(std::string(file.status().message()),
              AllOf(HasSubstr(name), HasSubstr(words), HasSubstr("test.pth")));
}

TEST(OpenTarTest, ReadsOneTensor) {
  const auto file = Open(TarFile().bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->format, ForeignFormat::kPtTar);
  EXPECT_THAT(file->warnings, IsEmpty());
  const Tensor tensor = file->root.item(0).AsTensor();
  EXPECT_EQ(tensor.dtype(), DType::kFloat32);
  EXPECT_THAT(tensor.shape(), ElementsAre(3));
  EXPECT_EQ(BytesOf(*file, tensor), "abcdefghijkl");
  EXPECT_EQ(file->extents.size(), 1u);
  ExpectExtentsHold(*file);
}

TEST(OpenTarTest, ViewsAreOfTheirRootAndOneKeyIsOneThing) {
  TarFile tar;
  tar.storages = absl::StrCat(
      Count(2), StoredTarStorage(7, "FloatStorage", 3, "abcdefghijkl"),
      StoredTarStorage(6, "LongStorage", 1, "12345678"),
      Pickle(absl::StrCat("](", View(8, 7, 1, 2), View(5, 6, 0, 1), "e")));
  tar.tensors = absl::StrCat(
      Count(3), StoredTarTensor(9, PickledInt(7), Geometry({3}, {1}, 0)),
      StoredTarTensor(10, PickledInt(8), Geometry({1, 1}, {1, 1}, 1)),
      StoredTarTensor(11, PickledInt(6), Geometry({1}, {1}, 0), "LongTensor"));
  tar.pickle = Pickle(absl::StrCat("](", Id("9"), Id("10"), Id("11"), Id("9"),
                                   Id("8"), Id("5"), "e"));
  const auto file = Open(tar.bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  const Tensor whole = file->root.item(0).AsTensor();
  const Tensor part = file->root.item(1).AsTensor();
  EXPECT_EQ(part.storage(), whole.storage());
  EXPECT_EQ(part.offset(), 2);
  EXPECT_EQ(BytesOf(*file, part), "ijkl");
  EXPECT_EQ(BytesOf(*file, file->root.item(2).AsTensor()), "12345678");
  EXPECT_EQ(file->root.item(0).id(), file->root.item(3).id());
  const Value bare = file->root.item(4);
  ASSERT_EQ(bare.kind(), NodeKind::kStorage);
  EXPECT_EQ(bare.storage_dtype(), DType::kFloat32);
  EXPECT_EQ(bare.AsStorage()->size_bytes(), 8);
  EXPECT_EQ(file->extents.size(), 2u);
  ExpectExtentsHold(*file);
}

TEST(OpenTarTest, ReadsTheFormOfTorch0_1_1) {
  TarFile tar;
  tar.storages =
      absl::StrCat(Count(1),
                   Pickle(absl::StrCat(PickledInt(7),
                                       "ctorch.cuda\nFloatStorage\n", "\x86")),
                   LittleEndian(3, 8), "abcdefghijkl");
  tar.tensors = absl::StrCat(
      Count(1),
      Pickle(absl::StrCat(PickledInt(9), "ctorch.cuda\nFloatTensor\n",
                          PickledInt(7), "\x87")),
      Geometry({1, 2}, {2, 2}, 0));
  const auto file = Open(tar.bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(BytesOf(*file, file->root.item(0).AsTensor()), "abcdefghijkl");
}

TEST(OpenTarTest, WithoutStorageOrDimensionsATensorIsEmpty) {
  TarFile tar;
  tar.tensors = absl::StrCat(
      Count(2), StoredTarTensor(9, "N", Geometry({}, {}, 0), "LongTensor"),
      StoredTarTensor(10, PickledInt(7), Geometry({}, {}, 0)));
  tar.pickle = Pickle(absl::StrCat("](", Id("9"), Id("10"), "e"));
  const auto file = Open(tar.bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  for (int64_t i = 0; i < 2; ++i) {
    EXPECT_THAT(file->root.item(i).AsTensor().shape(), ElementsAre(0));
  }
  EXPECT_EQ(file->root.item(0).AsTensor().dtype(), DType::kInt64);
}

TEST(OpenTarTest, AClassWithItsSourceIsTheClass) {
  TarFile tar;
  tar.pickle = Pickle(absl::StrCat("](cnet\nNet\n", PickledStr("net.py"),
                                   PickledStr("import os"), "\x87Qe"));
  const auto file = Open(tar.bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->root.item(0).name(), "Net");
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("source code")));
}

TEST(OpenTarTest, OtherMembersAreAWarning) {
  const auto file =
      Open(absl::StrCat(Tarred("/etc/x", "y"), TarFile().bytes()));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->warnings, ElementsAre(HasSubstr("1 members")));
}

TEST(OpenTarTest, AnotherTarIsNamed) {
  ExpectRefused(Tarred("model.pt", "abc"), "a tar archive", "unpack it");
}

TEST(OpenTarTest, RefusesMembersThatAreMissingTwiceOrLinks) {
  const TarFile tar;
  const std::string whole = tar.bytes();
  ExpectRefused(Tarred("storages", tar.storages) + Tarred("pickle", tar.pickle),
                "tar_bad", "no member sys_info");
  ExpectRefused(Tarred("pickle", tar.pickle) + whole, "tar_bad", "twice");
  ExpectRefused(Tarred("pickle", "", '2') + whole, "tar_bad",
                "no regular file");
}

TEST(OpenTarTest, RefusesAnotherSystem) {
  TarFile tar;
  tar.sys_info =
      Pickle(absl::StrCat("}", PickledStr("protocol_version"), "M\xe9\x03s"));
  ExpectRefused(tar.bytes(), "tar_bad", "expected protocol_version 1000");
  tar.sys_info = absl::StrReplaceAll(TarFile().sys_info, {{"\x88s", "\x89s"}});
  ExpectRefused(tar.bytes(), "unsupported_format", "big-endian");
}

TEST(OpenTarTest, RefusesStoragesThatLie) {
  const auto refused = [](const std::string& storages, const std::string& name,
                          const std::string& words) {
    TarFile tar;
    tar.storages = storages;
    ExpectRefused(tar.bytes(), name, words);
  };
  const std::string good =
      StoredTarStorage(7, "FloatStorage", 3, "abcdefghijkl");
  refused(Count(-1), "tar_bad", "no count");
  refused(Count(2) + good, "pickle_truncated", "storage at offset");
  refused(Count(2) + good + good + Pickle("]"), "tar_bad", "key 7");
  refused(Count(1) + StoredTarStorage(7, "FloatStorage", 4, "abcdefghijkl"),
          "tar_bad", "beyond the end");
  for (const int64_t count : {int64_t{-1}, INT64_MAX, int64_t{1} << 62}) {
    refused(Count(1) + StoredTarStorage(7, "FloatStorage", count, "abc"),
            "tar_bad", "beyond the end");
  }
  refused(Count(1) + StoredTarStorage(7, "FakeStorage", 3, "abcdefghijkl"),
          "tar_bad", "no class");
  refused(Count(1) + StoredTarStorage(7, "FloatTensor", 3, "abcdefghijkl"),
          "tar_bad", "no class");
  refused(Count(1) + Pickle("]") + LittleEndian(3, 8), "tar_bad",
          "(key, location, class)");
  const auto views = [&](const std::string& list) {
    return absl::StrCat(Count(1), good, Pickle(absl::StrCat("](", list, "e")));
  };
  refused(views(View(8, 7, 2, 2)), "tensor_bounds", "storage 7 has 3");
  refused(views(View(8, 7, -1, 2)), "tensor_bounds", "storage 7 has 3");
  refused(views(View(8, 8, 0, 1)), "tar_bad", "of storage 8");
  refused(views(View(8, 7, 0, 1) + View(6, 8, 0, 1)), "tar_bad",
          "of storage 8");
  refused(views("N"), "tar_bad", "view 0");
  refused(absl::StrCat(Count(1), good, Pickle("}")), "tar_bad",
          "no list of views");
}

TEST(OpenTarTest, RefusesTensorsThatLie) {
  const auto refused = [](const std::string& tensors, const std::string& name,
                          const std::string& words) {
    TarFile tar;
    tar.tensors = tensors;
    ExpectRefused(tar.bytes(), name, words);
  };
  const std::string seven = PickledInt(7);
  const std::string good = StoredTarTensor(9, seven, Geometry({3}, {1}, 0));
  refused(Count(1) + Pickle("]"), "tar_bad", "(key, storage, class)");
  refused(Count(2) + good + good, "tar_bad", "key 9");
  refused(Count(1) + StoredTarTensor(7, seven, Geometry({3}, {1}, 0)),
          "tar_bad", "key 7");
  refused(Count(1) + StoredTarTensor(9, PickledInt(8), Geometry({3}, {1}, 0)),
          "tar_bad", "no storage");
  refused(
      Count(1) + StoredTarTensor(9, seven, Geometry({3}, {1}, 0), "LongTensor"),
      "tar_bad", "its storage is float32");
  refused(Count(1) + StoredTarTensor(9, seven, Geometry({3}, {1}, 0), "Net"),
          "tar_bad", "no class");
  for (const uint64_t rank : {uint64_t{0x7fffffff}, uint64_t{0xffffffff}}) {
    refused(Count(1) + StoredTarTensor(9, seven, LittleEndian(rank, 8)),
            "tar_bad", "rank");
  }
  refused(Count(1) + StoredTarTensor(9, seven, LittleEndian(64, 8)), "tar_bad",
          "beyond the end");
  for (const std::string& geometry :
       {Geometry({4}, {1}, 0), Geometry({3}, {1}, 1), Geometry({-1}, {1}, 0),
        Geometry({3}, {-1}, 0), Geometry({3}, {1}, -1),
        Geometry({INT64_MAX, 2}, {1, 1}, 0)}) {
    refused(Count(1) + StoredTarTensor(9, seven, geometry), "tensor_bounds",
            "tensor 9");
  }
}

TEST(OpenTarTest, RefusesIdsOfNothing) {
  for (const std::string& id :
       {Id("8"), Id(""), Id("-9"), Id("9 "), Id("99999999999999999999"),
        PickledInt(9) + "Q", std::string("NNN\x87Q")}) {
    TarFile tar;
    tar.pickle = Pickle(id);
    ExpectRefused(tar.bytes(), "persid_bad", "");
  }
}

TEST(OpenTarTest, EveryTruncationIsRefused) {
  const std::string whole = TarFile().bytes();
  for (size_t size = 0; size + TarEnd().size() + 512 < whole.size(); ++size) {
    EXPECT_FALSE(Open(whole.substr(0, size)).ok()) << size;
  }
}

// No checksum covers the members: a flip may change a tensor. It must not
// change where bytes are read.
TEST(OpenTarTest, NoFlipLeavesTheFile) {
  const std::string whole = TarFile().bytes();
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto file = Open(flipped);
    if (file.ok()) ExpectExtentsHold(*file);
  }
}

}  // namespace
}  // namespace penstock
