#include "compat/pt_sink.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/pipeline.h"
#include "compat/serialization_id.h"
#include "compat/zip_name.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr size_t kMaxArchiveNameBytes = 256;
constexpr absl::string_view kVersion = "3\n";

// A slot's chunk is in flight; no pump has more slots.
constexpr int64_t kMaxInFlight = 2 * kMaxThreads + 2;

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                             text.size());
}

bool EndsStorage(const Plan& plan, const Piece& piece) {
  return piece.begin + piece.size == plan.storages[piece.storage]->size_bytes();
}

// The keys 0 to `num_keys` - 1 in the order of their records.
std::vector<int64_t> KeysInFileOrder(PtProfile profile, size_t num_keys) {
  std::vector<int64_t> keys(num_keys);
  std::iota(keys.begin(), keys.end(), 0);
  if (profile == PtProfile::kT27) return keys;
  std::vector<std::string> names;
  names.reserve(num_keys);
  for (const int64_t key : keys) names.push_back(absl::StrCat(key));
  std::sort(keys.begin(), keys.end(),
            [&](int64_t a, int64_t b) { return names[a] < names[b]; });
  return keys;
}

}  // namespace

absl::StatusOr<std::string> ArchiveNameFor(absl::string_view path) {
  const size_t slash = path.find_last_of("/\\");
  absl::string_view name = slash == path.npos ? path : path.substr(slash + 1);
  const size_t dot = name.rfind('.');
  if (dot != name.npos) name = name.substr(0, dot);
  // torch writes such files through a stream, which has no name. It looks at
  // the whole path.
  if (!std::all_of(path.begin(), path.end(),
                   [](char c) { return absl::ascii_isascii(c); })) {
    return "archive";
  }
  if (name.empty() || name.size() > kMaxArchiveNameBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: a .pt file's records are named after it, so it needs a name of 1 "
        "to %d bytes before its extension",
        path, kMaxArchiveNameBytes));
  }
  return std::string(name);
}

absl::StatusOr<std::unique_ptr<PtSink>> PtSink::Create(
    WritableFile& file, const Value& root, absl::string_view archive_name,
    const PtSinkOptions& options) {
  if (archive_name.find_first_of("/\\") != archive_name.npos ||
      !RecordNameProblem(archive_name).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("archive name ", QuotedRecordName(archive_name),
                     ": expected one path component"));
  }
  PENSTOCK_ASSIGN_OR_RETURN(PickledCheckpoint pickled,
                            WritePickle(root, options.pickle));
  const absl::Span<const std::shared_ptr<const Storage>> storages =
      root.graph()->storages();
  const std::vector<int64_t> keys =
      KeysInFileOrder(options.profile, pickled.storage_order.size());
  std::vector<std::shared_ptr<const Storage>> ordered;
  ordered.reserve(keys.size());
  for (int64_t key : keys) {
    ordered.push_back(storages[pickled.storage_order[key]]);
  }
  auto sink = std::unique_ptr<PtSink>(new PtSink(file, options));
  sink->plan_ = PlanInOrder(ordered);
  sink->warnings_ = std::move(pickled.warnings);
  PENSTOCK_RETURN_IF_ERROR(
      sink->LayOut(archive_name, options, std::move(pickled.pickle), keys));
  sink->MeasureChunks();
  sink->piece_crcs_.resize(sink->plan_.pieces.size());
  sink->writer_ = std::make_unique<BlockWriter>(
      file, BlockWriter::BlocksNeeded(kMaxInFlight, sink->largest_record_));
  return sink;
}

