#include "compat/origin.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/chunk_codec.h"
#include "codec/compressor.h"
#include "codec/format.h"
#include "codec/native_source.h"
#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

// The body of the section; all little-endian.
struct SectionBody {
  uint32_t format = 0;
  uint32_t reserved = 0;
  uint64_t file_bytes = 0;
  uint64_t extents_storage = 0;
  uint64_t skeleton_storage = 0;
};
static_assert(sizeof(SectionBody) == 32);

// An entry of the attachment with the extents.
struct ExtentRow {
  uint64_t file_offset;
  uint64_t storage;
};
static_assert(sizeof(ExtentRow) == 16);

// Codes are frozen (docs/FORMAT.md, "Origin").
constexpr ForeignFormat kFormats[] = {
    ForeignFormat::kPt,           ForeignFormat::kPtLegacy,
    ForeignFormat::kPickle,       ForeignFormat::kSafetensors,
    ForeignFormat::kNpz,          ForeignFormat::kNpy,
    ForeignFormat::kPtTar,        ForeignFormat::kPt2,
    ForeignFormat::kTorchPackage,
};

// Names and tables repeat themselves, as rows of booleans do: the codec tries
// LZ on these alone.
constexpr DType kTextLike = DType::kBool;

constexpr int64_t kFreeSkeletonBytes = 64 << 10;
constexpr int64_t kFileShare = 8;  // and so much of the file, at most
constexpr int64_t kEstimatePieces = 64;

const Section* FindSection(const NativeIndex& index) {
  for (const Section& section : index.extensions) {
    if (section.type == kOriginSection) return &section;
  }
  return nullptr;
}

// The section's body, its storages proven to be attachments.
absl::StatusOr<SectionBody> ParseSection(const Section& section,
                                         const NativeIndex& index) {
  SectionBody body;
  if (section.body.size() != sizeof(body)) {
    return absl::DataLossError(
        absl::StrFormat("origin: a section of %d bytes, expected %d",
                        section.body.size(), sizeof(body)));
  }
  std::memcpy(&body, section.body.data(), sizeof(body));
  const uint64_t in_tree = index.graph->storages().size();
  const uint64_t count = index.storages.size();
  for (const uint64_t storage : {body.extents_storage, body.skeleton_storage}) {
    if (storage >= in_tree && storage < count) continue;
    return absl::DataLossError(
        absl::StrFormat("origin: storage %d, expected one of %d to %d", storage,
                        in_tree, static_cast<int64_t>(count) - 1));
  }
  if (body.extents_storage == body.skeleton_storage ||
      index.storages[body.extents_storage].size_bytes % sizeof(ExtentRow) !=
          0 ||
      body.file_bytes > uint64_t{1} << 62 || body.reserved != 0) {
    return absl::DataLossError("origin: the section contradicts itself");
  }
  return body;
}

absl::Status BadExtent(size_t number, const ExtentRow& row) {
  return absl::DataLossError(absl::StrFormat(
      "origin: extent %d, storage %d at offset %d of the file, does not fit",
      number, row.storage, row.file_offset));
}

// Attachments share chunks with nothing: the one that this is of, if it is.
const Storage* FirstOf(const Plan& plan, const Chunk& chunk) {
  return plan.storages[plan.pieces_of(chunk)[0].storage].get();
}

// A storage that is read from front to back, a chunk at a time, verified.
class StorageReader {
 public:
  StorageReader(const NativeFile& native, int64_t storage)
      : native_(native), source_(native), storage_(storage) {}

