#include "codec/native_index.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"
#include "codec/format.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

// Codes are frozen (docs/FORMAT.md, "Sections").
enum SectionType : uint32_t {
  kGlueSection = 1,
  kStoragesSection = 2,
  kLocationsSection = 3,
  kChunksSection = 4,
  kPlanesSection = 5,
  kRawHashesSection = 6,
  kTreeSection = 7,
  kNodesSection = 8,
  kChildrenSection = 9,
  kBytesSection = 10,
  kTensorsSection = 11,
  kDimsSection = 12,
  kMetaSection = 13,  // the only optional one
};

constexpr uint64_t kStringsByIdentity = 1;  // of kTreeSection

// Rows as they are in the file.
struct StorageRow {
  uint64_t size_bytes;
  uint64_t first_chunk;
  uint32_t offset_in_chunk;
  uint32_t location;
};
static_assert(sizeof(StorageRow) == 24);

struct ChunkRow {
  uint64_t offset;
  uint32_t stored_bytes;
  uint32_t raw_bytes;
  uint8_t coded;
  uint8_t transform;
  uint8_t num_planes;
  uint8_t reserved;
  uint32_t first_plane;
  Hash128 stored_hash;
};
static_assert(sizeof(ChunkRow) == 40);

template <typename T>
absl::Span<const uint8_t> TableBytes(const std::vector<T>& table) {
  return {reinterpret_cast<const uint8_t*>(table.data()),
          table.size() * sizeof(T)};
}

std::vector<StorageRow> StorageRows(const NativeIndex& index) {
  std::vector<StorageRow> rows;
  rows.reserve(index.storages.size());
  for (const FileStorage& storage : index.storages) {
    rows.push_back({static_cast<uint64_t>(storage.size_bytes),
                    static_cast<uint64_t>(storage.first_chunk),
                    storage.offset_in_chunk, storage.location});
  }
  return rows;
}

std::vector<ChunkRow> ChunkRows(const NativeIndex& index) {
  std::vector<ChunkRow> rows;
  rows.reserve(index.chunks.size());
  for (const FileChunk& chunk : index.chunks) {
    rows.push_back({static_cast<uint64_t>(chunk.offset), chunk.stored_bytes,
                    chunk.raw_bytes, chunk.coded,
                    static_cast<uint8_t>(chunk.transform), chunk.num_planes, 0,
                    chunk.first_plane, chunk.stored_hash});
  }
  return rows;
}

std::vector<Hash128> RawHashes(const NativeIndex& index) {
  std::vector<Hash128> hashes;
  for (const FileChunk& chunk : index.chunks) {
    if (chunk.coded != 0) hashes.push_back(chunk.raw_hash);
  }
  return hashes;
}

void AppendText(absl::string_view text, std::string& out) {
  AppendLittleEndian(static_cast<uint32_t>(text.size()), out);
  out.append(text.data(), text.size());
}

std::string PackTexts(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) AppendText(text, out);
  return out;
}

std::string PackMeta(const NativeIndex& index) {
  std::string out;
  for (const auto& entry : index.meta) {
    AppendText(entry.first, out);
    AppendText(entry.second, out);
  }
  return out;
}

// Texts one behind the other, each with its length before it, to the end.
absl::StatusOr<std::vector<std::string>> ParseTexts(
    absl::Span<const uint8_t> body, absl::string_view what) {
  std::vector<std::string> texts;
  size_t position = 0;
  while (position < body.size()) {
    const size_t left = body.size() - position;
    const size_t size =
        left < 4 ? left : LoadLittleEndian<uint32_t>(&body[position]);
    if (left < 4 || size > left - 4) {
      return absl::DataLossError(absl::StrFormat(
          "%s: text %d at %d runs past the end of the section, %d", what,
          texts.size(), position, body.size()));
    }
    texts.emplace_back(
        reinterpret_cast<const char*>(body.data()) + position + 4, size);
    position += 4 + size;
  }
  return texts;
}

