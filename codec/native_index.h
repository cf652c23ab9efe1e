// The index of a .pstk file: tables in memory <-> bytes of the index frame.

#ifndef PENSTOCK_CODEC_NATIVE_INDEX_H_
#define PENSTOCK_CODEC_NATIVE_INDEX_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codec/native_tables.h"

namespace penstock {

// The payload of the index frame.
std::string PackIndex(const NativeIndex& index);

// From the payload of the index frame, whose hash has been verified, of a file
// whose data region is [kHeaderBytes, data_end). Everything is proven before it
// is returned (CheckFileTables, Graph::Make). The storages of the graph are in
// the file, with their number here as file_number().
//
// Errors: kDataLoss; kUnimplemented (an unknown section that is required).
absl::StatusOr<NativeIndex> ParseIndex(absl::Span<const uint8_t> payload,
                                       int64_t chunk_bytes, int64_t data_end);

}  // namespace penstock

#endif  // PENSTOCK_CODEC_NATIVE_INDEX_H_
