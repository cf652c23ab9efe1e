#include "compat/pt_sink.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compat/serialization_id.h"
#include "compat/zip_name.h"
#include "core/bytes.h"
#include "core/checksum.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr size_t kMaxArchiveNameBytes = 256;
constexpr absl::string_view kVersion = "3\n";

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
  FileLayout layout;
  layout.storages.reserve(keys.size());
  for (int64_t key : keys) {
    layout.storages.push_back(storages[pickled.storage_order[key]]);
  }
  auto sink = std::unique_ptr<PtSink>(new PtSink(file, options));
  PENSTOCK_RETURN_IF_ERROR(sink->LayOut(
      archive_name, options, std::move(pickled.pickle), keys, layout));
  layout.wants_crcs = true;
  layout.glue = [sink = sink.get()](int64_t, int64_t size, std::string& out) {
    while (static_cast<int64_t>(sink->glue_.size()) < size) {
      sink->AppendNextGlue();
    }
    out.append(sink->glue_, 0, size);
    sink->glue_.erase(0, size);
    return absl::OkStatus();
  };
  PENSTOCK_RETURN_IF_ERROR(
      sink->SetLayout(std::move(layout), std::move(pickled.warnings)));
  return sink;
}

// A record whose payload is glue.
absl::Status PtSink::AddText(std::string name, absl::string_view payload) {
  PENSTOCK_RETURN_IF_ERROR(
      zip_.Add(std::move(name), static_cast<int64_t>(payload.size())));
  const int64_t record = static_cast<int64_t>(zip_.records().size()) - 1;
  zip_.set_crc32(record, Crc32(ByteSpan(payload)));
  return absl::OkStatus();
}

absl::Status PtSink::LayOut(absl::string_view archive_name,
                            const PtSinkOptions& options, std::string pickle,
                            absl::Span<const int64_t> keys,
                            FileLayout& layout) {
  const std::string prefix = absl::StrCat(archive_name, "/");
  prefix_bytes_ = static_cast<int64_t>(prefix.size());
  num_storages_ = static_cast<int64_t>(keys.size());
  std::vector<absl::string_view> names = {"data.pkl"};
  head_ = {std::move(pickle)};
  if (profile_ == PtProfile::kT27) {
    names.insert(names.end(),
                 {".format_version", ".storage_alignment", "byteorder"});
    head_.insert(head_.end(), {"1", absl::StrCat(options.alignment), "little"});
  }
  for (size_t i = 0; i < head_.size(); ++i) {
    PENSTOCK_RETURN_IF_ERROR(AddText(absl::StrCat(prefix, names[i]), head_[i]));
  }
  int64_t end = 0;  // of the storage before
  for (size_t i = 0; i < keys.size(); ++i) {
    const int64_t size = layout.storages[i]->size_bytes();
    PENSTOCK_RETURN_IF_ERROR(
        zip_.Add(absl::StrCat(prefix, "data/", keys[i]), size));
    const int64_t begin = zip_.records().back().payload_offset;
    layout.glue_bytes.push_back(begin - end);
    end = begin + size;
  }
  PENSTOCK_RETURN_IF_ERROR(AddText(absl::StrCat(prefix, "version"), kVersion));
  if (profile_ == PtProfile::kT27) {
    PENSTOCK_RETURN_IF_ERROR(zip_.Add(
        absl::StrCat(prefix, ".data/serialization_id"), kSerializationIdBytes));
  }
  layout.glue_bytes.push_back(zip_.file_bytes() - end);
  return absl::OkStatus();
}

// The storage before has been seen whole.
void PtSink::AppendNextGlue() {
  const auto add_text = [this](int64_t record, absl::string_view payload) {
    absl::StrAppend(&glue_, zip_.LocalHeader(record), payload,
                    zip_.Descriptor(record));
  };
  const int64_t first_storage = static_cast<int64_t>(head_.size());
  if (next_glue_ == 0) {
    for (int64_t i = 0; i < first_storage; ++i) add_text(i, head_[i]);
  } else {
    const int64_t record = first_storage + next_glue_ - 1;
    zip_.set_crc32(record, CrcOf(next_glue_ - 1));
    glue_ += zip_.Descriptor(record);
  }
  if (next_glue_ < num_storages_) {
    glue_ += zip_.LocalHeader(first_storage + next_glue_);
  } else {
    const int64_t version = first_storage + num_storages_;
    add_text(version, kVersion);
    if (profile_ == PtProfile::kT27) {
      const std::string id = MakeId();
      zip_.set_crc32(version + 1, Crc32(ByteSpan(id)));
      add_text(version + 1, id);
    }
    glue_ += zip_.Directory();
  }
  ++next_glue_;
}

// Of all records but the last, which holds it.
std::string PtSink::MakeId() const {
  const std::vector<ZipRecord>& records = zip_.records();
  std::vector<IdRecord> id_records;
  id_records.reserve(records.size());
  for (size_t i = 0; i + 1 < records.size(); ++i) {
    IdRecord record;
    record.name = absl::string_view(records[i].name).substr(prefix_bytes_);
    record.size_bytes = records[i].size_bytes;
    record.crc32 = records[i].crc32;
    const int64_t storage =
        static_cast<int64_t>(i) - static_cast<int64_t>(head_.size());
    if (storage >= 0 && storage < num_storages_) {
      // Torch's writer would take such a payload for a data descriptor.
      const uint64_t start = StartOf(storage);
      if (static_cast<uint32_t>(start) == kZipDescriptorSignature) {
        record.mistaken_crc32 = static_cast<uint32_t>(start >> 32);
      }
    }
    id_records.push_back(record);
  }
  return SerializationId(id_records);
}

}  // namespace penstock
