#include "codec/native_sink.h"

#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/native_index.h"
#include "core/checked.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// The file header, a frame header and padding may precede a chunk.
constexpr int64_t kMaxGlueBytes =
    kHeaderBytes + kFrameHeaderBytes + kLargeAlignment;

int64_t MaxReservation() { return MaxRecordBytes(kChunkBytes) + kMaxGlueBytes; }

Header FileHeader() {
  Header header;
  header.chunk_bytes = kChunkBytes;
  return header;
}

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

absl::StatusOr<std::unique_ptr<NativeSink>> NativeSink::Create(
    WritableFile& file, std::shared_ptr<const Graph> graph, Source& source,
    const NativeOptions& options) {
  PENSTOCK_RETURN_IF_ERROR(CheckExtensions(options.extensions));
  std::unique_ptr<NativeSink> sink(new NativeSink(file));
  PENSTOCK_ASSIGN_OR_RETURN(sink->layout_,
                            LayOut(*graph, options.attachments, options.codec,
                                   options.max_frame_bytes, source));
  sink->SetUpIndex(std::move(graph), options);
  PENSTOCK_ASSIGN_OR_RETURN(
      const int slots,
      CountSlots(options.pump, sink->SlotBytes() + source.SlotBytes()));
  sink->writer_ = std::make_unique<BlockWriter>(
      file, BlockWriter::BlocksNeeded(slots, MaxReservation()));
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
    const std::string& location = layout_.plan.storages[i]->location();
    const auto added =
        numbers.emplace(location, static_cast<uint32_t>(numbers.size()));
    if (added.second) index_.locations.push_back(location);
    index_.storages[i].location = added.first->second;
  }
  index_.chunks.resize(layout_.chunks.size());
  codings_.resize(layout_.chunks.size());
  index_.graph = std::move(graph);
}

int64_t NativeSink::MaxFileBytes() const {
  int64_t total = kHeaderBytes;
  int64_t num_planes = 0;
  int64_t num_coded = 0;
  for (size_t i = 0; i < layout_.chunks.size(); ++i) {
    const ChunkLayout& chunk = layout_.chunks[i];
    const int64_t raw_bytes = layout_.plan.chunks[i].size_bytes;
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

absl::Status NativeSink::Encode(const Plan& plan, const Chunk& chunk,
                                absl::Span<const uint8_t> bytes, Slot& slot) {
  PENSTOCK_CHECK(&plan == &layout_.plan);
  const ChunkLayout& layout = layout_.chunks[chunk.number];
  const uint64_t seed = static_cast<uint64_t>(chunk.number);
  FileChunk& out = index_.chunks[chunk.number];
  out.coded = layout.coded;
  out.raw_bytes = static_cast<uint32_t>(bytes.size());
  out.raw_hash = HashOf(bytes, seed);
  slot.parts.assign(2, {});  // glue, record
  if (layout.coded == 0) {
    out.stored_bytes = out.raw_bytes;
    out.stored_hash = out.raw_hash;
    slot.parts[1] = bytes;
    return absl::OkStatus();
  }
  ChunkCoding& coding = codings_[chunk.number];
  PENSTOCK_ASSIGN_OR_RETURN(const int64_t size,
                            EncodeChunk(bytes, layout.dtype, slot.compressor,
                                        slot.planes, slot.record, coding));
  // What a reader takes at most; an encoder that exceeds it is broken.
  PENSTOCK_CHECK(size <= MaxStoredBytes(chunk.size_bytes));
  slot.parts[1] = absl::MakeConstSpan(slot.record.data(), size);
  out.transform = coding.transform;
  out.num_planes = coding.num_planes;
  out.stored_bytes = static_cast<uint32_t>(size);
  out.stored_hash = HashOf(slot.parts[1], seed);
  return absl::OkStatus();
}

// What stands between the end of the file so far and the chunk.
void NativeSink::AppendGlue(const ChunkLayout& layout,
                            std::string& glue) const {
  int64_t position = writer_->size_bytes();
  if (position == 0) {
    glue = PackHeader(FileHeader());
    position = kHeaderBytes;
  }
  if (layout.frame_bytes > 0) {
    const int64_t payload = position + kFrameHeaderBytes;
    const int64_t data = AlignUp(payload, layout.alignment);
    glue += PackFrameHeader(kRawFrame, data - payload + layout.frame_bytes);
    position = payload;
  }
  glue.append(AlignUp(position, layout.alignment) - position, '\0');
}

absl::Status NativeSink::Place(const Plan& /*plan*/, const Chunk& chunk,
                               Slot& slot) {
  slot.glue.clear();
  AppendGlue(layout_.chunks[chunk.number], slot.glue);
  glue_hasher_.Update(ByteSpan(slot.glue));
  FileChunk& out = index_.chunks[chunk.number];
  const int64_t glue_bytes = static_cast<int64_t>(slot.glue.size());
  out.offset = writer_->size_bytes() + glue_bytes;
  if (out.coded != 0) {
    const ChunkCoding& coding = codings_[chunk.number];
    out.first_plane = static_cast<uint32_t>(index_.planes.size());
    for (int i = 0; i < coding.num_planes; ++i) {
      FilePlane plane;
      plane.frame_bytes = coding.frame_bytes[i];
      plane.mode = coding.modes[i];
      index_.planes.push_back(plane);
    }
  }
  slot.parts[0] = ByteSpan(slot.glue);
  slot.reservation = writer_->Reserve(glue_bytes + out.stored_bytes);
  return absl::OkStatus();
}

absl::Status NativeSink::Write(const Plan& /*plan*/, const Chunk& /*chunk*/,
                               Slot& slot) {
  return writer_->Fill(slot.reservation, slot.parts);
}

absl::Status NativeSink::Finish(const Plan& /*plan*/) {
  if (writer_->size_bytes() == 0) {  // no chunk
    const std::string header = PackHeader(FileHeader());
    glue_hasher_.Update(ByteSpan(header));
    PENSTOCK_RETURN_IF_ERROR(writer_->Append(ByteSpan(header)));
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
  footer.index_offset = writer_->size_bytes() + kFrameHeaderBytes;
  footer.file_bytes = footer.index_offset + footer.index_bytes + kFooterBytes;
  footer.index_hash = HashOf(ByteSpan(payload));
  PENSTOCK_RETURN_IF_ERROR(writer_->Append(
      ByteSpan(PackFrameHeader(kIndexFrame, footer.index_bytes))));
  PENSTOCK_RETURN_IF_ERROR(writer_->Append(ByteSpan(payload)));
  PENSTOCK_RETURN_IF_ERROR(writer_->Append(ByteSpan(PackFooter(footer))));
  return writer_->Finish();
}

int64_t NativeSink::SlotBytes() const {
  const int64_t blocks = BlockWriter::BlocksNeeded(2, MaxReservation()) -
                         BlockWriter::BlocksNeeded(1, MaxReservation());
  // Record, planes, blocks; the pump counts the zstd contexts.
  return MaxRecordBytes(kChunkBytes) + kChunkBytes + blocks * kBlockBytes;
}

}  // namespace penstock
