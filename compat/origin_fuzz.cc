// Fuzz target: an origin of any bytes, in a sound .pstk of three storages. The
// first byte says how many extents the table has; section, table and skeleton
// follow. What is laid out must be a file of the size that the section says.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "codec/native_file.h"
#include "codec/native_test_file.h"
#include "codec/source.h"
#include "compat/origin.h"
#include "core/checksum_match.h"
#include "core/status_macros.h"
#include "core/storage.h"

namespace penstock {
namespace {

constexpr size_t kSectionBytes = 32;
constexpr uint32_t kNumStorages = 3;
constexpr size_t kRowBytes = 16;
constexpr size_t kMaxSkeletonBytes = 64;

std::shared_ptr<Storage> StorageOf(absl::Span<const uint8_t> bytes) {
  auto storage = Storage::Allocate(static_cast<int64_t>(bytes.size()));
  PENSTOCK_CHECK(storage.ok());
  std::copy(bytes.begin(), bytes.end(), (*storage)->mutable_bytes().begin());
  return *storage;
}

std::string FileWithOrigin(absl::Span<const uint8_t> section,
                           absl::Span<const uint8_t> table,
                           absl::Span<const uint8_t> skeleton) {
  static const Value checkpoint =
      TestCheckpoint({{DType::kUInt8, TestStorage(5, 1, Fill::kNoise)},
                      {DType::kFloat32, TestStorage(12, 2, Fill::kNoise)},
                      {DType::kInt64, TestStorage(0, 3, Fill::kNoise)}});
  NativeOptions options;
  options.codec = NativeCodec::kNone;
  options.extensions.push_back(
      {kOriginSection, 0, std::string(section.begin(), section.end())});
  options.attachments.push_back({StorageOf(table), DType::kBool});
  options.attachments.push_back({StorageOf(skeleton), DType::kBool});
  MemorySource source;
  auto bytes = SaveNative(checkpoint, options, source, 1);
  PENSTOCK_CHECK(bytes.ok());
  return *std::move(bytes);
}

// The same by far faster, and with hashes of other bytes: once saved, a file of
// these sizes only has its bytes exchanged.
std::string PatchedFile(absl::Span<const uint8_t> section,
                        absl::Span<const uint8_t> table,
                        absl::Span<const uint8_t> skeleton) {
  static std::map<std::pair<size_t, size_t>, std::string> saved;
  static const std::vector<uint8_t> mark(kSectionBytes, 0xC3);
  std::string& original = saved[{table.size(), skeleton.size()}];
  if (original.empty()) original = FileWithOrigin(mark, table, skeleton);
  std::string bytes = original;
  const size_t at = bytes.find(std::string(mark.begin(), mark.end()));
  PENSTOCK_CHECK(at != std::string::npos);
  std::copy(section.begin(), section.end(), bytes.begin() + at);
  const auto native = OpenNative(original);
  PENSTOCK_CHECK(native.ok());
  for (const FileChunk& chunk : (*native)->index().chunks) {
    if (chunk.first_storage < kNumStorages) continue;
    const auto& part = chunk.first_storage == kNumStorages ? table : skeleton;
    std::copy(part.begin(), part.end(), bytes.begin() + chunk.offset);
  }
  return bytes;
}

void LayOut(const NativeFile& native) {
  const auto origin = OriginOf(native.index());
  const auto layout = LayOutOrigin(native);
  if (!layout.ok()) return;
  PENSTOCK_CHECK(origin.ok());
  PENSTOCK_CHECK(layout->glue_bytes.size() == layout->storages.size() + 1);
  int64_t position = 0;
  std::string glue;
  for (const int64_t size : layout->glue_bytes) {
    const int64_t begin = static_cast<int64_t>(glue.size());
    PENSTOCK_CHECK(size >= 0 && layout->glue(begin, size, glue).ok());
    PENSTOCK_CHECK(static_cast<int64_t>(glue.size()) == begin + size);
    position += size;
  }
  for (const auto& storage : layout->storages)
    position += storage->size_bytes();
  PENSTOCK_CHECK(!origin->has_value() || (*origin)->file_bytes == position);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1 + kSectionBytes) return 0;
  const absl::Span<const uint8_t> input(data, size);
  const absl::Span<const uint8_t> rest = input.subspan(1 + kSectionBytes);
  // More rows than storages, and halves of one, are cases of their own.
  const size_t table_bytes =
      std::min(rest.size(), data[0] % 8 * kRowBytes + data[0] / 248);
  const auto make = kTakesAnyChecksum ? PatchedFile : FileWithOrigin;
  const std::string bytes = make(
      input.subspan(1, kSectionBytes), rest.first(table_bytes),
      rest.subspan(table_bytes,
                   std::min(kMaxSkeletonBytes, rest.size() - table_bytes)));
  const auto native = OpenNative(bytes);
  PENSTOCK_CHECK(native.ok());
  LayOut(**native);
  return 0;
}