template <typename T>
absl::Status ParseTable(absl::Span<const uint8_t> body, absl::string_view what,
                        std::vector<T>& out) {
  if (body.size() % sizeof(T) != 0) {
    return absl::DataLossError(
        absl::StrFormat("%s: section of %d bytes is no multiple of %d", what,
                        body.size(), sizeof(T)));
  }
  const size_t count = body.size() / sizeof(T);
  if (reinterpret_cast<uintptr_t>(body.data()) % alignof(T) == 0) {
    // Where a writer put it; a table is touched once then.
    const T* const rows = reinterpret_cast<const T*>(body.data());
    out.assign(rows, rows + count);
    return absl::OkStatus();
  }
  out.resize(count);
  // memcpy of nothing from null is undefined.
  if (count > 0) {
    std::memcpy(static_cast<void*>(out.data()), body.data(), body.size());
  }
  return absl::OkStatus();
}

absl::Status ParseStorages(absl::Span<const uint8_t> body, NativeIndex& index) {
  std::vector<StorageRow> rows;
  PENSTOCK_RETURN_IF_ERROR(ParseTable(body, "storages", rows));
  index.storages.reserve(rows.size());
  for (const StorageRow& row : rows) {
    // Beyond int64_t they become negative, which CheckFileTables refuses.
    index.storages.push_back({static_cast<int64_t>(row.size_bytes),
                              static_cast<int64_t>(row.first_chunk),
                              row.offset_in_chunk, row.location});
  }
  return absl::OkStatus();
}

absl::Status ParseChunks(absl::Span<const uint8_t> body,
                         absl::Span<const uint8_t> raw_hashes,
                         NativeIndex& index) {
  std::vector<ChunkRow> rows;
  std::vector<Hash128> hashes;
  PENSTOCK_RETURN_IF_ERROR(ParseTable(body, "chunks", rows));
  PENSTOCK_RETURN_IF_ERROR(ParseTable(raw_hashes, "raw hashes", hashes));
  size_t num_coded = 0;
  index.chunks.reserve(rows.size());
  for (const ChunkRow& row : rows) {
    if (row.coded > 1 || row.reserved != 0) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d: coding %d, reserved %d: expected 0 or 1, and 0",
          index.chunks.size(), row.coded, row.reserved));
    }
    FileChunk chunk;
    chunk.offset = static_cast<int64_t>(row.offset);
    chunk.stored_bytes = row.stored_bytes;
    chunk.raw_bytes = row.raw_bytes;
    chunk.coded = row.coded;
    chunk.transform = static_cast<Transform>(row.transform);
    chunk.num_planes = row.num_planes;
    chunk.first_plane = row.first_plane;
    chunk.stored_hash = row.stored_hash;
    chunk.raw_hash = row.stored_hash;
    if (row.coded != 0) {
      if (num_coded < hashes.size()) chunk.raw_hash = hashes[num_coded];
      ++num_coded;
    }
    index.chunks.push_back(chunk);
  }
  if (num_coded != hashes.size()) {
    return absl::DataLossError(
        absl::StrFormat("raw hashes: expected %d, one a coded chunk, found %d",
                        num_coded, hashes.size()));
  }
  return absl::OkStatus();
}

absl::Status ParseMeta(absl::Span<const uint8_t> body, NativeIndex& index) {
  PENSTOCK_ASSIGN_OR_RETURN(std::vector<std::string> texts,
                            ParseTexts(body, "meta"));
  if (texts.size() % 2 != 0) {
    return absl::DataLossError("meta: a key without a value");
  }
  for (size_t i = 0; i < texts.size(); i += 2) {
    index.meta.emplace_back(std::move(texts[i]), std::move(texts[i + 1]));
  }
  return absl::OkStatus();
}

