// What happens to damaged, forged and foreign .pstk files.

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/format.h"
#include "codec/native_file.h"
#include "codec/native_test_file.h"
#include "core/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using testing::HasSubstr;

std::vector<std::string> StoragesOf(const Value& checkpoint) {
  std::vector<std::string> storages;
  for (const auto& storage : checkpoint.graph()->storages()) {
    storages.emplace_back(
        reinterpret_cast<const char*>(storage->bytes().data()),
        storage->bytes().size());
  }
  return storages;
}

class NativeDamageTest : public testing::TestWithParam<TestFile> {
 protected:
  // An error, or the same bytes of all storages. A forged size may take in
  // padding: zeros behind the bytes, which no tensor sees.
  void ExpectHarmless(const std::string& damaged) {
    const auto source = OpenNative(damaged);
    if (!source.ok()) return;
    const auto storages = ReadNative(**source, slot_);
    if (!storages.ok()) return;
    ASSERT_EQ(storages->size(), storages_.size());
    for (size_t i = 0; i < storages_.size(); ++i) {
      ASSERT_GE((*storages)[i].size(), storages_[i].size()) << i;
      std::string expected = storages_[i];
      expected.resize((*storages)[i].size(), '\0');
      ASSERT_TRUE((*storages)[i] == expected) << "storage " << i;
    }
  }

  const std::string& bytes() const { return GetParam().bytes; }

  Slot slot_;
  const std::vector<std::string> storages_ = StoragesOf(GetParam().checkpoint);
};

INSTANTIATE_TEST_SUITE_P(Files, NativeDamageTest,
                         testing::ValuesIn(SmallTestFiles()),
                         [](const auto& file) { return file.param.name; });

TEST_P(NativeDamageTest, UndamagedPasses) {
  EXPECT_TRUE(VerifyNative(bytes(), slot_).ok());
}

// A flip that loads is silent corruption of someone's weights: all are tried.
TEST_P(NativeDamageTest, EverySingleBitFlipIsFoundByVerifyAndHarmlessOnLoad) {
  std::string damaged = bytes();
  for (size_t bit = 0; bit < damaged.size() * 8; ++bit) {
    damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    const absl::Status status = VerifyNative(damaged, slot_);
    ASSERT_FALSE(status.ok()) << "bit " << bit;
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "bit " << bit;
    ExpectHarmless(damaged);
    ASSERT_FALSE(HasFailure()) << "bit " << bit;
    damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
  }
}

// Of the smallest files: the others have as many bits as this has values.
TEST_P(NativeDamageTest, EveryOtherByteIsFoundByVerify) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "one thread, and over ten minutes of it under TSan";
#endif
  constexpr size_t kMaxBytes = 4096;
  if (bytes().size() > kMaxBytes) return;
  std::string damaged = bytes();
  for (size_t at = 0; at < damaged.size(); ++at) {
    for (int change = 1; change < 256; ++change) {
      damaged[at] = static_cast<char>(bytes()[at] ^ change);
      ASSERT_EQ(VerifyNative(damaged, slot_).code(),
                absl::StatusCode::kDataLoss)
          << "byte " << at << " xor " << change;
    }
    damaged[at] = bytes()[at];
  }
}

TEST_P(NativeDamageTest, EveryTruncationIsRefused) {
  for (size_t size = 0; size < bytes().size(); ++size) {
    const auto source = OpenNative(bytes().substr(0, size));
    ASSERT_EQ(source.status().code(), absl::StatusCode::kDataLoss) << size;
    const std::string message(source.status().message());
    if (size >= 16) {
      ASSERT_THAT(message, HasSubstr(absl::StrCat("file ends at ", size,
                                                  ", footer missing")));
    } else {
      ASSERT_THAT(message, HasSubstr("not a Penstock file"));
    }
  }
}

TEST_P(NativeDamageTest, EveryExtensionIsRefused) {
  for (size_t size = 1; size <= 64; ++size) {
    EXPECT_FALSE(OpenNative(bytes() + std::string(size, '\0')).ok());
    EXPECT_FALSE(OpenNative(std::string(size, '\0') + bytes()).ok());
  }
  EXPECT_FALSE(OpenNative(bytes() + bytes()).ok());
  EXPECT_FALSE(OpenNative("PK\x03\x04" + bytes()).ok());
}

template <typename T>
std::vector<T> Attacks(T value) {
  const T max = static_cast<T>(~T{0});
  const T sign = static_cast<T>(max / 2 + 1);
  return {0,
          1,
          2,
          max,
          static_cast<T>(max - 1),
          static_cast<T>(value + 1),
          static_cast<T>(value - 1),
          static_cast<T>(value ^ sign),
          static_cast<T>(sign - 1)};
}

