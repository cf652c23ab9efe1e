#include "codec/native_sink.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/copy.h"
#include "codec/native_index.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kAllocateStep = 32 << 20;

// The file header, a frame header and padding may precede a chunk.
constexpr int64_t kMaxGlueBytes =
    kHeaderBytes + kFrameHeaderBytes + kLargeAlignment;

absl::Status CheckExtensions(const std::vector<Section>& extensions) {
  uint32_t next = kFirstExtension;
  for (const Section& section : extensions) {
    if (section.type < next || (section.flags & ~kSectionRequired) != 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "section of type %u, flags %#x: expected ascending types from %u on, "
          "flags 0 or 1",
          section.type, section.flags, kFirstExtension));
    }
    next = section.type + 1;
  }
  return absl::OkStatus();
}

}  // namespace

// What Source::LendPieces lent, from its front.
class LentPieces {
 public:
  explicit LentPieces(absl::Span<const absl::Span<const uint8_t>> pieces)
      : pieces_(pieces) {}

  // All within one piece.
  absl::Span<const uint8_t> Take(int64_t size_bytes) {
    const absl::Span<const uint8_t> taken =
        pieces_[0].subspan(used_bytes_, size_bytes);
    used_bytes_ += taken.size();
    if (used_bytes_ == pieces_[0].size()) {
      pieces_.remove_prefix(1);
      used_bytes_ = 0;
    }
    return taken;
  }

 private:
  absl::Span<const absl::Span<const uint8_t>> pieces_;
  size_t used_bytes_ = 0;  // of the first
};

absl::StatusOr<std::unique_ptr<NativeSink>> NativeSink::Create(
    WritableFile& file, std::shared_ptr<const Graph> graph, Source& source,
    const NativeOptions& options) {
  PENSTOCK_RETURN_IF_ERROR(CheckExtensions(options.extensions));
  std::unique_ptr<NativeSink> sink(new NativeSink(file));
  PENSTOCK_ASSIGN_OR_RETURN(sink->layout_,
                            LayOut(*graph, options.attachments, options.codec,
                                   options.max_frame_bytes, source));
  sink->SetUpIndex(std::move(graph), options);
  sink->SetUpSlots();
  return sink;
}

void NativeSink::SetUpIndex(std::shared_ptr<const Graph> graph,
                            const NativeOptions& options) {
  index_.chunk_bytes = kChunkBytes;
  index_.storages = layout_.storages;
  index_.extensions = options.extensions;
  index_.meta = {
      {"writer", std::string(kWriterName)},
      {"codec", options.codec == NativeCodec::kZstd ? "zstd" : "none"},
  };
  index_.meta.insert(index_.meta.end(), options.meta.begin(),
                     options.meta.end());
  absl::flat_hash_map<std::string, uint32_t> numbers;
  for (size_t i = 0; i < index_.storages.size(); ++i) {
    const std::string& location = layout_.file_plan.storages[i]->location();
    const auto added =
        numbers.emplace(location, static_cast<uint32_t>(numbers.size()));
    if (added.second) index_.locations.push_back(location);
    index_.storages[i].location = added.first->second;
  }
  index_.chunks.resize(layout_.chunks.size());
  codings_.resize(layout_.chunks.size());
  index_.graph = std::move(graph);
}

void NativeSink::SetUpSlots() {
  for (size_t i = 0; i < layout_.runs.size(); ++i) {
    const FileRun& run = layout_.runs[i];
    if (run.begin >= 0) {
      block_bytes_ = std::max(
          block_bytes_, BlockWriter::BlockBytes(
                            kMaxGlueBytes + layout_.plan.chunks[i].size_bytes));
      slot_bytes_ = std::max(slot_bytes_, block_bytes_);
      continue;
    }
    // Records, the block that they are copied to, planes.
    int64_t records = 0;
    for (int64_t j = 0; j < run.num_chunks; ++j) {
      const int64_t number = run.first_chunk + j;
      records += MaxRecordBytes(layout_.file_plan.chunks[number].size_bytes) +
                 kMaxGlueBytes;
    }
    block_bytes_ = std::max(block_bytes_, BlockWriter::BlockBytes(records));
    slot_bytes_ = std::max(
        slot_bytes_, records + BlockWriter::BlockBytes(records) + kChunkBytes);
  }
}

