#include "codec/format.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "core/checked.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"

namespace penstock {
namespace {

constexpr int64_t kHashBytes = 16;

void AppendHash(const Hash128& hash, std::string& out) {
  out.append(reinterpret_cast<const char*>(hash.bytes.data()), kHashBytes);
}

Hash128 LoadHash(const uint8_t* from) {
  return LoadLittleEndian<Hash128>(from);
}

// The last 16 bytes of `bytes` are the hash of those before.
absl::Status CheckOwnHash(absl::Span<const uint8_t> bytes,
                          absl::string_view what) {
  const Hash128 stored = LoadHash(bytes.end() - kHashBytes);
  const Hash128 computed = HashOf(bytes.subspan(0, bytes.size() - kHashBytes));
  if (ChecksumsMatch(stored, computed)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%s: hash mismatch: expected %s, computed %s", what,
                      stored.ToHex(), computed.ToHex()));
}

absl::Status CheckFrameHeader(absl::Span<const uint8_t> bytes, uint32_t magic,
                              int64_t payload_bytes, absl::string_view what) {
  const std::string expected = PackFrameHeader(magic, payload_bytes);
  if (std::equal(
          expected.begin(), expected.end(), bytes.begin(),
          [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; })) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrFormat(
      "%s: frame header: expected %s, found %s", what,
      absl::BytesToHexString(expected),
      absl::BytesToHexString(absl::string_view(
          reinterpret_cast<const char*>(bytes.data()), kFrameHeaderBytes))));
}

absl::Status CheckVersion(uint32_t version, absl::string_view what) {
  if (version == kFormatVersion) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrFormat("%s: format version %u; this build reads version %u",
                      what, version, kFormatVersion));
}

bool HasMagic(absl::Span<const uint8_t> bytes) {
  return std::memcmp(bytes.data() + kFrameHeaderBytes, kMagic.data(),
                     kMagic.size()) == 0;
}

}  // namespace

std::string PackFrameHeader(uint32_t magic, int64_t payload_bytes) {
  PENSTOCK_CHECK(payload_bytes >= 0 && payload_bytes <= kMaxFramePayload);
  std::string out;
  AppendLittleEndian(magic, out);
  AppendLittleEndian(static_cast<uint32_t>(payload_bytes), out);
  return out;
}

bool IsNativeStart(absl::Span<const uint8_t> start) {
  return start.size() >= 16 &&
         LoadLittleEndian<uint32_t>(start.data()) == kHeaderFrame &&
         HasMagic(start);
}

std::string PackHeader(const Header& header) {
  std::string out =
      PackFrameHeader(kHeaderFrame, kHeaderBytes - kFrameHeaderBytes);
  out.append(kMagic.data(), kMagic.size());
  AppendLittleEndian(header.version, out);
  AppendLittleEndian(header.chunk_bytes, out);
  AppendLittleEndian(header.required_features, out);
  AppendLittleEndian(header.optional_features, out);
  AppendLittleEndian(uint64_t{0}, out);
  AppendHash(HashOf(ByteSpan(out)), out);
  return out;
}

absl::StatusOr<Header> ParseHeader(absl::Span<const uint8_t> bytes) {
  PENSTOCK_CHECK(bytes.size() == kHeaderBytes);
  if (!IsNativeStart(bytes)) {
    return absl::DataLossError("header: no Penstock magic");
  }
  // The hash first: a damaged version must not pass for a newer format.
  PENSTOCK_RETURN_IF_ERROR(CheckOwnHash(bytes, "header"));
  PENSTOCK_RETURN_IF_ERROR(CheckFrameHeader(
      bytes, kHeaderFrame, kHeaderBytes - kFrameHeaderBytes, "header"));
  Header header;
  header.version = LoadLittleEndian<uint32_t>(&bytes[16]);
  header.chunk_bytes = LoadLittleEndian<uint32_t>(&bytes[20]);
  header.required_features = LoadLittleEndian<uint64_t>(&bytes[24]);
  header.optional_features = LoadLittleEndian<uint64_t>(&bytes[32]);
  PENSTOCK_RETURN_IF_ERROR(CheckVersion(header.version, "header"));
  if (header.required_features != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "header: needs features %#x, which this build does not know",
        header.required_features));
  }
  if (LoadLittleEndian<uint64_t>(&bytes[40]) != 0) {
    return absl::DataLossError("header: reserved bytes at offset 40 are not 0");
  }
  if (header.chunk_bytes < kMinFileChunkBytes ||
      header.chunk_bytes > kMaxFileChunkBytes ||
      header.chunk_bytes % kLargeAlignment != 0) {
    return absl::DataLossError(absl::StrFormat(
        "header: chunk size %u: expected a multiple of %d in %d to %d",
        header.chunk_bytes, kLargeAlignment, kMinFileChunkBytes,
        kMaxFileChunkBytes));
  }
  return header;
}