// Every integer of header, index and footer, as if of every width.
template <typename T>
void AttackFields(const std::string& bytes, size_t begin, size_t end,
                  const std::function<void(const std::string&)>& check) {
  for (size_t at = begin; at + sizeof(T) <= end; at += sizeof(T)) {
    const T value = LoadLittleEndian<T>(&bytes[at]);
    for (const T attack : Attacks(value)) {
      if (attack == value) continue;
      std::string forged = bytes;
      std::memcpy(&forged[at], &attack, sizeof(T));
      check(FixHashes(std::move(forged)));
    }
  }
}

// All hashes are right again behind each change, so the checks behind them have
// to hold. The tree is allowed to say something else; the bytes are not.
TEST_P(NativeDamageTest, NoForgedFieldHarms) {
  ASSERT_EQ(FixHashes(bytes()), bytes());
  const size_t footer = bytes().size() - kFooterBytes;
  const size_t index = LoadLittleEndian<uint64_t>(&bytes()[footer + 32]);
  const auto check = [&](const std::string& forged) { ExpectHarmless(forged); };
  AttackFields<uint8_t>(bytes(), 0, kHeaderBytes, check);
  AttackFields<uint32_t>(bytes(), 0, kHeaderBytes, check);
  AttackFields<uint64_t>(bytes(), 0, kHeaderBytes, check);
  AttackFields<uint8_t>(bytes(), index - 8, bytes().size(), check);
  AttackFields<uint32_t>(bytes(), index - 8, bytes().size(), check);
  AttackFields<uint64_t>(bytes(), index - 8, bytes().size(), check);
}

// The body of section `type`, in `bytes`.
struct Body {
  size_t entry = 0;
  size_t begin = 0;
  size_t size = 0;
};
Body FindSection(const std::string& bytes, uint32_t type) {
  const size_t footer = bytes.size() - kFooterBytes;
  const size_t index = LoadLittleEndian<uint64_t>(&bytes[footer + 32]);
  const uint32_t count = LoadLittleEndian<uint32_t>(&bytes[index]);
  size_t body = index + 8 + 32 * count;
  for (uint32_t i = 0; i < count; ++i) {
    const size_t entry = index + 8 + 32 * i;
    const size_t size = LoadLittleEndian<uint64_t>(&bytes[entry + 8]);
    if (LoadLittleEndian<uint32_t>(&bytes[entry]) == type) {
      return {entry, body, size};
    }
    body += (size + 7) / 8 * 8;
  }
  return {};
}

constexpr uint32_t kStorages = 2;
constexpr uint32_t kChunks = 4;
constexpr size_t kChunkRowBytes = 40;

