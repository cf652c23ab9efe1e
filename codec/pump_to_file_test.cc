// The pump and the block writer together: records of any thread, one file.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/block_writer.h"
#include "codec/pipeline.h"
#include "core/memory_file_system.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

// Bytes that differ from block to block: an LCG's upper byte.
std::vector<std::shared_ptr<const Storage>> Storages(
    const std::vector<int64_t>& sizes) {
  std::vector<std::shared_ptr<const Storage>> storages;
  uint32_t state = 1;
  for (const int64_t size : sizes) {
    std::shared_ptr<Storage> storage = *Storage::Allocate(size);
    for (uint8_t& byte : storage->mutable_bytes()) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<uint8_t>(state >> 24);
    }
    storages.push_back(std::move(storage));
  }
  return storages;
}

PumpOptions Threads(int threads) {
  PumpOptions options;
  options.threads = threads;
  return options;
}

// Writes chunks as they are through a BlockWriter: every second one where it
// will stand, the others from where they are.
class FileSink : public Sink {
 public:
  explicit FileSink(WritableFile& file) : file_(file), writer_(file) {}

  uint8_t* Target(const Plan& plan, const Chunk& chunk, Slot& slot) override {
    if (chunk.number % 2 == 0) return nullptr;
    int64_t offset = 0;
    for (int64_t i = 0; i < chunk.number; ++i) {
      offset += plan.chunks[i].size_bytes;
    }
    return BlockWriter::Prepare(offset, chunk.size_bytes, slot.block);
  }
  absl::Status Encode(const Plan&, const Chunk&,
                      absl::Span<const uint8_t> bytes, Slot& slot) override {
    slot.parts = {bytes};
    return absl::OkStatus();
  }
  absl::Status Place(const Plan&, const Chunk&, Slot& slot) override {
    writer_.Place(slot.parts, slot.block);
    return absl::OkStatus();
  }
  absl::Status Write(const Plan&, const Chunk&, Slot& slot) override {
    return writer_.Write(slot.parts, slot.block);
  }
  bool writes_in_order() const override { return file_.sequential(); }
  absl::Status Finish(const Plan&) override { return writer_.Finish(); }
  int64_t SlotBytes() const override {
    return BlockWriter::BlockBytes(kRunBytes);
  }

 private:
  WritableFile& file_;
  BlockWriter writer_;
};

TEST(PumpToFileTest, PutsChunksOneBehindTheOther) {
  const auto storages =
      Storages({20 * kChunkBytes + 5, 70000, 3, 500000, 700000});
  const Plan plan = PlanInOrder(storages);
  std::string expected;
  for (const Chunk& chunk : plan.chunks) {
    std::string bytes(chunk.size_bytes, '\0');
    for (const Piece& piece : plan.pieces_of(chunk)) {
      const auto from =
          storages[piece.storage]->bytes().subspan(piece.begin, piece.size);
      std::copy(from.begin(), from.end(), bytes.begin() + piece.offset);
    }
    expected += bytes;
  }
  for (const bool accept_direct : {false, true}) {
    for (const int threads : {1, 2, 8}) {
      SCOPED_TRACE(threads);
      MemoryFileSystem::Options file_options;
      file_options.accept_direct = accept_direct;
      MemoryFileSystem files(file_options);
      CreateOptions create;
      create.caching = Caching::kDirect;
      auto file = files.Create("/f", create);
      ASSERT_TRUE(file.ok());
      ASSERT_EQ((*file)->direct(), accept_direct);
      MemorySource source;
      FileSink sink(**file);
      const auto stats = Pump(plan, source, sink, Threads(threads));
      ASSERT_TRUE(stats.ok()) << stats.status();
      EXPECT_TRUE(*files.Get("/f") == expected);
    }
  }
}

TEST(PumpToFileTest, AFullDiskEndsTheRun) {
  const Plan plan = PlanInOrder(Storages({12 * kChunkBytes}));
  for (int64_t capacity = 0; capacity < 12 * kChunkBytes;
       capacity += 3 * kChunkBytes + 1) {
    MemoryFileSystem::Options file_options;
    file_options.capacity_bytes = capacity;
    MemoryFileSystem files(file_options);
    auto file = files.Create("/f", CreateOptions());
    ASSERT_TRUE(file.ok());
    MemorySource source;
    FileSink sink(**file);
    EXPECT_EQ(Pump(plan, source, sink, Threads(4)).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace penstock
