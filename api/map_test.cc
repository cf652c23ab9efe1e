// Tensors whose bytes are pages of the file, and tensors that are read without
// the rest of it.

#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/penstock.h"
#include "compat/zip_reader.h"
#include "compat/zip_record.h"
#include "compat/zip_testing.h"
#include "core/file.h"
#include "core/memory_file_system.h"
#include "core/posix_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

Tensor Numbers(DType dtype, std::vector<int64_t> shape, unsigned seed) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  std::shared_ptr<Storage> storage =
      *Storage::Allocate(elements * InfoOf(dtype).size_bytes);
  // Five bits of eight, so that zstd finds something to do.
  std::minstd_rand random(seed);
  for (uint8_t& byte : storage->mutable_bytes()) byte = random() >> 8 & 0x1F;
  return *Tensor::Make(std::move(storage), dtype, std::move(shape));
}

// A large and some small tensors, views with strides and an offset, a scalar,
// an empty one.
Value MakeCheckpoint() {
  GraphBuilder b;
  const NodeId root = b.Dict();
  const auto set = [&](const std::string& key, const Tensor& tensor) {
    EXPECT_TRUE(b.SetItem(root, b.Str(key), b.Tensor(tensor)).ok());
  };
  const Tensor big = Numbers(DType::kBFloat16, {5000, 512}, 1);
  set("big", big);
  set("turned",
      *Tensor::Make(big.storage(), big.dtype(), {512, 5000}, {1, 512}));
  set("part", *Tensor::Make(big.storage(), big.dtype(), {7}, {2}, 12345));
  for (int i = 0; i < 20; ++i) {
    set(absl::StrCat("bias.", i), Numbers(DType::kFloat64, {3 + i}, 2 + i));
  }
  set("flag", Numbers(DType::kUInt8, {1}, 50));
  set("empty", Numbers(DType::kFloat32, {0, 4}, 51));
  return *std::move(b).Finish(root);
}

std::string BytesOf(const Tensor& tensor) {
  std::string bytes(tensor.size_bytes(), '\0');
  EXPECT_TRUE(tensor
                  .CopyTo(absl::MakeSpan(
                      reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()))
                  .ok());
  return bytes;
}

class MapTest : public testing::Test {
 protected:
  MapTest() : directory_(testing::TempDir() + "/map_test") {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
  }
  ~MapTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) { return directory_ + "/" + name; }

  std::string SaveAs(const std::string& name, Codec codec) {
    SaveOptions options = SaveOptionsFor(name);
    options.codec = codec;
    const auto saved = Save(root_, Path(name), options);
    EXPECT_TRUE(saved.ok()) << saved.status();
    return Path(name);
  }

  void Write(const std::string& path, const std::string& bytes) {
    const auto file = PosixFileSystem().Create(path, CreateOptions());
    ASSERT_TRUE(file.ok()) << file.status();
    const absl::Span<const uint8_t> span(
        reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ASSERT_TRUE((*file)->Write(0, span).ok());
    ASSERT_TRUE((*file)->Close().ok());
  }

  // The records of the .pt at `path`, zipped again.
  std::string Repacked(const std::string& path, bool deflate, bool big_endian) {
    const std::unique_ptr<RandomAccessFile> file =
        PosixFileSystem().OpenRead(path).value();
    std::vector<TestRecord> records;
    const ZipDirectory directory = ReadZipDirectory(*file).value();
    for (const ZipEntry& entry : directory.entries()) {
      TestRecord record;
      record.name = entry.name;
      record.payload = ReadZipRecord(*file, entry, 1 << 30).value();
      record.deflate = deflate && absl::StrContains(entry.name, "/data/");
      if (big_endian && absl::EndsWith(entry.name, "/byteorder")) {
        record.payload = "big";
      }
      records.push_back(std::move(record));
    }
    return TestZip(records).bytes();
  }

  void ExpectRefused(const std::string& path, const std::string& name,
                     const std::string& words) {
    RunOptions options;
    options.temporary_directory = directory_;
    const auto file = Checkpoint::Open(path, options);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto mapped = file->Map(name);
    EXPECT_EQ(mapped.status().code(), absl::StatusCode::kUnimplemented)
        << mapped.status();
    EXPECT_THAT(std::string(mapped.status().message()), HasSubstr(words));
    // But it can be read.
    const auto read = file->Read(name);
    EXPECT_TRUE(read.ok()) << read.status();
  }

  const std::string directory_;
  const Value root_ = MakeCheckpoint();
};

