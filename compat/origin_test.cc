#include "compat/origin.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/native_source.h"
#include "codec/pipeline.h"
#include "compat/extent_source.h"
#include "core/graph_builder.h"
#include "core/memory_file_system.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

std::string Noise(int64_t size, uint32_t seed) {
  std::string out(size, '\0');
  for (char& byte : out) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  return out;
}

std::string ContentOf(MemoryFileSystem& files, const std::string& path) {
  const auto file = files.OpenRead(path).value();
  std::string out(file->size_bytes(), '\0');
  EXPECT_TRUE(
      file->Read(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(out.data()),
                                   out.size()))
          .ok());
  return out;
}

// A file of a format made up here: storages at `offsets`, anything between.
ForeignFile MakeForeign(MemoryFileSystem& files, const std::string& content,
                        const std::vector<std::pair<int64_t, int64_t>>& runs) {
  files.Put("source", content);
  ForeignFile foreign;
  foreign.format = ForeignFormat::kPtLegacy;
  foreign.file =
      std::shared_ptr<const RandomAccessFile>(files.OpenRead("source").value());
  auto stored = std::make_shared<StoredStorages>();
  stored->files.push_back(foreign.file);
  GraphBuilder b;
  std::vector<NodeId> tensors;
  for (const auto& [offset, size] : runs) {
    const int64_t number = static_cast<int64_t>(stored->places.size());
    stored->places.push_back({absl::StrCat(number), 0, offset, size, 0, 1});
    tensors.push_back(b.Tensor(
        Tensor::Make(Storage::InFile(size, number), DType::kUInt8, {size})
            .value()));
  }
  const NodeId root = b.List(tensors);
  foreign.root = std::move(b).Finish(root).value();
  foreign.extents = ExtentsOf(*foreign.root.graph(), *stored);
  foreign.new_source = [stored] {
    return std::make_unique<ExtentSource>(stored);
  };
  return foreign;
}

// Takes what the tree has, and nothing else.
class StrictSource : public Source {
 public:
  StrictSource(Source& base, size_t num_storages)
      : base_(base), num_storages_(num_storages) {}

  absl::Status Begin(const Plan& plan, const Chunk& chunk,
                     Slot& slot) override {
    PENSTOCK_RETURN_IF_ERROR(Check(plan, chunk));
    return base_.Begin(plan, chunk, slot);
  }
  absl::StatusOr<absl::Span<const uint8_t>> Bytes(const Plan& plan,
                                                  const Chunk& chunk,
                                                  Slot& slot,
                                                  uint8_t* target) override {
    PENSTOCK_RETURN_IF_ERROR(Check(plan, chunk));
    return base_.Bytes(plan, chunk, slot, target);
  }
  absl::Status Sample(const Storage& storage, int64_t begin,
                      absl::Span<uint8_t> out) override {
    return base_.Sample(storage, begin, out);
  }
  absl::Status Finish() override { return base_.Finish(); }
  int64_t SlotBytes() const override { return base_.SlotBytes(); }

 private:
  absl::Status Check(const Plan& plan, const Chunk& chunk) const {
    for (const Piece& piece : plan.pieces_of(chunk)) {
      if (piece.storage < static_cast<int64_t>(num_storages_)) continue;
      return absl::InternalError("the base was asked for an attachment");
    }
    return absl::OkStatus();
  }

  Source& base_;
  const size_t num_storages_;
};

absl::StatusOr<std::string> WriteNative(const ForeignFile& foreign, bool always,
                                        MemoryFileSystem& files,
                                        NativeCodec codec) {
  const auto base = foreign.new_source();
  StrictSource strict(*base, foreign.root.graph()->storages().size());
  OriginSource source(foreign, strict);
  NativeOptions options;
  options.codec = codec;
  PENSTOCK_ASSIGN_OR_RETURN(std::string note, source.Attach(always, options));
  PENSTOCK_ASSIGN_OR_RETURN(const auto file,
                            files.Create("x.pstk", CreateOptions()));
  PENSTOCK_ASSIGN_OR_RETURN(
      const auto sink,
      NativeSink::Create(*file, foreign.root.graph(), source, options));
  PENSTOCK_RETURN_IF_ERROR(
      Pump(sink->plan(), source, *sink, PumpOptions()).status());
  PENSTOCK_RETURN_IF_ERROR(file->Close());
  return note;
}