TEST(NativeForgeryTest, ExchangedChunksAreRefused) {
  const Value checkpoint =
      TestCheckpoint({{DType::kInt64, TestStorage(1 << 16, 1, Fill::kNoise)},
                      {DType::kInt64, TestStorage(1 << 16, 2, Fill::kNoise)}});
  const std::string bytes = SaveNativeOrDie(checkpoint, NativeCodec::kNone);
  const Body chunks = FindSection(bytes, kChunks);
  ASSERT_EQ(chunks.size, 2 * kChunkRowBytes);
  Slot slot;
  // Payload exchanged.
  const auto source = OpenNative(bytes);
  ASSERT_TRUE(source.ok());
  const FileChunk first = (*source)->index().chunks[0];
  const FileChunk second = (*source)->index().chunks[1];
  std::string forged = bytes;
  std::memcpy(&forged[first.offset], &bytes[second.offset], 1 << 16);
  EXPECT_THAT(std::string(VerifyNative(forged, slot).message()),
              HasSubstr("chunk 0 at offset 128, storage 0: stored hash"));
  // Payload and hashes exchanged: the seed is the chunk's number.
  std::memcpy(&forged[second.offset], &bytes[first.offset], 1 << 16);
  std::memcpy(&forged[chunks.begin + 24], second.stored_hash.bytes.data(), 16);
  std::memcpy(&forged[chunks.begin + kChunkRowBytes + 24],
              first.stored_hash.bytes.data(), 16);
  EXPECT_THAT(std::string(VerifyNative(FixHashes(forged), slot).message()),
              HasSubstr("chunk 0 at offset 128, storage 0: stored hash"));
  // Places exchanged.
  forged = bytes;
  std::memcpy(&forged[chunks.begin], &bytes[chunks.begin + kChunkRowBytes], 8);
  std::memcpy(&forged[chunks.begin + kChunkRowBytes], &bytes[chunks.begin], 8);
  EXPECT_EQ(OpenNative(FixHashes(forged)).status().code(),
            absl::StatusCode::kDataLoss);
  // One twice.
  forged = bytes;
  std::memcpy(&forged[chunks.begin + kChunkRowBytes], &bytes[chunks.begin],
              kChunkRowBytes);
  EXPECT_EQ(OpenNative(FixHashes(forged)).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(NativeForgeryTest, StoragesOverTheSameBytesAreRefused) {
  const Value checkpoint =
      TestCheckpoint({{DType::kInt64, TestStorage(64, 1, Fill::kNoise)},
                      {DType::kInt64, TestStorage(64, 2, Fill::kNoise)}});
  std::string bytes = SaveNativeOrDie(checkpoint, NativeCodec::kNone);
  const Body storages = FindSection(bytes, kStorages);
  ASSERT_EQ(storages.size, 48);
  ASSERT_EQ(LoadLittleEndian<uint32_t>(&bytes[storages.begin + 24 + 16]), 64);
  std::memset(&bytes[storages.begin + 24 + 16], 0, 4);
  EXPECT_THAT(std::string(OpenNative(FixHashes(bytes)).status().message()),
              HasSubstr("storage 1 of 64 bytes at 0 of chunk 0: not behind"));
}

// Verify walks over headers and padding that no chunk hash covers: even with a
// right glue hash they must be what the format says.
TEST(NativeForgeryTest, ForgedGlueIsFound) {
  const Value checkpoint =
      TestCheckpoint({{DType::kInt64, TestStorage(4 << 20, 1, Fill::kNoise)}});
  const std::string bytes = SaveNativeOrDie(checkpoint, NativeCodec::kNone);
  Slot slot;
  ASSERT_TRUE(VerifyNative(bytes, slot).ok());
  const Body glue = FindSection(bytes, 1);
  for (const size_t at : {64, 68, 71, 72, 1000, 4095}) {
    std::string forged = bytes;
    forged[at] ^= 1;
    EXPECT_EQ(VerifyNative(forged, slot).code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(LoadNative(forged, 2).ok());  // harmless there
    const Hash128 hash = HashOf(ByteSpan(forged).subspan(0, 4096));
    std::memcpy(&forged[glue.begin], hash.bytes.data(), 16);
    const absl::Status status = VerifyNative(FixHashes(forged), slot);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hash"))) << at;
  }
}

TEST(NativeForgeryTest, UnknownSectionsAreSkippedOrNamed) {
  MemorySource source;
  NativeOptions options;
  options.extensions = {{700, 0, "whatever"}};
  const auto optional = SaveNative(TestCheckpoint({}), options, source);
  ASSERT_TRUE(optional.ok());
  EXPECT_TRUE(OpenNative(*optional).ok());
  options.extensions[0].flags = kSectionRequired;
  const auto required = SaveNative(TestCheckpoint({}), options, source);
  ASSERT_TRUE(required.ok());
  const absl::Status status = OpenNative(*required).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("section of type 700"));
}

TEST(NativeForgeryTest, UnknownFeaturesAreSkippedOrNamed) {
  const std::string bytes =
      SaveNativeOrDie(TestCheckpoint({}), NativeCodec::kNone);
  std::string forged = bytes;
  forged[32] = 4;  // optional
  EXPECT_TRUE(OpenNative(FixHashes(forged)).ok());
  forged = bytes;
  forged[24] = 4;  // required
  absl::Status status = OpenNative(FixHashes(forged)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("features 0x4"));
  forged = bytes;
  forged[16] = 2;  // version
  status = OpenNative(FixHashes(forged)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("format version 2"));
}

TEST(NativeForgeryTest, HugeIndexIsRefusedBeforeItIsAllocated) {
  std::string bytes = SaveNativeOrDie(TestCheckpoint({}), NativeCodec::kNone);
  const size_t footer = bytes.size() - kFooterBytes;
  const uint64_t huge = uint64_t{1} << 40;
  std::memcpy(&bytes[footer + 40], &huge, 8);
  EXPECT_EQ(OpenNative(FixHashes(bytes)).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(NativeForgeryTest, ForeignFilesAreNamedSo) {
  for (const char* text :
       {"", "x", "<!doctype html>",
        "version https://git-lfs.github.com/spec/v1", "PK\x03\x04"}) {
    const absl::Status status = OpenNative(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("test.pstk: not a Penstock file"));
  }
}

}  // namespace
}  // namespace penstock