int64_t NativeSink::MaxFileBytes() const {
  int64_t total = kHeaderBytes;
  int64_t num_planes = 0;
  int64_t num_coded = 0;
  for (size_t i = 0; i < layout_.chunks.size(); ++i) {
    const ChunkLayout& chunk = layout_.chunks[i];
    const int64_t raw_bytes = layout_.file_plan.chunks[i].size_bytes;
    total += chunk.coded != 0 ? MaxRecordBytes(raw_bytes) : raw_bytes;
    total += chunk.alignment - 1;
    if (chunk.frame_bytes > 0) total += kFrameHeaderBytes;
    num_coded += chunk.coded;
    num_planes += chunk.coded != 0 ? kMaxPlanes : 0;
  }
  // The index as it is so far has all tables but planes and raw hashes.
  return total + static_cast<int64_t>(PackIndex(index_).size()) +
         num_planes * static_cast<int64_t>(sizeof(FilePlane)) +
         num_coded * static_cast<int64_t>(sizeof(Hash128)) + kFrameHeaderBytes +
         kFooterBytes;
}

// Bytes in front of the first chunk of a run that has a place.
int64_t NativeSink::GlueOf(const FileRun& run) const {
  return static_cast<int64_t>(
      GlueBefore(run.begin, layout_.chunks[run.first_chunk]).size());
}

uint8_t* NativeSink::Target(const Plan&, const Chunk& chunk, Slot& slot) {
  const FileRun& run = layout_.runs[chunk.number];
  // At once as large as it will ever be: growing it would cost new pages.
  if (!file_.sequential()) slot.block.bytes.Reserve(block_bytes_);
  if (run.begin < 0) return nullptr;
  const int64_t glue = GlueOf(run);
  return BlockWriter::Prepare(run.begin, glue + chunk.size_bytes, slot.block) +
         glue;
}

bool NativeSink::TakesPieces(const Chunk& chunk) const {
  return layout_.runs[chunk.number].begin >= 0;
}

absl::Status NativeSink::Encode(const Plan& plan, const Chunk& chunk,
                                absl::Span<const uint8_t> bytes, Slot& slot) {
  PENSTOCK_CHECK(&plan == &layout_.plan);
  const FileRun& run = layout_.runs[chunk.number];
  uint8_t* const target = Target(plan, chunk, slot);
  slot.records.resize(run.num_chunks);
  slot.parts.assign(run.num_chunks, {});  // what is stored of each chunk
  LentPieces lent(slot.pieces);
  for (int64_t i = 0; i < run.num_chunks; ++i) {
    const int64_t number = run.first_chunk + i;
    const int64_t offset = layout_.offsets_in_run[number];
    const absl::Span<const uint8_t> part =
        bytes.subspan(offset, layout_.file_plan.chunks[number].size_bytes);
    if (layout_.chunks[number].coded != 0) {
      PENSTOCK_ASSIGN_OR_RETURN(slot.parts[i],
                                Compress(number, part, slot.records[i], slot));
      continue;
    }
    // Where it has no place yet it is copied when it has.
    const uint8_t* const to = target == nullptr ? part.data() : target + offset;
    HashRaw(number, part, slot.pieces.empty() ? nullptr : &lent,
            const_cast<uint8_t*>(to));
    slot.parts[i] = absl::MakeConstSpan(to, part.size());
  }
  return absl::OkStatus();
}

void NativeSink::HashRaw(int64_t number, absl::Span<const uint8_t> bytes,
                         LentPieces* lent, uint8_t* to) {
  FileChunk& out = index_.chunks[number];
  out.raw_bytes = out.stored_bytes = static_cast<uint32_t>(bytes.size());
  Hasher hasher(static_cast<uint64_t>(number));
  const auto hash = [&hasher](absl::Span<const uint8_t> tile) {
    hasher.Update(tile);
  };
  if (lent == nullptr) {
    CopyInTiles(bytes, to, hash);
  } else {
    int64_t end = 0;
    const Plan& plan = layout_.file_plan;
    for (const Piece& piece : plan.pieces_of(plan.chunks[number])) {
      std::memset(to + end, 0, piece.offset - end);
      hash(absl::MakeConstSpan(to + end, piece.offset - end));
      CopyInTiles(lent->Take(piece.size), to + piece.offset, hash);
      end = piece.offset + piece.size;
    }
  }
  out.raw_hash = out.stored_hash = hasher.Digest();
}

absl::StatusOr<absl::Span<const uint8_t>> NativeSink::Compress(
    int64_t number, absl::Span<const uint8_t> bytes, AlignedBuffer& record,
    Slot& slot) {
  const uint64_t seed = static_cast<uint64_t>(number);
  FileChunk& out = index_.chunks[number];
  out.coded = 1;
  out.raw_bytes = static_cast<uint32_t>(bytes.size());
  out.raw_hash = HashOf(bytes, seed);
  ChunkCoding& coding = codings_[number];
  PENSTOCK_ASSIGN_OR_RETURN(
      const int64_t size,
      EncodeChunk(bytes, layout_.chunks[number].dtype, slot.compressor,
                  slot.planes, record, coding));
  // What a reader takes at most; an encoder that exceeds it is broken.
  PENSTOCK_CHECK(size <= MaxStoredBytes(out.raw_bytes));
  out.transform = coding.transform;
  out.num_planes = coding.num_planes;
  const absl::Span<const uint8_t> stored(record.data(), size);
  out.stored_bytes = static_cast<uint32_t>(size);
  out.stored_hash = HashOf(stored, seed);
  return stored;
}