absl::Status ParseTree(absl::Span<const uint8_t> body, GraphTables& tables) {
  const uint64_t flags =
      body.size() == 8 ? LoadLittleEndian<uint64_t>(body.data()) : 0;
  if (body.size() != 8 || (flags & ~kStringsByIdentity) != 0) {
    return absl::DataLossError(absl::StrFormat(
        "tree: expected 8 bytes of known flags, found %d bytes, flags %#x",
        body.size(), flags));
  }
  tables.strings_by_identity = (flags & kStringsByIdentity) != 0;
  return absl::OkStatus();
}

absl::Status ParseCoreSections(absl::Span<const SectionView> sections,
                               NativeIndex& index, GraphTables& tables) {
  // ParseIndex has seen to it that section i is the one of type i + 1.
  const auto body = [&](SectionType type) { return sections[type - 1].body; };
  const absl::Span<const uint8_t> glue = body(kGlueSection);
  if (glue.size() != sizeof(Hash128)) {
    return absl::DataLossError(
        absl::StrFormat("glue: expected 16 bytes, found %d", glue.size()));
  }
  index.glue_hash = LoadLittleEndian<Hash128>(glue.data());
  PENSTOCK_RETURN_IF_ERROR(ParseStorages(body(kStoragesSection), index));
  PENSTOCK_ASSIGN_OR_RETURN(index.locations,
                            ParseTexts(body(kLocationsSection), "locations"));
  PENSTOCK_RETURN_IF_ERROR(
      ParseChunks(body(kChunksSection), body(kRawHashesSection), index));
  PENSTOCK_RETURN_IF_ERROR(
      ParseTable(body(kPlanesSection), "planes", index.planes));
  PENSTOCK_RETURN_IF_ERROR(ParseTree(body(kTreeSection), tables));
  PENSTOCK_RETURN_IF_ERROR(
      ParseTable(body(kNodesSection), "nodes", tables.nodes));
  PENSTOCK_RETURN_IF_ERROR(
      ParseTable(body(kChildrenSection), "children", tables.children));
  const absl::Span<const uint8_t> bytes = body(kBytesSection);
  tables.bytes.assign(reinterpret_cast<const char*>(bytes.data()),
                      bytes.size());
  PENSTOCK_RETURN_IF_ERROR(
      ParseTable(body(kTensorsSection), "tensors", tables.tensors));
  return ParseTable(body(kDimsSection), "dims", tables.dims);
}

// Number of storages that the tree uses, if it is sound: first uses ascend.
size_t CountTreeStorages(const GraphTables& tables) {
  uint64_t count = 0;
  for (const TensorRow& row : tables.tensors) {
    count = std::max<uint64_t>(count, uint64_t{row.storage} + 1);
  }
  for (const Node& node : tables.nodes) {
    if (node.kind == NodeKind::kStorage && node.payload < (uint64_t{1} << 32)) {
      count = std::max<uint64_t>(count, node.payload + 1);
    }
  }
  return count;
}

absl::Status MakeGraph(GraphTables tables, NativeIndex& index) {
  const size_t in_tree =
      std::min(CountTreeStorages(tables), index.storages.size());
  std::vector<int64_t> sizes;
  sizes.reserve(index.storages.size());
  for (const FileStorage& storage : index.storages) {
    sizes.push_back(storage.size_bytes);
  }
  std::vector<std::shared_ptr<Storage>> storages = Storage::AllInFile(sizes);
  tables.storages.reserve(in_tree);
  for (size_t i = 0; i < storages.size(); ++i) {
    const std::string& location = index.locations[index.storages[i].location];
    if (location != storages[i]->location()) {
      storages[i]->set_location(location);
    }
    (i < in_tree ? tables.storages : index.attachments)
        .push_back(std::move(storages[i]));
  }
  if (!index.attachments.empty() && index.extensions.empty()) {
    return absl::DataLossError(absl::StrFormat(
        "storages: expected the %d of the tree, as no extension has any; "
        "found %d",
        in_tree, index.storages.size()));
  }
  absl::StatusOr<std::shared_ptr<const Graph>> graph =
      Graph::Make(std::move(tables));
  if (!graph.ok()) return Annotate(graph.status(), "tree");
  index.graph = *std::move(graph);
  return absl::OkStatus();
}

