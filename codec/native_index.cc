#include "codec/native_index.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"
#include "codec/section_reader.h"
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

// As in the file.
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
absl::StatusOr<std::vector<std::string>> ParseTexts(absl::string_view body,
                                                    absl::string_view what) {
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
    texts.emplace_back(body.substr(position + 4, size));
    position += 4 + size;
  }
  return texts;
}

absl::Status ReadText(SectionReader& reader, const SectionHead& section,
                      std::string& out) {
  out.reserve(section.size_bytes);
  return reader.ReadBody(section, [&out](absl::Span<const uint8_t> tile) {
    out.append(reinterpret_cast<const char*>(tile.data()), tile.size());
    return absl::OkStatus();
  });
}

template <typename Row, typename Take>
absl::Status ReadRows(SectionReader& reader, const SectionHead& section,
                      absl::string_view what, Take take) {
  static_assert(SectionReader::kTileBytes % sizeof(Row) == 0);
  if (section.size_bytes % static_cast<int64_t>(sizeof(Row)) != 0) {
    return absl::DataLossError(
        absl::StrFormat("%s: section of %d bytes is no multiple of %d", what,
                        section.size_bytes, sizeof(Row)));
  }
  return reader.ReadBody(section, [&](absl::Span<const uint8_t> tile) {
    return take(absl::MakeConstSpan(reinterpret_cast<const Row*>(tile.data()),
                                    tile.size() / sizeof(Row)));
  });
}

template <typename Row>
absl::Status ReadTable(SectionReader& reader, const SectionHead& section,
                       absl::string_view what, std::vector<Row>& out) {
  out.reserve(section.size_bytes / sizeof(Row));
  return ReadRows<Row>(reader, section, what, [&](absl::Span<const Row> rows) {
    out.insert(out.end(), rows.begin(), rows.end());
    return absl::OkStatus();
  });
}

absl::Status TakeChunks(absl::Span<const ChunkRow> rows, NativeIndex& index) {
  for (const ChunkRow& row : rows) {
    if (row.coded > 1 || row.reserved != 0) {
      return absl::DataLossError(absl::StrFormat(
          "chunk %d: coding %d, reserved %d: expected 0 or 1, and 0",
          index.chunks.size(), row.coded, row.reserved));
    }
    FileChunk chunk;
    // Beyond int64_t it becomes negative, which CheckFileTables refuses.
    chunk.offset = static_cast<int64_t>(row.offset);
    chunk.stored_bytes = row.stored_bytes;
    chunk.raw_bytes = row.raw_bytes;
    chunk.coded = row.coded;
    chunk.transform = static_cast<Transform>(row.transform);
    chunk.num_planes = row.num_planes;
    chunk.first_plane = row.first_plane;
    chunk.stored_hash = row.stored_hash;
    chunk.raw_hash = row.stored_hash;
    index.chunks.push_back(chunk);
  }
  return absl::OkStatus();
}

absl::Status ReadRawHashes(SectionReader& reader, const SectionHead& section,
                           NativeIndex& index) {
  std::vector<Hash128> hashes;
  PENSTOCK_RETURN_IF_ERROR(ReadTable(reader, section, "raw hashes", hashes));
  size_t num_coded = 0;
  for (FileChunk& chunk : index.chunks) {
    if (chunk.coded == 0) continue;
    if (num_coded < hashes.size()) chunk.raw_hash = hashes[num_coded];
    ++num_coded;
  }
  if (num_coded == hashes.size()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("raw hashes: expected %d, one a coded chunk, found %d",
                      num_coded, hashes.size()));
}

absl::Status ParseGlue(absl::string_view body, NativeIndex& index) {
  if (body.size() != sizeof(Hash128)) {
    return absl::DataLossError(
        absl::StrFormat("glue: expected 16 bytes, found %d", body.size()));
  }
  index.glue_hash = LoadLittleEndian<Hash128>(body.data());
  return absl::OkStatus();
}