// In order: what only the chunks before decide.
void NativeSink::SetPlace(int64_t number, int64_t offset) {
  FileChunk& out = index_.chunks[number];
  out.offset = offset;
  if (out.coded == 0) return;
  const ChunkCoding& coding = codings_[number];
  out.first_plane = static_cast<uint32_t>(index_.planes.size());
  for (int i = 0; i < coding.num_planes; ++i) {
    FilePlane plane;
    plane.frame_bytes = coding.frame_bytes[i];
    plane.mode = coding.modes[i];
    index_.planes.push_back(plane);
  }
}

absl::Status NativeSink::Place(const Plan& plan, const Chunk& chunk,
                               Slot& slot) {
  const FileRun& run = layout_.runs[chunk.number];
  uint8_t* const target = Target(plan, chunk, slot);
  const int64_t begin = writer_.size_bytes();
  int64_t position = begin;
  std::vector<int64_t> glue_ends;
  slot.glue.clear();
  for (int64_t i = 0; i < run.num_chunks; ++i) {
    const int64_t number = run.first_chunk + i;
    const std::string glue = GlueBefore(position, layout_.chunks[number]);
    position += static_cast<int64_t>(glue.size());
    SetPlace(number, position);
    if (target != nullptr && !glue.empty()) {
      std::memcpy(const_cast<uint8_t*>(slot.parts[i].data()) - glue.size(),
                  glue.data(), glue.size());
    }
    position += static_cast<int64_t>(slot.parts[i].size());
    slot.glue += glue;
    glue_ends.push_back(static_cast<int64_t>(slot.glue.size()));
  }
  const absl::Span<const uint8_t> glue = ByteSpan(slot.glue);
  glue_hasher_.Update(glue);
  std::vector<absl::Span<const uint8_t>> parts;
  if (target != nullptr) {
    PENSTOCK_CHECK(run.begin == begin);
    parts = {absl::MakeConstSpan(target - glue_ends[0], position - begin)};
  } else {
    for (int64_t i = 0; i < run.num_chunks; ++i) {
      const int64_t from = i == 0 ? 0 : glue_ends[i - 1];
      parts.push_back(glue.subspan(from, glue_ends[i] - from));
      parts.push_back(slot.parts[i]);
    }
  }
  slot.parts = std::move(parts);
  writer_.Place(slot.parts, slot.block);
  return target == nullptr ? AllocateAhead() : absl::OkStatus();
}

// Direct writes that extend a file wait for one another; how long a coded file
// becomes is not known, and what is too much has to be freed again.
absl::Status NativeSink::AllocateAhead() {
  const int64_t end = writer_.size_bytes();
  if (!file_.direct() || end <= allocated_bytes_) return absl::OkStatus();
  allocated_bytes_ = end + kAllocateStep;
  if (file_.Allocate(allocated_bytes_).ok()) return absl::OkStatus();
  // A disk that is nearly full may still hold what is needed.
  allocated_bytes_ = end;
  return file_.Allocate(end);
}

absl::Status NativeSink::Write(const Plan& /*plan*/, const Chunk& /*chunk*/,
                               Slot& slot) {
  return writer_.Write(slot.parts, slot.block);
}

absl::Status NativeSink::Finish(const Plan& /*plan*/) {
  if (writer_.size_bytes() == 0) {  // no chunk
    const std::string header = GlueBefore(0, ChunkLayout());
    glue_hasher_.Update(ByteSpan(header));
    PENSTOCK_RETURN_IF_ERROR(writer_.Append(ByteSpan(header)));
  }
  index_.glue_hash = glue_hasher_.Digest();
  const std::string payload = PackIndex(index_);
  Footer footer;
  footer.index_bytes = static_cast<int64_t>(payload.size());
  if (footer.index_bytes > kMaxIndexBytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("index of %d bytes; a file holds at most %d",
                        footer.index_bytes, kMaxIndexBytes));
  }
  footer.index_offset = writer_.size_bytes() + kFrameHeaderBytes;
  footer.file_bytes = footer.index_offset + footer.index_bytes + kFooterBytes;
  footer.index_hash = HashOf(ByteSpan(payload));
  PENSTOCK_RETURN_IF_ERROR(writer_.Append(
      ByteSpan(PackFrameHeader(kIndexFrame, footer.index_bytes))));
  PENSTOCK_RETURN_IF_ERROR(writer_.Append(ByteSpan(payload)));
  PENSTOCK_RETURN_IF_ERROR(writer_.Append(ByteSpan(PackFooter(footer))));
  return writer_.Finish();
}

}  // namespace penstock
