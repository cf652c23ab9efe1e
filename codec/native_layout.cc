#include "codec/native_layout.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "codec/chunk_codec.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// A storage is judged by these windows. They start at multiples of their size,
// so that a source that has to decode touches one chunk for each.
constexpr int64_t kNumWindows = 4;
constexpr int64_t kWindowBytes = 8 << 10;
// A group is judged by the start of some of its pieces.
constexpr int64_t kGroupSamples = 64;
constexpr int64_t kGroupSampleBytes = 1 << 10;
// A smaller group is raw: too few bytes to judge, and less to gain than a frame
// costs.
constexpr int64_t kLeastCodedBytes = 256;

// What is coded or left raw as a whole.
struct Unit {
  std::vector<Piece> group;  // empty: `storage` alone
  int64_t storage = 0;       // the first
  int64_t size_bytes = 0;
  DType dtype = DType::kUInt8;
  uint8_t coded = 0;
  bool attached = false;
};

// In order of their first storage.
std::vector<Unit> CutIntoUnits(const Graph& graph,
                               absl::Span<const Attachment> attachments) {
  const std::vector<DType> dtypes = graph.StorageDTypes();
  std::vector<Unit> units;
  std::array<int64_t, kNumDTypes> open;  // the unit that a dtype's group is
  open.fill(-1);
  for (size_t i = 0; i < graph.storages().size(); ++i) {
    const int64_t size = graph.storages()[i]->size_bytes();
    if (size == 0) continue;
    const int64_t storage = static_cast<int64_t>(i);
    Unit unit;
    unit.storage = storage;
    unit.dtype = dtypes[i];
    unit.size_bytes = size;
    if (size >= kSmallStorageBytes) {
      units.push_back(std::move(unit));
      continue;
    }
    int64_t& number = open[static_cast<size_t>(dtypes[i])];
    const int64_t begin =
        number < 0 ? 0 : AlignUp(units[number].size_bytes, kPieceAlignment);
    if (number < 0 || !RangeFits(begin, size, kChunkBytes)) {
      number = static_cast<int64_t>(units.size());
      unit.group.push_back({storage, 0, size, 0});
      units.push_back(std::move(unit));
      continue;
    }
    units[number].group.push_back({storage, 0, size, begin});
    units[number].size_bytes = begin + size;
  }
  int64_t storage = static_cast<int64_t>(graph.storages().size());
  for (const Attachment& attachment : attachments) {
    Unit unit;
    unit.storage = storage++;
    unit.dtype = attachment.dtype;
    unit.size_bytes = attachment.storage->size_bytes();
    unit.attached = true;
    if (unit.size_bytes == 0) continue;
    if (unit.size_bytes < kSmallStorageBytes) {
      unit.group.push_back({unit.storage, 0, unit.size_bytes, 0});
    }
    units.push_back(std::move(unit));
  }
  return units;
}

absl::Status SampleStorage(const Storage& storage, Source& source,
                           std::vector<uint8_t>& sample) {
  sample.resize(kNumWindows * kWindowBytes);
  const int64_t last = storage.size_bytes() - kWindowBytes;
  for (int64_t i = 0; i < kNumWindows; ++i) {
    const int64_t begin =
        last / (kNumWindows - 1) * i / kWindowBytes * kWindowBytes;
    PENSTOCK_RETURN_IF_ERROR(source.Sample(
        storage, begin,
        absl::MakeSpan(sample).subspan(i * kWindowBytes, kWindowBytes)));
  }
  return absl::OkStatus();
}

// Starts of pieces as they would lie in the chunk, gaps included: a group of
// scalars is mostly gaps, and worth coding for them.
absl::Status SampleGroup(const Unit& unit, const Plan& plan, Source& source,
                         std::vector<uint8_t>& sample) {
  const size_t step = unit.group.size() / kGroupSamples + 1;
  sample.clear();
  for (size_t i = 0; i < unit.group.size(); i += step) {
    const Piece& piece = unit.group[i];
    const int64_t size = std::min(piece.size, kGroupSampleBytes);
    const size_t begin =
        AlignUp(static_cast<int64_t>(sample.size()), kPieceAlignment);
    sample.resize(begin + size, 0);
    PENSTOCK_RETURN_IF_ERROR(
        source.Sample(*plan.storages[piece.storage], 0,
                      absl::MakeSpan(sample).subspan(begin, size)));
  }
  return absl::OkStatus();
}