absl::Status ParseMeta(absl::string_view body, NativeIndex& index) {
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

absl::Status ParseTree(absl::string_view body, GraphTables& tables) {
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

// Those that are no tables.
absl::Status ReadShort(SectionReader& reader, const SectionHead& section,
                       NativeIndex& index, GraphTables& tables) {
  std::string body;
  PENSTOCK_RETURN_IF_ERROR(ReadText(reader, section, body));
  if (section.type == kGlueSection) return ParseGlue(body, index);
  if (section.type == kTreeSection) return ParseTree(body, tables);
  if (section.type == kMetaSection) return ParseMeta(body, index);
  if (section.type == kLocationsSection) {
    PENSTOCK_ASSIGN_OR_RETURN(index.locations, ParseTexts(body, "locations"));
  } else if (section.type >= kFirstExtension) {
    index.extensions.push_back({section.type, section.flags, std::move(body)});
  }
  return absl::OkStatus();
}

absl::Status ReadSection(SectionReader& reader, const SectionHead& section,
                         NativeIndex& index, GraphTables& tables) {
  switch (section.type) {
    case kStoragesSection:
      return ReadTable(reader, section, "storages", index.storages);
    case kChunksSection:
      index.chunks.reserve(section.size_bytes / sizeof(ChunkRow));
      return ReadRows<ChunkRow>(reader, section, "chunks",
                                [&](absl::Span<const ChunkRow> rows) {
                                  return TakeChunks(rows, index);
                                });
    case kPlanesSection:
      return ReadTable(reader, section, "planes", index.planes);
    case kRawHashesSection:  // behind the chunks
      return ReadRawHashes(reader, section, index);
    case kNodesSection:
      return ReadTable(reader, section, "nodes", tables.nodes);
    case kChildrenSection:
      return ReadTable(reader, section, "children", tables.children);
    case kBytesSection:
      return ReadText(reader, section, tables.bytes);
    case kTensorsSection:
      return ReadTable(reader, section, "tensors", tables.tensors);
    case kDimsSection:
      return ReadTable(reader, section, "dims", tables.dims);
    default:
      return ReadShort(reader, section, index, tables);
  }
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

// All of the format's own sections must be there.
absl::Status CheckSections(absl::Span<const SectionHead> sections) {
  size_t num_core = 0;
  for (const SectionHead& section : sections) {
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
    }
  }
  if (num_core != kMetaSection || sections[0].type != kGlueSection) {
    return absl::DataLossError(absl::StrFormat(
        "directory: expected all sections of types 1 to %d, found %d of them",
        kMetaSection, num_core));
  }
  return absl::OkStatus();
}

absl::Status ReadTables(SectionReader& reader, NativeIndex& index,
                        GraphTables& tables) {
  PENSTOCK_ASSIGN_OR_RETURN(const std::vector<SectionHead> sections,
                            reader.ReadDirectory());
  PENSTOCK_RETURN_IF_ERROR(CheckSections(sections));
  for (const SectionHead& section : sections) {
    PENSTOCK_RETURN_IF_ERROR(ReadSection(reader, section, index, tables));
  }
  return absl::OkStatus();
}

}  // namespace

std::string PackIndex(const NativeIndex& index) {
  const GraphTables& tables = index.graph->tables();
  std::string tree;
  AppendLittleEndian(tables.strings_by_identity ? kStringsByIdentity : 0, tree);
  const std::vector<ChunkRow> chunks = ChunkRows(index);
  const std::vector<Hash128> raw_hashes = RawHashes(index);
  const std::string locations = PackTexts(index.locations);
  const std::string meta = PackMeta(index);
  const uint32_t required = kSectionRequired;
  std::vector<SectionView> sections = {
      {kGlueSection, required, index.glue_hash.bytes},
      {kStoragesSection, required, TableBytes(index.storages)},
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

absl::StatusOr<NativeIndex> ReadIndex(const RandomAccessFile& file,
                                      const Footer& footer,
                                      int64_t chunk_bytes) {
  SectionReader reader(file, footer.index_offset, footer.index_bytes);
  NativeIndex index;
  index.chunk_bytes = chunk_bytes;
  GraphTables tables;
  const absl::Status read = ReadTables(reader, index, tables);
  // Of damaged bytes it does not matter what they seem to say.
  PENSTOCK_ASSIGN_OR_RETURN(const Hash128 computed, reader.HashAll());
  PENSTOCK_RETURN_IF_ERROR(CheckHash(footer.index_hash, computed, "index"));
  PENSTOCK_RETURN_IF_ERROR(read);
  PENSTOCK_RETURN_IF_ERROR(
      CheckFileTables(footer.index_offset - kFrameHeaderBytes, index));
  PENSTOCK_RETURN_IF_ERROR(MakeGraph(std::move(tables), index));
  return index;
}

}  // namespace penstock