std::string PackFooter(const Footer& footer) {
  std::string out =
      PackFrameHeader(kFooterFrame, kFooterBytes - kFrameHeaderBytes);
  out.append(kMagic.data(), kMagic.size());
  AppendLittleEndian(footer.version, out);
  AppendLittleEndian(uint32_t{0}, out);
  AppendLittleEndian(footer.file_bytes, out);
  AppendLittleEndian(footer.index_offset, out);
  AppendLittleEndian(footer.index_bytes, out);
  AppendHash(footer.index_hash, out);
  AppendHash(HashOf(ByteSpan(out)), out);
  return out;
}

absl::StatusOr<Footer> ParseFooter(absl::Span<const uint8_t> bytes,
                                   int64_t file_bytes) {
  PENSTOCK_CHECK(bytes.size() == kFooterBytes);
  if (LoadLittleEndian<uint32_t>(bytes.data()) != kFooterFrame ||
      !HasMagic(bytes)) {
    return absl::DataLossError(
        absl::StrFormat("file ends at %d, footer missing: is the download or "
                        "copy incomplete?",
                        file_bytes));
  }
  PENSTOCK_RETURN_IF_ERROR(CheckOwnHash(bytes, "footer"));
  PENSTOCK_RETURN_IF_ERROR(CheckFrameHeader(
      bytes, kFooterFrame, kFooterBytes - kFrameHeaderBytes, "footer"));
  Footer footer;
  footer.version = LoadLittleEndian<uint32_t>(&bytes[16]);
  footer.file_bytes = LoadLittleEndian<int64_t>(&bytes[24]);
  footer.index_offset = LoadLittleEndian<int64_t>(&bytes[32]);
  footer.index_bytes = LoadLittleEndian<int64_t>(&bytes[40]);
  footer.index_hash = LoadHash(&bytes[48]);
  PENSTOCK_RETURN_IF_ERROR(CheckVersion(footer.version, "footer"));
  if (LoadLittleEndian<uint32_t>(&bytes[20]) != 0) {
    return absl::DataLossError("footer: reserved bytes at offset 20 are not 0");
  }
  if (footer.file_bytes != file_bytes) {
    return absl::DataLossError(absl::StrFormat(
        "footer: file size: expected %d bytes, found %d: bytes were added or "
        "lost",
        footer.file_bytes, file_bytes));
  }
  if (footer.index_bytes > kMaxIndexBytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("footer: index of %d bytes; at most %d are read",
                        footer.index_bytes, kMaxIndexBytes));
  }
  const int64_t index_end = file_bytes - kFooterBytes;
  if (footer.index_bytes < 0 || footer.index_bytes > index_end ||
      footer.index_offset != index_end - footer.index_bytes ||
      footer.index_offset < kHeaderBytes + kFrameHeaderBytes) {
    return absl::DataLossError(absl::StrFormat(
        "footer: index of %d bytes at %d does not end at the footer, %d",
        footer.index_bytes, footer.index_offset, index_end));
  }
  return footer;
}

std::string PackSections(absl::Span<const SectionView> sections) {
  int64_t total = kDirectoryHeadBytes + kDirectoryEntryBytes * sections.size();
  for (const SectionView& section : sections) {
    total += AlignUp(section.body.size(), kSectionAlignment);
  }
  std::string out;
  out.reserve(total);
  AppendLittleEndian(static_cast<uint32_t>(sections.size()), out);
  AppendLittleEndian(uint32_t{0}, out);
  for (size_t i = 0; i < sections.size(); ++i) {
    const SectionView& section = sections[i];
    PENSTOCK_CHECK(i == 0 || section.type > sections[i - 1].type);
    AppendLittleEndian(section.type, out);
    AppendLittleEndian(section.flags, out);
    AppendLittleEndian(static_cast<uint64_t>(section.body.size()), out);
    AppendHash(HashOf(section.body), out);
  }
  for (const SectionView& section : sections) {
    out.append(reinterpret_cast<const char*>(section.body.data()),
               section.body.size());
    out.resize(AlignUp(out.size(), kSectionAlignment), '\0');
  }
  return out;
}

absl::Status CheckHash(const Hash128& expected, const Hash128& computed,
                       absl::string_view what) {
  if (ChecksumsMatch(expected, computed)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%s hash mismatch: expected %s, computed %s", what,
                      expected.ToHex(), computed.ToHex()));
}

}  // namespace penstock