absl::Status Restore(MemoryFileSystem& files) {
  PENSTOCK_ASSIGN_OR_RETURN(auto in, files.OpenRead("x.pstk"));
  PENSTOCK_ASSIGN_OR_RETURN(const auto native, NativeFile::Open(std::move(in)));
  PENSTOCK_ASSIGN_OR_RETURN(const auto origin, OriginOf(native->index()));
  if (!origin.has_value()) return absl::NotFoundError("no origin");
  PENSTOCK_ASSIGN_OR_RETURN(FileLayout layout, LayOutOrigin(*native));
  PENSTOCK_ASSIGN_OR_RETURN(const auto out,
                            files.Create("restored", CreateOptions()));
  PENSTOCK_ASSIGN_OR_RETURN(const auto sink,
                            LayoutSink::Create(*out, std::move(layout)));
  if (origin->file_bytes != sink->FinalSize()) {
    return absl::InternalError("sizes differ");
  }
  NativeSource source(*native);
  PENSTOCK_RETURN_IF_ERROR(
      Pump(sink->plan(), source, *sink, PumpOptions()).status());
  return out->Close();
}

struct Case {
  int64_t file_bytes;
  std::vector<std::pair<int64_t, int64_t>> runs;  // offset, size
};

const Case kCases[] = {
    {0, {}},
    {1000, {}},
    {1000, {{0, 1000}}},
    {1000, {{10, 100}, {110, 5}, {300, 700}}},
    {70'000, {{60'000, 100}, {10, 100}, {4000, 5000}}},  // not in file order
    {9'000'000, {{100'000, 3'000'000}, {3'100'001, 70'000}, {8'000'000, 1}}},
};

TEST(OriginTest, GivesTheVeryFileBack) {
  for (const Case& c : kCases) {
    for (const NativeCodec codec : {NativeCodec::kNone, NativeCodec::kZstd}) {
      SCOPED_TRACE(c.file_bytes);
      MemoryFileSystem files;
      const std::string content = Noise(c.file_bytes, 7);
      const ForeignFile foreign = MakeForeign(files, content, c.runs);
      const auto note = WriteNative(foreign, true, files, codec);
      ASSERT_TRUE(note.ok()) << note.status();
      const absl::Status restored = Restore(files);
      ASSERT_TRUE(restored.ok()) << restored;
      EXPECT_TRUE(ContentOf(files, "restored") == content);
    }
  }
}