absl::Status Judge(const Plan& plan, NativeCodec codec, Source& source,
                   std::vector<Unit>& units) {
  std::vector<uint8_t> sample;
  for (Unit& unit : units) {
    if (unit.size_bytes < kLeastCodedBytes) continue;
    if (codec == NativeCodec::kNone && !unit.attached) continue;
    PENSTOCK_RETURN_IF_ERROR(
        unit.group.empty()
            ? SampleStorage(*plan.storages[unit.storage], source, sample)
            : SampleGroup(unit, plan, source, sample));
    unit.coded = JudgeSample(sample, unit.dtype).worth_coding ? 1 : 0;
  }
  return absl::OkStatus();
}

// Appends the chunks of `unit`. Those of a large raw one get their frames.
void AppendUnit(const Unit& unit, int64_t max_frame_bytes,
                NativeLayout& layout) {
  const int64_t first = static_cast<int64_t>(layout.file_plan.chunks.size());
  ChunkLayout chunk;
  chunk.dtype = unit.dtype;
  chunk.coded = unit.coded;
  if (!unit.group.empty()) {
    chunk.alignment = unit.coded != 0 ? 1 : kSmallAlignment;
    layout.file_plan.Append(unit.group);
    layout.chunks.push_back(chunk);
    for (const Piece& piece : unit.group) {
      layout.storages[piece.storage].first_chunk = first;
      layout.storages[piece.storage].offset_in_chunk =
          static_cast<uint32_t>(piece.offset);
    }
    return;
  }
  layout.storages[unit.storage].first_chunk = first;
  const bool large = unit.coded == 0 && unit.size_bytes >= kLargeRawBytes;
  const int64_t most_in_frame =
      (max_frame_bytes - kLargeAlignment) / kChunkBytes * kChunkBytes;
  int64_t left_in_frame = 0;
  Piece piece{unit.storage, 0, 0, 0};
  for (; piece.begin < unit.size_bytes; piece.begin += piece.size) {
    const int64_t left = unit.size_bytes - piece.begin;
    piece.size = std::min(kChunkBytes, left);
    chunk.alignment = 1;
    chunk.frame_bytes = 0;
    if (large && left_in_frame == 0) {
      left_in_frame = chunk.frame_bytes = std::min(left, most_in_frame);
      chunk.alignment = kLargeAlignment;
    } else if (unit.coded == 0 && piece.begin == 0) {
      chunk.alignment = kSmallAlignment;
    }
    left_in_frame -= large ? piece.size : 0;
    layout.file_plan.Append(absl::MakeConstSpan(&piece, 1));
    layout.chunks.push_back(chunk);
  }
}

bool SharesFrame(const Unit& unit) {
  return unit.coded == 0 && unit.size_bytes < kLargeRawBytes;
}

// Appends the small raw units, in as few frames as hold them.
void AppendSharedFrames(const std::vector<Unit>& units, int64_t max_frame_bytes,
                        NativeLayout& layout) {
  int64_t first = -1;  // chunk of the frame being filled
  int64_t end = 0;     // of its data
  for (const Unit& unit : units) {
    if (!SharesFrame(unit)) continue;
    const int64_t begin = AlignUp(end, kSmallAlignment);
    const int64_t limit =
        max_frame_bytes - kSmallAlignment;  // padding in front
    const bool fits = first >= 0 && RangeFits(begin, unit.size_bytes, limit);
    if (!fits) first = static_cast<int64_t>(layout.chunks.size());
    end = (fits ? begin : 0) + unit.size_bytes;
    AppendUnit(unit, max_frame_bytes, layout);
    layout.chunks[first].frame_bytes = end;
  }
}

// Joins chunks into runs. Without a place, those of a storage with several stay
// among themselves, so that a source can lend them in one piece.
class RunMaker {
 public:
  RunMaker(int64_t first_attachment, NativeLayout& layout)
      : first_attachment_(first_attachment), layout_(layout) {}

  void Make() {
    layout_.plan.storages = layout_.file_plan.storages;
    layout_.offsets_in_run.resize(layout_.chunks.size());
    for (size_t i = 0; i < layout_.chunks.size(); ++i) {
      Add(static_cast<int64_t>(i));
    }
    CloseRun();
  }