TEST_F(MapTest, GivesWhatReadGivesAndOutlivesTheCheckpoint) {
  for (const char* name : {"m.pt", "m.pstk"}) {
    SCOPED_TRACE(name);
    const std::string path = SaveAs(name, Codec::kNone);
    std::vector<std::pair<Tensor, Tensor>> pairs;
    {
      const auto file = Checkpoint::Open(path);
      ASSERT_TRUE(file.ok()) << file.status();
      for (const NamedTensor& entry : file->state_dict().entries()) {
        const auto mapped = file->Map(entry.name);
        ASSERT_TRUE(mapped.ok()) << mapped.status();
        const auto read = file->Read(entry.name);
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_EQ(mapped->dtype(), read->dtype());
        EXPECT_EQ(mapped->shape(), read->shape());
        EXPECT_EQ(mapped->strides(), read->strides());
        EXPECT_EQ(mapped->storage()->size_bytes(),
                  read->storage()->size_bytes());
        pairs.emplace_back(*mapped, *read);
      }
    }
    std::filesystem::remove(path);
    EXPECT_EQ(pairs.size(), 25u);
    for (const auto& [mapped, read] : pairs) {
      EXPECT_TRUE(BytesOf(mapped) == BytesOf(read));
    }
  }
}

TEST_F(MapTest, RefusesWhatIsNotInTheFileAsItIs) {
  ExpectRefused(SaveAs("zstd.pstk", Codec::kZstd), "big", "compressed");
  const std::string path = SaveAs("m.pt", Codec::kNone);
  Write(Path("deflated.pt"), Repacked(path, true, false));
  ExpectRefused(Path("deflated.pt"), "big", "compressed");
  Write(Path("big.pt"), Repacked(path, false, true));
  ExpectRefused(Path("big.pt"), "big", "big-endian");
  // Where zip puts it: at no multiple of 8.
  Write(Path("tight.pt"), Repacked(path, false, false));
  ExpectRefused(Path("tight.pt"), "bias.3", "not at a multiple of 8");
}

TEST_F(MapTest, ATruncatedFileIsAnErrorAndNoMapping) {
  const std::string path = SaveAs("m.pt", Codec::kNone);
  const auto file = Checkpoint::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::filesystem::resize_file(path, 2'000'000);
  const auto mapped = file->Map("big");
  EXPECT_EQ(mapped.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(mapped.status().message()), HasSubstr("ends early"));
  EXPECT_EQ(file->Map("nobody").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(MapTest, FilesThatAreNoFilesOfTheSystemAreNotMapped) {
  MemoryFileSystem files;
  SaveOptions options = SaveOptionsFor("/m.pt");
  options.run.files = &files;
  ASSERT_TRUE(Save(root_, "/m.pt", options).ok());
  const auto file = Checkpoint::Open("/m.pt", options.run);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Map("big").status().code(), absl::StatusCode::kUnimplemented);
}

class PartialReadTest : public testing::Test {
 protected:
  PartialReadTest() {
    options_ = SaveOptionsFor("/m.pt");
    options_.run.files = &files_;
    EXPECT_TRUE(Save(MakeCheckpoint(), "/m.pt", options_).ok());
  }

  // Bytes that were read since the last call.
  int64_t TakeReadBytes() {
    int64_t bytes = 0;
    const std::vector<FileOperation> log = files_.Log();
    for (; seen_ < log.size(); ++seen_) {
      if (log[seen_].name == "read") bytes += log[seen_].size_bytes;
    }
    return bytes;
  }

  MemoryFileSystem files_;
  SaveOptions options_;
  size_t seen_ = 0;
};

TEST_F(PartialReadTest, ReadsOfAPtExactlyTheBytesThatAreAskedFor) {
  TakeReadBytes();
  const auto file = Checkpoint::Open("/m.pt", options_.run);
  ASSERT_TRUE(file.ok()) << file.status();
  // Headers and the pickle; of 5 MB of tensors nothing but what lies between.
  EXPECT_LT(TakeReadBytes(), 100'000);
  ASSERT_TRUE(file->Read("bias.3").ok());
  EXPECT_EQ(TakeReadBytes(), 6 * 8);
  ASSERT_TRUE(file->ReadRows("big", 4000, 4010).ok());
  EXPECT_EQ(TakeReadBytes(), 10 * 512 * 2);
  ASSERT_TRUE(file->Read("part").ok());
  EXPECT_EQ(TakeReadBytes(), (6 * 2 + 1) * 2);
  ASSERT_TRUE(file->Read("empty").ok());
  EXPECT_EQ(TakeReadBytes(), 0);
  ASSERT_TRUE(file->Read("big").ok());
  EXPECT_EQ(TakeReadBytes(), 5000 * 512 * 2);
}

}  // namespace
}  // namespace penstock