  absl::Status Append(int64_t begin, int64_t size, std::string& out) {
    const int64_t total = native_.index().storages[storage_].size_bytes;
    if (!RangeFits(begin, size, total)) {
      return absl::DataLossError("origin: the skeleton is too short");
    }
    for (const int64_t end = begin + size; begin < end;) {
      if (begin < begin_ || begin >= end_) {
        PENSTOCK_RETURN_IF_ERROR(Load(begin, total));
      }
      const int64_t step = std::min(end, end_) - begin;
      out.append(bytes_, begin - begin_, step);
      begin += step;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Load(int64_t begin, int64_t total) {
    const int64_t step = native_.index().chunk_bytes;
    const int64_t first = begin / step * step;
    const StorageRange range{storage_, first, std::min(first + step, total)};
    const Plan plan = native_.PlanFor(absl::MakeConstSpan(&range, 1));
    PENSTOCK_ASSIGN_OR_RETURN(
        const absl::Span<const uint8_t> bytes,
        source_.Bytes(plan, plan.chunks[0], slot_, nullptr));
    bytes_.assign(bytes.begin(), bytes.end());
    // Only now: who asks again after an error gets it again.
    begin_ = range.begin;
    end_ = range.end;
    return absl::OkStatus();
  }

  const NativeFile& native_;
  NativeSource source_;
  const int64_t storage_;
  Slot slot_;
  std::string bytes_;
  int64_t begin_ = 0;
  int64_t end_ = 0;
};

}  // namespace

absl::StatusOr<std::optional<OriginInfo>> OriginOf(const NativeIndex& index) {
  const Section* section = FindSection(index);
  if (section == nullptr) return std::optional<OriginInfo>();
  PENSTOCK_ASSIGN_OR_RETURN(const SectionBody body,
                            ParseSection(*section, index));
  if (body.format >= std::size(kFormats)) return std::optional<OriginInfo>();
  OriginInfo origin;
  origin.format = kFormats[body.format];
  origin.file_bytes = static_cast<int64_t>(body.file_bytes);
  origin.skeleton_bytes = index.storages[body.skeleton_storage].size_bytes;
  origin.num_extents = index.storages[body.extents_storage].size_bytes /
                       static_cast<int64_t>(sizeof(ExtentRow));
  return std::optional<OriginInfo>(origin);
}

OriginSource::OriginSource(const ForeignFile& foreign, Source& base)
    : base_(base),
      file_(foreign.file),
      first_attachment_(foreign.root.graph()->storages().size()),
      format_(foreign.format) {
  const auto storages = foreign.root.graph()->storages();
  std::vector<ExtentRow> rows;
  rows.reserve(foreign.extents.size());
  int64_t position = 0;  // in the file
  int64_t skeleton = 0;
  const auto add_gap = [&](int64_t end) {
    if (end > position) gaps_.push_back({position, skeleton});
    skeleton += end - position;
  };
  for (const FileExtent& extent : foreign.extents) {
    rows.push_back({static_cast<uint64_t>(extent.file_offset),
                    static_cast<uint64_t>(extent.storage)});
    add_gap(extent.file_offset);
    position = extent.file_offset + storages[extent.storage]->size_bytes();
  }
  add_gap(file_->size_bytes());
  const uint8_t* const table = reinterpret_cast<const uint8_t*>(rows.data());
  extent_table_.assign(table, table + rows.size() * sizeof(ExtentRow));
  extents_ = Storage::Adopt(absl::MakeSpan(extent_table_), nullptr);
  skeleton_ = Storage::InFile(skeleton, 0);
}

absl::StatusOr<std::string> OriginSource::Attach(bool always,
                                                 NativeOptions& options) {
  const int64_t limit = kFreeSkeletonBytes + file_->size_bytes() / kFileShare;
  if (!always && skeleton_->size_bytes() > limit) {
    PENSTOCK_ASSIGN_OR_RETURN(const int64_t coded, EstimateCodedBytes());
    if (coded > limit) {
      return absl::StrFormat(
          "the original file will not be given back byte for byte: what is not "
          "tensors in it takes %d bytes, compressed about %d (--origin always "
          "keeps it)",
          skeleton_->size_bytes(), coded);
    }
  }
  SectionBody body;
  body.format = static_cast<uint32_t>(
      std::find(std::begin(kFormats), std::end(kFormats), format_) - kFormats);
  body.file_bytes = static_cast<uint64_t>(file_->size_bytes());
  body.extents_storage = first_attachment_;
  body.skeleton_storage = first_attachment_ + 1;
  Section section;
  section.type = kOriginSection;
  section.body.assign(reinterpret_cast<const char*>(&body), sizeof(body));
  options.extensions.push_back(std::move(section));
  options.attachments.push_back({extents_, kTextLike});
  options.attachments.push_back({skeleton_, kTextLike});
  return std::string();
}

// From some pieces, evenly spread.
absl::StatusOr<int64_t> OriginSource::EstimateCodedBytes() const {
  const int64_t total = skeleton_->size_bytes();
  const int64_t num_pieces = (total + kChunkBytes - 1) / kChunkBytes;
  const int64_t step = (num_pieces + kEstimatePieces - 1) / kEstimatePieces;
  Compressor compressor;
  AlignedBuffer raw, planes, record;
  raw.Reserve(kChunkBytes);
  int64_t coded = 0;
  int64_t seen = 0;
  for (int64_t piece = 0; piece < num_pieces; piece += step) {
    const int64_t begin = piece * kChunkBytes;
    const int64_t size = std::min(kChunkBytes, total - begin);
    const absl::Span<uint8_t> bytes(raw.data(), size);
    PENSTOCK_RETURN_IF_ERROR(ReadSkeleton(begin, bytes));
    ChunkCoding coding;
    PENSTOCK_ASSIGN_OR_RETURN(
        const int64_t stored,
        EncodeChunk(bytes, kTextLike, compressor, planes, record, coding));
    coded += stored;
    seen += size;
  }
  return static_cast<int64_t>(static_cast<double>(coded) /
                              static_cast<double>(seen) *
                              static_cast<double>(total));
}

absl::Status OriginSource::ReadSkeleton(int64_t begin,
                                        absl::Span<uint8_t> out) const {
  // The gap that `begin` is in.
  size_t gap = std::upper_bound(gaps_.begin(), gaps_.end(), begin,
                                [](int64_t at, const Gap& next) {
                                  return at < next.skeleton_offset;
                                }) -
               gaps_.begin() - 1;
  while (!out.empty()) {
    const int64_t end = gap + 1 < gaps_.size() ? gaps_[gap + 1].skeleton_offset
                                               : skeleton_->size_bytes();
    const int64_t size =
        std::min<int64_t>(end - begin, static_cast<int64_t>(out.size()));
    PENSTOCK_RETURN_IF_ERROR(
        file_->Read(gaps_[gap].file_offset + begin - gaps_[gap].skeleton_offset,
                    out.first(size)));
    out.remove_prefix(size);
    begin += size;
    ++gap;
  }
  return absl::OkStatus();
}

absl::Status OriginSource::Begin(const Plan& plan, const Chunk& chunk,
                                 Slot& slot) {
  const Storage* const storage = FirstOf(plan, chunk);
  if (storage == extents_.get() || storage == skeleton_.get()) {
    return absl::OkStatus();
  }
  return base_.Begin(plan, chunk, slot);
}

absl::StatusOr<absl::Span<const uint8_t>> OriginSource::Bytes(
    const Plan& plan, const Chunk& chunk, Slot& slot, uint8_t* target) {
  const Piece& piece = plan.pieces_of(chunk)[0];
  const Storage* const storage = FirstOf(plan, chunk);
  if (storage == extents_.get()) {
    return extents_->bytes().subspan(piece.begin, piece.size);
  }
  if (storage != skeleton_.get()) return base_.Bytes(plan, chunk, slot, target);
  if (target == nullptr) {
    slot.raw.Reserve(chunk.size_bytes);
    target = slot.raw.data();
  }
  const absl::Span<uint8_t> out(target, chunk.size_bytes);
  PENSTOCK_RETURN_IF_ERROR(ReadSkeleton(piece.begin, out));
  return out;
}

absl::Status OriginSource::Sample(const Storage& storage, int64_t begin,
                                  absl::Span<uint8_t> out) {
  if (&storage == extents_.get()) {
    std::memcpy(out.data(), extents_->bytes().data() + begin, out.size());
    return absl::OkStatus();
  }
  if (&storage == skeleton_.get()) return ReadSkeleton(begin, out);
  return base_.Sample(storage, begin, out);
}

int64_t OriginSource::SlotBytes() const {
  return std::max(base_.SlotBytes(), kRunBytes);
}

void KeepOrigin(const NativeFile& native, NativeOptions& options) {
  const Section* section = FindSection(native.index());
  if (section == nullptr) return;
  options.extensions.push_back(*section);
  for (const auto& attachment : native.index().attachments) {
    options.attachments.push_back({attachment, kTextLike});
  }
}

absl::StatusOr<FileLayout> LayOutOrigin(const NativeFile& native) {
  const NativeIndex& index = native.index();
  const Section* section = FindSection(index);
  if (section == nullptr) return absl::NotFoundError("the file has no origin");
  PENSTOCK_ASSIGN_OR_RETURN(const SectionBody body,
                            ParseSection(*section, index));
  const int64_t extents_bytes = index.storages[body.extents_storage].size_bytes;
  const auto storages = index.graph->storages();
  if (extents_bytes / static_cast<int64_t>(sizeof(ExtentRow)) >
      static_cast<int64_t>(storages.size())) {
    return absl::DataLossError("origin: more extents than storages");
  }
  std::string table;
  PENSTOCK_RETURN_IF_ERROR(
      StorageReader(native, static_cast<int64_t>(body.extents_storage))
          .Append(0, extents_bytes, table));
  std::vector<ExtentRow> rows(table.size() / sizeof(ExtentRow));
  if (!rows.empty()) std::memcpy(rows.data(), table.data(), table.size());
  FileLayout layout;
  std::vector<bool> seen(storages.size());
  const int64_t file_bytes = static_cast<int64_t>(body.file_bytes);
  int64_t position = 0;
  int64_t glue = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ExtentRow& row = rows[i];
    if (row.storage >= storages.size() || seen[row.storage] ||
        row.file_offset > body.file_bytes) {
      return BadExtent(i, row);
    }
    seen[row.storage] = true;
    const int64_t offset = static_cast<int64_t>(row.file_offset);
    const int64_t size = storages[row.storage]->size_bytes();
    if (offset < position || !RangeFits(offset, size, file_bytes)) {
      return BadExtent(i, row);
    }
    layout.glue_bytes.push_back(offset - position);
    layout.storages.push_back(storages[row.storage]);
    glue += offset - position;
    position = offset + size;
  }
  layout.glue_bytes.push_back(file_bytes - position);
  glue += file_bytes - position;
  const int64_t skeleton = index.storages[body.skeleton_storage].size_bytes;
  if (glue != skeleton) {
    return absl::DataLossError(absl::StrFormat(
        "origin: a file of %d bytes needs a skeleton of %d, found %d",
        file_bytes, glue, skeleton));
  }
  layout.glue = [reader = std::make_shared<StorageReader>(
                     native, static_cast<int64_t>(body.skeleton_storage))](
                    int64_t begin, int64_t size, std::string& out) {
    return reader->Append(begin, size, out);
  };
  return layout;
}

}  // namespace penstock