 private:
  void Add(int64_t number) {
    const ChunkLayout& layout = layout_.chunks[number];
    const Chunk& chunk = layout_.file_plan.chunks[number];
    const absl::Span<const Piece> pieces = layout_.file_plan.pieces_of(chunk);
    const bool has_place = position_ >= 0 && layout.coded == 0;
    const int64_t glue =
        has_place ? static_cast<int64_t>(GlueBefore(position_, layout).size())
                  : 0;
    const int64_t owner = OwnerOf(pieces, has_place);
    const int64_t begin =
        has_place ? size_ + glue : AlignUp(size_, kPieceAlignment);
    const int64_t most = has_place ? kRunBytes : kMaxOpenRun;
    if (run_.num_chunks == 0 || has_place != (run_.begin >= 0) ||
        owner != owner_ || (owner >= 0 && begin != size_) ||
        !RangeFits(begin, chunk.size_bytes, most)) {
      CloseRun();
      run_.first_chunk = number;
      run_.begin = has_place ? position_ : -1;
      owner_ = owner;
    }
    const int64_t offset = run_.num_chunks == 0 ? 0 : begin;
    ++run_.num_chunks;
    layout_.offsets_in_run[number] = offset;
    size_ = offset + chunk.size_bytes;
    position_ = has_place ? position_ + glue + chunk.size_bytes : -1;
    for (Piece piece : pieces) {
      piece.offset += offset;
      if (!pieces_.empty() && Continues(pieces_.back(), piece)) {
        pieces_.back().size += piece.size;
      } else {
        pieces_.push_back(piece);
      }
    }
  }

  static bool Continues(const Piece& before, const Piece& piece) {
    return before.storage == piece.storage &&
           before.begin + before.size == piece.begin &&
           before.offset + before.size == piece.offset;
  }

  // The storage that has the run to itself; -1: none.
  int64_t OwnerOf(absl::Span<const Piece> pieces, bool has_place) const {
    const int64_t storage = pieces[0].storage;
    if (storage >= first_attachment_) return storage;
    const int64_t size = layout_.file_plan.storages[storage]->size_bytes();
    return size > kChunkBytes && !has_place ? storage : -1;
  }

  void CloseRun() {
    if (run_.num_chunks > 0) {
      layout_.plan.AppendPlaced(pieces_);
      layout_.runs.push_back(run_);
    }
    pieces_.clear();
    run_ = FileRun();
    size_ = 0;
  }

  // Where sizes are open each chunk is encoded into a buffer of its own.
  static constexpr int64_t kMaxOpenRun = 2 * kChunkBytes;

  const int64_t first_attachment_;
  NativeLayout& layout_;
  int64_t position_ = 0;  // in the file; -1: coded chunks leave it open
  FileRun run_;
  int64_t owner_ = -1;  // OwnerOf its chunks
  int64_t size_ = 0;    // of its bytes
  std::vector<Piece> pieces_;
};

}  // namespace

std::string GlueBefore(int64_t position, const ChunkLayout& chunk) {
  std::string glue;
  if (position == 0) {
    Header header;
    header.chunk_bytes = kChunkBytes;
    glue = PackHeader(header);
    position = kHeaderBytes;
  }
  if (chunk.frame_bytes > 0) {
    const int64_t payload = position + kFrameHeaderBytes;
    const int64_t data = AlignUp(payload, chunk.alignment);
    glue += PackFrameHeader(kRawFrame, data - payload + chunk.frame_bytes);
    position = payload;
  }
  glue.append(AlignUp(position, chunk.alignment) - position, '\0');
  return glue;
}

absl::StatusOr<NativeLayout> LayOut(const Graph& graph,
                                    absl::Span<const Attachment> attachments,
                                    NativeCodec codec, int64_t max_frame_bytes,
                                    Source& source) {
  PENSTOCK_CHECK(max_frame_bytes > kLargeRawBytes + kLargeAlignment &&
                 max_frame_bytes <= kMaxFramePayload);
  NativeLayout layout;
  Plan& plan = layout.file_plan;
  plan.storages.assign(graph.storages().begin(), graph.storages().end());
  for (const Attachment& attachment : attachments) {
    plan.storages.push_back(attachment.storage);
  }
  layout.storages.resize(plan.storages.size());
  for (size_t i = 0; i < layout.storages.size(); ++i) {
    layout.storages[i].size_bytes = plan.storages[i]->size_bytes();
  }
  std::vector<Unit> units = CutIntoUnits(graph, attachments);
  PENSTOCK_RETURN_IF_ERROR(Judge(plan, codec, source, units));
  AppendSharedFrames(units, max_frame_bytes, layout);
  for (const Unit& unit : units) {
    if (!SharesFrame(unit)) AppendUnit(unit, max_frame_bytes, layout);
  }
  RunMaker(static_cast<int64_t>(graph.storages().size()), layout).Make();
  return layout;
}

}  // namespace penstock
