// Damage of a checkpoint of 32 MiB, as disks and networks do it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/native_file.h"
#include "codec/native_source.h"
#include "codec/native_test_file.h"
#include "core/file.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int kNumDamages = 2500;

// A file over bytes that somebody else changes.
class LentFile : public RandomAccessFile {
 public:
  explicit LentFile(const std::string& bytes) : bytes_(bytes) {}

  absl::Status Read(int64_t offset, absl::Span<uint8_t> out) const override {
    if (offset + static_cast<int64_t>(out.size()) > size_bytes()) {
      return absl::DataLossError("the file ends before");
    }
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return absl::OkStatus();
  }
  int64_t size_bytes() const override {
    return static_cast<int64_t>(bytes_.size());
  }
  const std::string& path() const override { return path_; }

 private:
  const std::string& bytes_;
  const std::string path_ = "lent.pstk";
};

// The same layout and other bytes at each seed; raw, coded and in groups.
Value LargeCheckpoint(uint64_t seed) {
  TestTensors tensors = {
      {DType::kBFloat16, TestStorage(13 * kMiB + 6, seed, Fill::kWeights)},
      {DType::kFloat32, TestStorage(12 * kMiB, seed + 1, Fill::kNoise)},
      {DType::kUInt8, TestStorage(3 * kMiB + 1, seed + 2, Fill::kNoise)},
      {DType::kInt64, TestStorage(3 * kMiB, seed + 3, Fill::kZeros)}};
  for (int i = 0; i < 40; ++i) {
    tensors.emplace_back(DType::kBFloat16,
                         TestStorage(32768, seed + 4 + i, Fill::kWeights));
  }
  return TestCheckpoint(tensors);
}

class RandomDamageTest : public testing::Test {
 protected:
  int64_t Below(int64_t limit) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(limit));
  }

  // Where damage of `size` bytes begins: anywhere, the index often.
  int64_t Somewhere(int64_t size) {
    const int64_t limit = static_cast<int64_t>(sound_.size()) - size;
    return Below(8) == 0 ? limit - Below(16384) : Below(limit);
  }

  void Put(int64_t at, absl::string_view bytes) {
    changes_.push_back({at, static_cast<int64_t>(bytes.size())});
    damaged_.replace(at, bytes.size(), bytes.data(), bytes.size());
  }

  void FlipBits(int count) {
    for (int i = 0; i < count; ++i) {
      const int64_t at = Somewhere(1);
      Put(at, std::string(1, static_cast<char>(damaged_[at] ^ 1 << Below(8))));
    }
  }

  void Exchange(int64_t size) {
    const int64_t one = Somewhere(size) / size * size;
    const int64_t other = Somewhere(size) / size * size;
    const std::string kept = damaged_.substr(one, size);
    Put(one, damaged_.substr(other, size));
    Put(other, kept);
  }

  // Changes `damaged_`, in one of the ways that happen.
  void Damage() {
    const int64_t sector = Below(2) == 0 ? 512 : 4096;
    const int64_t at = Somewhere(sector) / sector * sector;
    switch (Below(8)) {
      case 0:
        return FlipBits(1);
      case 1:
        return FlipBits(2);
      case 2:
        return FlipBits(static_cast<int>(3 + 5 * Below(2)));
      case 3: {
        std::string burst(64, '\0');
        for (char& byte : burst) byte = static_cast<char>(Below(256));
        return Put(Somewhere(64), burst);
      }
      case 4:
        return Put(at, std::string(sector, '\0'));
      case 5:
        return Put(at, sound_.substr(Somewhere(sector), sector));
      case 6:
        return Put(
            at, previous_.substr(
                    std::min<int64_t>(at, previous_.size() - sector), sector));
      default:
        return Exchange(Below(2) == 0 ? sector : kMiB);
    }
  }

  void Repair() {
    for (const Change& change : changes_) {
      damaged_.replace(change.at, change.size, sound_, change.at, change.size);
    }
    changes_.clear();
  }

  bool IsTouched(const FileChunk& chunk) const {
    return std::any_of(
        changes_.begin(), changes_.end(), [&](const Change& change) {
          const int64_t begin = std::max(change.at, chunk.offset);
          const int64_t end = std::min(change.at + change.size,
                                       chunk.offset + chunk.stored_bytes);
          return begin < end && damaged_.compare(begin, end - begin, sound_,
                                                 begin, end - begin) != 0;
        });
  }

  // Every chunk with damage is refused, one without is what it was.
  void ExpectFound() {
    const auto file = NativeFile::Open(std::make_shared<LentFile>(damaged_));
    if (!file.ok()) return;  // in header, index or footer
    NativeSource source(**file);
    const Plan plan = (*file)->FilePlan();
    const auto& chunks = (*file)->index().chunks;
    int num_found = 0;
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (!IsTouched(chunks[i])) continue;
      ++num_found;
      EXPECT_EQ(
          source.Bytes(plan, plan.chunks[i], slot_, nullptr).status().code(),
          absl::StatusCode::kDataLoss)
          << "chunk " << i;
    }
    if (num_found == 0) {
      EXPECT_FALSE((*file)->VerifyGlue().ok());
    }
    const size_t other = Below(static_cast<int64_t>(chunks.size()));
    if (!IsTouched(chunks[other])) ExpectSound(source, plan, other);
  }

  void ExpectSound(NativeSource& source, const Plan& plan, size_t number) {
    const Chunk& chunk = plan.chunks[number];
    const auto bytes = source.Bytes(plan, chunk, slot_, nullptr);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (const Piece& piece : plan.pieces_of(chunk)) {
      const auto& storage = checkpoint_.graph()->storages()[piece.storage];
      ASSERT_EQ(std::memcmp(storage->bytes().data() + piece.begin,
                            bytes->data() + piece.offset, piece.size),
                0);
    }
  }

  struct Change {
    int64_t at = 0;
    int64_t size = 0;
  };

  std::mt19937_64 random_{2024};
  const Value checkpoint_ = LargeCheckpoint(1);
  const std::string sound_ = SaveNativeOrDie(checkpoint_, NativeCodec::kZstd);
  const std::string previous_ =
      SaveNativeOrDie(LargeCheckpoint(1000), NativeCodec::kZstd);
  std::string damaged_ = sound_;
  std::vector<Change> changes_;
  Slot slot_;
};

TEST_F(RandomDamageTest, IsFoundWhereItIsAndNowhereElse) {
  int num_damages = 0;
  while (num_damages < kNumDamages) {
    Damage();
    if (damaged_ != sound_) {
      SCOPED_TRACE(absl::StrCat("damage ", ++num_damages));
      ExpectFound();
    }
    Repair();
    ASSERT_FALSE(HasFailure());
  }
  ASSERT_EQ(damaged_, sound_);
}

}  // namespace
}  // namespace penstock
