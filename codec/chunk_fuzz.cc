// Fuzz target: a chunk from a hostile file. The first bytes are the coding and
// the chunk's size, the rest is the record.

#include <cstdint>
#include <cstring>
#include <vector>

#include "codec/chunk_codec.h"
#include "core/status_macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using penstock::ChunkCoding;
  constexpr size_t kHeaderBytes = 4 + penstock::kMaxPlanes * 3;
  if (size < kHeaderBytes) return 0;
  ChunkCoding coding;
  coding.transform = static_cast<penstock::Transform>(data[0]);
  coding.num_planes = data[1];
  const size_t raw_bytes = data[2] | data[3] << 8;
  for (int i = 0; i < penstock::kMaxPlanes; ++i) {
    const uint8_t* plane = data + 4 + i * 3;
    coding.modes[i] = static_cast<penstock::PlaneMode>(plane[0]);
    coding.frame_bytes[i] = plane[1] | plane[2] << 8;
  }
  // A heap block of exactly the record's size, so that ASan sees its end.
  const std::vector<uint8_t> stored(data + kHeaderBytes, data + size);
  std::vector<uint8_t> raw(raw_bytes);
  penstock::Decompressor decompressor;
  penstock::AlignedBuffer planes;
  const absl::Status status = penstock::DecodeChunk(
      stored, coding, decompressor, planes, absl::MakeSpan(raw));
  PENSTOCK_CHECK(status.ok() || status.code() == absl::StatusCode::kDataLoss);
  return 0;
}