// `keys`: of the plan's storages.
absl::Status PtSink::LayOut(absl::string_view archive_name,
                            const PtSinkOptions& options, std::string pickle,
                            absl::Span<const int64_t> keys) {
  const std::string prefix = absl::StrCat(archive_name, "/");
  prefix_bytes_ = static_cast<int64_t>(prefix.size());
  std::vector<absl::string_view> names = {"data.pkl"};
  head_ = {std::move(pickle)};
  if (profile_ == PtProfile::kT27) {
    names.insert(names.end(),
                 {".format_version", ".storage_alignment", "byteorder"});
    head_.insert(head_.end(), {"1", absl::StrCat(options.alignment), "little"});
  }
  for (size_t i = 0; i < head_.size(); ++i) {
    PENSTOCK_RETURN_IF_ERROR(layout_.Add(
        absl::StrCat(prefix, names[i]), static_cast<int64_t>(head_[i].size())));
  }
  first_storage_record_ = static_cast<int64_t>(head_.size());
  for (size_t i = 0; i < plan_.storages.size(); ++i) {
    PENSTOCK_RETURN_IF_ERROR(layout_.Add(absl::StrCat(prefix, "data/", keys[i]),
                                         plan_.storages[i]->size_bytes()));
  }
  PENSTOCK_RETURN_IF_ERROR(layout_.Add(absl::StrCat(prefix, "version"),
                                       static_cast<int64_t>(kVersion.size())));
  if (profile_ == PtProfile::kT16) return absl::OkStatus();
  return layout_.Add(absl::StrCat(prefix, ".data/serialization_id"),
                     kSerializationIdBytes);
}

// The largest glue and the largest run of file bytes that one chunk makes.
void PtSink::MeasureChunks() {
  const std::vector<ZipRecord>& records = layout_.records();
  int64_t begin = records[first_storage_record_].header_offset;
  for (const Chunk& chunk : plan_.chunks) {
    int64_t payload_bytes = 0;
    for (const Piece& piece : plan_.pieces_of(chunk)) {
      payload_bytes += piece.size;
    }
    const Piece& last = plan_.pieces_of(chunk).back();
    const ZipRecord& record = records[first_storage_record_ + last.storage];
    const int64_t end = EndsStorage(plan_, last)
                            ? record.end_offset()
                            : record.payload_offset + last.begin + last.size;
    largest_record_ = std::max(largest_record_, end - begin);
    largest_glue_ = std::max(largest_glue_, end - begin - payload_bytes);
    begin = end;
  }
}

int64_t PtSink::SlotBytes() const {
  const int64_t blocks = BlockWriter::BlocksNeeded(2, largest_record_) -
                         BlockWriter::BlocksNeeded(1, largest_record_);
  return largest_glue_ + blocks * kBlockBytes;
}

absl::Status PtSink::Encode(const Plan& plan, const Chunk& chunk,
                            absl::Span<const uint8_t> bytes, Slot& slot) {
  slot.parts.clear();
  int64_t number = chunk.first_piece;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    const absl::Span<const uint8_t> payload =
        bytes.subspan(piece.offset, piece.size);
    piece_crcs_[number++] = Crc32(payload);
    slot.parts.push_back(payload);
    if (piece.begin == 0 && payload.size() >= 8 &&
        ZipField(payload, 0, 4) == kZipDescriptorSignature) {
      MutexLock lock(mutex_);
      mistaken_crcs_[piece.storage] = ZipField(payload, 4, 4);
    }
  }
  return absl::OkStatus();
}

absl::Status PtSink::Place(const Plan& plan, const Chunk& chunk, Slot& slot) {
  PENSTOCK_CHECK(plan.pieces.size() == plan_.pieces.size());
  PENSTOCK_RETURN_IF_ERROR(AppendHead());
  std::string& glue = slot.glue;
  glue.clear();
  cuts_.clear();
  int64_t number = chunk.first_piece;
  int64_t record_bytes = 0;
  for (const Piece& piece : plan.pieces_of(chunk)) {
    if (piece.begin == 0) {
      AddHeaders(piece.storage, glue);
      crc_ = 0;
    }
    cuts_.push_back(static_cast<int64_t>(glue.size()));
    crc_ = CombineCrc32(crc_, piece_crcs_[number++], piece.size);
    record_bytes += piece.size;
    if (EndsStorage(plan, piece)) {
      const int64_t record = first_storage_record_ + piece.storage;
      layout_.set_crc32(record, crc_);
      glue += layout_.Descriptor(record);
    }
  }
  // Glue and payload in turn, now that the glue does not move any more.
  const absl::Span<const uint8_t> glue_bytes = BytesOf(glue);
  payloads_.clear();
  payloads_.swap(slot.parts);
  int64_t begin = 0;
  for (size_t i = 0; i < payloads_.size(); ++i) {
    slot.parts.push_back(glue_bytes.subspan(begin, cuts_[i] - begin));
    slot.parts.push_back(payloads_[i]);
    begin = cuts_[i];
  }
  slot.parts.push_back(glue_bytes.subspan(begin));
  slot.reservation =
      writer_->Reserve(record_bytes + static_cast<int64_t>(glue.size()));
  const Piece& last = plan.pieces_of(chunk).back();
  const ZipRecord& record =
      layout_.records()[first_storage_record_ + last.storage];
  PENSTOCK_CHECK(writer_->size_bytes() ==
                 (EndsStorage(plan, last)
                      ? record.end_offset()
                      : record.payload_offset + last.begin + last.size));
  return absl::OkStatus();
}