// Sorts `sections` into the format's own, all of which must be there, the ones
// of the callers, and unknown ones.
absl::Status CheckSections(absl::Span<const SectionView> sections,
                           NativeIndex& index) {
  size_t num_core = 0;
  for (const SectionView& section : sections) {
    const bool required = (section.flags & kSectionRequired) != 0;
    if (section.type >= 1 && section.type <= kMetaSection) {
      if (required != (section.type != kMetaSection)) {
        return absl::DataLossError(absl::StrFormat(
            "section of type %u: flags %#x", section.type, section.flags));
      }
      ++num_core;
    } else if (required) {
      return absl::UnimplementedError(absl::StrFormat(
          "section of type %u is required to read this file, but unknown to "
          "this build",
          section.type));
    } else if (section.type >= kFirstExtension) {
      index.extensions.push_back(
          {section.type, section.flags,
           std::string(reinterpret_cast<const char*>(section.body.data()),
                       section.body.size())});
    }
  }
  if (num_core != kMetaSection || sections[0].type != kGlueSection) {
    return absl::DataLossError(absl::StrFormat(
        "directory: expected all sections of types 1 to %d, found %d of them",
        kMetaSection, num_core));
  }
  return absl::OkStatus();
}

}  // namespace

std::string PackIndex(const NativeIndex& index) {
  const GraphTables& tables = index.graph->tables();
  std::string tree;
  AppendLittleEndian(tables.strings_by_identity ? kStringsByIdentity : 0, tree);
  const std::vector<StorageRow> storages = StorageRows(index);
  const std::vector<ChunkRow> chunks = ChunkRows(index);
  const std::vector<Hash128> raw_hashes = RawHashes(index);
  const std::string locations = PackTexts(index.locations);
  const std::string meta = PackMeta(index);
  const uint32_t required = kSectionRequired;
  std::vector<SectionView> sections = {
      {kGlueSection, required, index.glue_hash.bytes},
      {kStoragesSection, required, TableBytes(storages)},
      {kLocationsSection, required, ByteSpan(locations)},
      {kChunksSection, required, TableBytes(chunks)},
      {kPlanesSection, required, TableBytes(index.planes)},
      {kRawHashesSection, required, TableBytes(raw_hashes)},
      {kTreeSection, required, ByteSpan(tree)},
      {kNodesSection, required, TableBytes(tables.nodes)},
      {kChildrenSection, required, TableBytes(tables.children)},
      {kBytesSection, required, ByteSpan(tables.bytes)},
      {kTensorsSection, required, TableBytes(tables.tensors)},
      {kDimsSection, required, TableBytes(tables.dims)},
      {kMetaSection, 0, ByteSpan(meta)},
  };
  for (const Section& section : index.extensions) {
    sections.push_back({section.type, section.flags, ByteSpan(section.body)});
  }
  return PackSections(sections);
}

absl::StatusOr<NativeIndex> ParseIndex(absl::Span<const uint8_t> payload,
                                       int64_t chunk_bytes, int64_t data_end) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<SectionView> sections,
                            ParseSections(payload));
  NativeIndex index;
  index.chunk_bytes = chunk_bytes;
  PENSTOCK_RETURN_IF_ERROR(CheckSections(sections, index));
  GraphTables tables;
  PENSTOCK_RETURN_IF_ERROR(ParseCoreSections(sections, index, tables));
  PENSTOCK_RETURN_IF_ERROR(ParseMeta(sections[kMetaSection - 1].body, index));
  PENSTOCK_RETURN_IF_ERROR(CheckFileTables(data_end, index));
  PENSTOCK_RETURN_IF_ERROR(MakeGraph(std::move(tables), index));
  return index;
}

}  // namespace penstock