TEST(OriginTest, IsLeftOutWhereItTakesTooMuchRoom) {
  MemoryFileSystem files;
  const ForeignFile foreign =
      MakeForeign(files, Noise(1'000'000, 3), {{0, 800'000}});
  const auto note = WriteNative(foreign, false, files, NativeCodec::kZstd);
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_THAT(*note, HasSubstr("--origin always"));
  EXPECT_EQ(Restore(files).code(), absl::StatusCode::kNotFound);
}

TEST(OriginTest, IsKeptWhereItCompressesWell) {
  MemoryFileSystem files;
  std::string content = Noise(1'000'000, 3);
  std::fill(content.begin() + 400'000, content.end(), ' ');
  const ForeignFile foreign = MakeForeign(files, content, {{0, 400'000}});
  const auto note = WriteNative(foreign, false, files, NativeCodec::kZstd);
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_EQ(*note, "");
  ASSERT_TRUE(Restore(files).ok());
  EXPECT_TRUE(ContentOf(files, "restored") == content);
}

// Written again as .pstk, the file still gives the original back.
TEST(OriginTest, IsKeptWhenAPstkIsWrittenAgain) {
  MemoryFileSystem files;
  const std::string content = Noise(200'000, 5);
  const ForeignFile foreign =
      MakeForeign(files, content, {{50'000, 100'000}, {10, 30}});
  ASSERT_TRUE(WriteNative(foreign, true, files, NativeCodec::kZstd).ok());
  const std::string first = ContentOf(files, "x.pstk");
  const auto native =
      NativeFile::Open(files.OpenRead("x.pstk").value()).value();
  NativeSource source(*native);
  NativeOptions options;
  KeepOrigin(*native, options);
  ASSERT_TRUE(files.Unlink("x.pstk").ok());
  const auto file = files.Create("x.pstk", CreateOptions()).value();
  const auto sink =
      NativeSink::Create(*file, native->root().graph(), source, options)
          .value();
  ASSERT_TRUE(Pump(sink->plan(), source, *sink, PumpOptions()).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_TRUE(ContentOf(files, "x.pstk") == first);
  ASSERT_TRUE(Restore(files).ok());
  EXPECT_TRUE(ContentOf(files, "restored") == content);
}

// Not only the first time: a scan reads on after an error.
TEST(OriginTest, DamageIsAnErrorEachTime) {
  MemoryFileSystem files;
  const std::string content = Noise(1000, 7);
  ASSERT_TRUE(WriteNative(MakeForeign(files, content, {{0, 10}}), true, files,
                          NativeCodec::kNone)
                  .ok());
  std::string bytes = ContentOf(files, "x.pstk");
  const size_t at = bytes.find(content.substr(500, 16));
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  files.Put("x.pstk", bytes);
  const auto native =
      NativeFile::Open(files.OpenRead("x.pstk").value()).value();
  const auto layout = LayOutOrigin(*native);
  ASSERT_TRUE(layout.ok()) << layout.status();
  std::string glue;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(layout->glue(0, 990, glue).code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(glue, "");
}

// Rows of a made-up origin: what does not fit is an error, never a wrong file.
TEST(OriginTest, RefusesExtentsThatDoNotFit) {
  struct Bad {
    std::vector<uint64_t> rows;  // file offset, storage...
    int64_t file_bytes;
    int64_t skeleton_bytes;
  };
  const uint64_t huge = ~uint64_t{0};
  const Bad bads[] = {
      {{0, 0, 50, 0}, 300, 100},   // one storage twice
      {{0, 0, 50, 1}, 300, 100},   // overlap
      {{100, 0, 0, 1}, 300, 100},  // descending
      {{0, 2}, 300, 200},          // no such storage
      {{huge, 0}, 300, 200},       // beyond
      {{250, 0}, 300, 200},        // past the end
      {{0, 0}, 300, 199},          // too little skeleton
      {{0, 0}, 300, 201},          // too much
      {{0, 0, 100, 1, 200, 0}, 300, 0},
  };
  for (const Bad& bad : bads) {
    MemoryFileSystem files;
    const ForeignFile foreign =
        MakeForeign(files, Noise(300, 1), {{0, 100}, {100, 100}});
    auto rows = Storage::Allocate(bad.rows.size() * 8).value();
    std::copy_n(reinterpret_cast<const uint8_t*>(bad.rows.data()),
                bad.rows.size() * 8, rows->mutable_bytes().begin());
    auto skeleton = Storage::Allocate(bad.skeleton_bytes).value();
    GraphBuilder b;
    std::vector<NodeId> tensors;
    for (int i = 0; i < 2; ++i) {
      tensors.push_back(b.Tensor(
          Tensor::Make(Storage::Allocate(100).value(), DType::kUInt8, {100})
              .value()));
    }
    const NodeId list = b.List(tensors);
    const Value root = std::move(b).Finish(list).value();
    NativeOptions options;
    Section section;
    section.type = kOriginSection;
    for (const uint64_t word :
         {uint64_t{1}, static_cast<uint64_t>(bad.file_bytes), uint64_t{2},
          uint64_t{3}}) {
      AppendLittleEndian(word, section.body);
    }
    options.extensions = {section};
    options.attachments = {{rows, DType::kInt64}, {skeleton, DType::kUInt8}};
    MemorySource source;
    const auto file = files.Create("x.pstk", CreateOptions()).value();
    const auto sink =
        NativeSink::Create(*file, root.graph(), source, options).value();
    ASSERT_TRUE(Pump(sink->plan(), source, *sink, PumpOptions()).ok());
    ASSERT_TRUE(file->Close().ok());
    EXPECT_EQ(Restore(files).code(), absl::StatusCode::kDataLoss)
        << bad.rows.size();
  }
}

}  // namespace
}  // namespace penstock