// The headers of all storages that have none yet, up to `last_storage`: those
// before it are empty, or their pieces would have come first.
void PtSink::AddHeaders(int64_t last_storage, std::string& out) {
  for (; next_storage_ <= last_storage; ++next_storage_) {
    out += layout_.LocalHeader(first_storage_record_ + next_storage_);
  }
}

absl::Status PtSink::Write(const Plan&, const Chunk&, Slot& slot) {
  return writer_->Fill(slot.reservation, slot.parts);
}

absl::Status PtSink::AppendRecord(int64_t record, absl::string_view payload) {
  PENSTOCK_CHECK(writer_->size_bytes() ==
                 layout_.records()[record].header_offset);
  layout_.set_crc32(record, Crc32(BytesOf(payload)));
  PENSTOCK_RETURN_IF_ERROR(
      writer_->Append(BytesOf(layout_.LocalHeader(record))));
  PENSTOCK_RETURN_IF_ERROR(writer_->Append(BytesOf(payload)));
  return writer_->Append(BytesOf(layout_.Descriptor(record)));
}

// Once, before the first chunk.
absl::Status PtSink::AppendHead() {
  for (size_t i = 0; i < head_.size(); ++i) {
    PENSTOCK_RETURN_IF_ERROR(AppendRecord(static_cast<int64_t>(i), head_[i]));
  }
  head_.clear();
  head_.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status PtSink::Finish(const Plan& plan) {
  PENSTOCK_RETURN_IF_ERROR(AppendHead());
  const int64_t num_storages = static_cast<int64_t>(plan.storages.size());
  while (next_storage_ < num_storages) {
    std::string header;
    AddHeaders(next_storage_, header);
    PENSTOCK_RETURN_IF_ERROR(writer_->Append(BytesOf(header)));
  }
  const int64_t version = first_storage_record_ + num_storages;
  PENSTOCK_RETURN_IF_ERROR(AppendRecord(version, kVersion));
  if (profile_ == PtProfile::kT27) {
    PENSTOCK_RETURN_IF_ERROR(AppendRecord(version + 1, MakeId()));
  }
  PENSTOCK_RETURN_IF_ERROR(writer_->Append(BytesOf(layout_.Directory())));
  PENSTOCK_CHECK(writer_->size_bytes() == FinalSize());
  return writer_->Finish();
}

// Of all records but the last, which holds it.
std::string PtSink::MakeId() const {
  const std::vector<ZipRecord>& records = layout_.records();
  std::vector<IdRecord> id_records;
  id_records.reserve(records.size());
  MutexLock lock(mutex_);
  for (size_t i = 0; i + 1 < records.size(); ++i) {
    IdRecord record;
    record.name = absl::string_view(records[i].name).substr(prefix_bytes_);
    record.size_bytes = records[i].size_bytes;
    record.crc32 = records[i].crc32;
    const auto mistaken =
        mistaken_crcs_.find(static_cast<int64_t>(i) - first_storage_record_);
    if (mistaken != mistaken_crcs_.end()) {
      record.mistaken_crc32 = mistaken->second;
    }
    id_records.push_back(record);
  }
  return SerializationId(id_records);
}

}  // namespace penstock
